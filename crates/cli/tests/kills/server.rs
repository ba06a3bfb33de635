//! A server that outlives the gateway and is away, broken, slow or full at times.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use haul::{Connection, Endpoint, Error, ErrorKind, Level, Listener, Receipt};
use tokio::runtime::Runtime;

use super::Random;

/// Takes what is good and refuses what is bad, for good.
pub(crate) struct Server {
    url: String,
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

struct State {
    random: Random,
    away: bool,
    /// Connections that are still to find it broken.
    broken: u64,
    works: bool,
    taken: Vec<String>,
}

enum Mood {
    Takes,
    /// It breaks down for a while, before or after it took the packet.
    BreaksBefore,
    BreaksAfter,
    Slow,
    Full,
}

impl Server {
    pub(crate) fn start(seed: u64) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let state = State { random: Random(!seed), away: false, broken: 0, works: false, taken: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let listen = haul::registry();
        let endpoint = Endpoint::parse("tcp://127.0.0.1:0").unwrap();
        let listener = runtime.block_on(listen.listen(endpoint)).unwrap();
        let url = listener.local_endpoint().to_string();
        runtime.spawn(accept(listener, state.clone()));
        Self { url, state, _runtime: runtime }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether those who connect from now on find nobody.
    pub(crate) fn is_away(&self, away: bool) {
        self.state.lock().unwrap().away = away;
    }

    /// From now on it takes all that is good.
    pub(crate) fn works(&self) {
        let mut state = self.state.lock().unwrap();
        (state.away, state.works) = (false, true);
    }

    /// What it took, in order.
    pub(crate) fn taken(&self) -> Vec<String> {
        self.state.lock().unwrap().taken.clone()
    }
}

impl State {
    fn lets_in(&mut self) -> bool {
        let broken = !self.works && self.broken > 0;
        self.broken = self.broken.saturating_sub(1);
        !self.away && !broken
    }

    fn mood(&mut self) -> Mood {
        let mood = if self.works { u64::MAX } else { self.random.below(100) };
        if mood < 4 {
            self.broken = self.random.below(5);
        }
        match mood {
            0 | 1 => Mood::BreaksBefore,
            2 | 3 => Mood::BreaksAfter,
            4..12 => Mood::Slow,
            12..20 => Mood::Full,
            _ => Mood::Takes,
        }
    }
}

async fn accept(listener: Listener, state: Arc<Mutex<State>>) {
    while let Ok(Some(connection)) = listener.accept().await {
        if state.lock().unwrap().lets_in() {
            tokio::spawn(talk(connection, state.clone()));
        }
    }
}

/// Takes packets until it breaks down or the gateway is gone.
async fn talk(mut connection: Connection, state: Arc<Mutex<State>>) {
    while let Ok(Some(delivery)) = connection.next().await {
        let (packet, ack) = delivery.split();
        let text = packet.as_text().unwrap().to_owned();
        let mood = state.lock().unwrap().mood();
        let told = match mood {
            Mood::BreaksBefore => return,
            Mood::Full => ack.nack(Error::new(ErrorKind::Overloaded, "it is full")).await,
            _ if text.starts_with("bad") => ack.nack(Error::new(ErrorKind::Rejected, "it is bad")).await,
            mood => {
                if matches!(mood, Mood::Slow) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                state.lock().unwrap().taken.push(text);
                if matches!(mood, Mood::BreaksAfter) {
                    return;
                }
                ack.ack(Receipt::new(Level::Stored, packet.id())).await
            }
        };
        if told.is_err() {
            return;
        }
    }
}
