//! The two ends of a wire: a server that writes down what it got on which link, and a client that survives.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haul_core::{
    CloseReason, Connection, Dial, Endpoint, Error, ErrorKind, Listener, Packet, Receiver, Service, State,
    StateWatch, service_fn,
};
use haul_reconnect::{Reconnect, ReconnectLayer, ReconnectOptions};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tower_layer::Layer;

use crate::program::DEADLINE;

/// A protocol as both ends name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Tcp,
    TcpLines,
    Ws,
    WsPlain,
}

pub(super) const ALL: [Speech; 4] = [Speech::Tcp, Speech::TcpLines, Speech::Ws, Speech::WsPlain];

impl Speech {
    /// The peer answers packets that have an id.
    pub(super) fn receipts(self) -> bool {
        matches!(self, Self::Tcp | Self::Ws)
    }

    fn listen(self) -> &'static str {
        match self {
            Self::Tcp => "tcp://127.0.0.1:0",
            Self::TcpLines => "tcp://127.0.0.1:0?framing=lines",
            Self::Ws => "ws://127.0.0.1:0",
            Self::WsPlain => "ws://127.0.0.1:0?subprotocol=plain",
        }
    }

    /// The endpoint at `address`, with these options.
    pub(super) fn endpoint(self, address: SocketAddr, options: &str) -> Endpoint {
        let url = match self {
            Self::Tcp => format!("tcp://{address}?{options}"),
            Self::TcpLines => format!("tcp://{address}?framing=lines&{options}"),
            Self::Ws => format!("ws://{address}/#proxy=&{options}"),
            Self::WsPlain => format!("ws://{address}/#proxy=&subprotocol=plain&{options}"),
        };
        url.trim_end_matches(['&', '?']).parse().unwrap()
    }
}

pub(super) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("waited {DEADLINE:?} for {what}"))
}

/// A packet of about `len` bytes that begins with its number and ends with a full stop.
pub(super) fn numbered(number: u64, len: usize) -> Packet {
    Packet::text(format!("{number:010} {}.", "x".repeat(len)))
}

/// Its number; `None` for the first part of a packet, which is all that a peer of lines can tell of it.
fn number(packet: &Packet) -> Option<u64> {
    let text = packet.as_text().unwrap();
    text.ends_with('.').then(|| text[..10].parse().unwrap())
}

/// What each link brought, in order.
pub(super) type Links = Arc<Mutex<Vec<Vec<u64>>>>;

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) links: Links,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Reads whatever comes, and answers every packet with the next number; each link begins with one, too.
    pub(super) async fn start(speech: Speech) -> Self {
        let endpoint: Endpoint = speech.listen().parse().unwrap();
        let listener: Listener = match speech {
            Speech::Tcp | Speech::TcpLines => haul_tcp::listen(endpoint).await.unwrap(),
            Speech::Ws | Speech::WsPlain => haul_ws::listen(endpoint).await.unwrap(),
        };
        let port = listener.local_endpoint().port().unwrap();
        let links = Links::default();
        let (all, said) = (links.clone(), Arc::new(Mutex::new(0)));
        let accepting = tokio::spawn(async move {
            while let Some(connection) = listener.accept().await.unwrap() {
                tokio::spawn(serve(connection, all.clone(), said.clone()));
            }
        });
        Self { address: ([127, 0, 0, 1], port).into(), links, accepting }
    }

    pub(super) fn links(&self) -> Vec<Vec<u64>> {
        self.links.lock().unwrap().clone()
    }

    /// Every packet that came, on whichever link.
    pub(super) fn got(&self) -> Vec<u64> {
        self.links().concat()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut connection: Connection, links: Links, said: Arc<Mutex<u64>>) {
    let at = {
        let mut links = links.lock().unwrap();
        links.push(Vec::new());
        links.len() - 1
    };
    let say = || {
        let mut said = said.lock().unwrap();
        *said += 1;
        numbered(*said, 0)
    };
    while connection.send(say()).await.is_ok() {
        match connection.recv().await {
            Ok(Some(packet)) => links.lock().unwrap()[at].extend(number(&packet)),
            _ => return,
        }
    }
}

/// What the client's reader was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) gaps: u64,
    /// Packets that the gaps count.
    pub(super) lost: u64,
    pub(super) got: Vec<u64>,
}

pub(super) struct Client {
    pub(super) connection: Connection,
    pub(super) told: Told,
    /// When each dial began.
    pub(super) dials: Arc<Mutex<Vec<Instant>>>,
}

pub(super) const BASE: Duration = Duration::from_millis(20);
pub(super) const CAP: Duration = Duration::from_millis(100);

/// A dialer of `speech` that survives, and when it dialed.
pub(super) fn reconnect(speech: Speech) -> (Reconnect, Arc<Mutex<Vec<Instant>>>) {
    let dials = Arc::new(Mutex::new(Vec::new()));
    let times = dials.clone();
    let ws = haul_ws::Dialer::default();
    let counted = service_fn(move |endpoint: Endpoint| {
        times.lock().unwrap().push(Instant::now());
        let ws = ws.clone();
        async move {
            match speech {
                Speech::Tcp | Speech::TcpLines => haul_tcp::Dialer.call(endpoint).await,
                Speech::Ws | Speech::WsPlain => ws.call(endpoint).await,
            }
        }
    });
    let options = ReconnectOptions { base: BASE, cap: CAP, ..ReconnectOptions::default() };
    (ReconnectLayer::new(options).unwrap().layer(counted), dials)
}

impl Client {
    pub(super) async fn dial(speech: Speech, address: SocketAddr, options: &str) -> Self {
        let (reconnect, dials) = reconnect(speech);
        let dialing = reconnect.dial(speech.endpoint(address, options));
        let connection = soon("the dial", dialing).await.unwrap();
        Self { connection, told: Told::default(), dials }
    }

    /// Receives the next packet or gap; `false` for a gap.
    pub(super) async fn hear(&mut self) -> bool {
        match soon("a packet or a gap", self.connection.recv()).await {
            Ok(packet) => {
                self.told.got.extend(number(&packet.expect("the server does not close")));
                true
            }
            Err(why) => self.told.note(&why),
        }
    }

    pub(super) async fn close(self) {
        soon("the close", self.connection.close(CloseReason::NORMAL)).await.unwrap();
    }
}

impl Told {
    fn note(&mut self, why: &Error) -> bool {
        assert_eq!(why.kind(), ErrorKind::Gap, "{why}");
        let lost = why.context().find(|(name, _)| *name == "ours_maybe_lost");
        self.lost += lost.expect("a gap counts").1.parse::<u64>().unwrap();
        self.gaps += 1;
        // What the server said while nobody was there is unknown; the next number may be any later one.
        self.got.push(0);
        false
    }

    /// The server's numbers come once each, in order, and none is missing where no gap was told.
    pub(super) fn check(&self) {
        let mut numbers = self.got.iter().filter(|number| **number > 0);
        assert!(numbers.by_ref().is_sorted_by(|a, b| a < b), "{:?}", self.got);
        for run in self.got.split(|number| *number == 0) {
            assert!(run.windows(2).all(|pair| pair[1] == pair[0] + 1), "lost in silence: {run:?}");
        }
    }
}

/// Receives to the end, on a task of its own.
pub(super) fn hearing(mut receiver: Receiver) -> JoinHandle<Told> {
    tokio::spawn(async move {
        let mut told = Told::default();
        loop {
            match receiver.recv().await {
                Ok(Some(packet)) => told.got.extend(number(&packet)),
                Ok(None) => return told,
                Err(why) => drop(told.note(&why)),
            }
        }
    })
}

/// Follows the states to the end. A watch does not see what came and went at once, so it checks what must hold all the
/// same: a connection that stood once only reconnects, and does not fail.
pub(super) fn watching(mut watch: StateWatch) -> JoinHandle<Vec<State>> {
    tokio::spawn(async move {
        let mut seen = vec![watch.get()];
        while let Some(state) = watch.changed().await {
            let last = seen.last().unwrap();
            let legal = match &state {
                State::Connecting => matches!(last, State::Disconnected { .. } | State::Connecting),
                State::Connected | State::Reconnecting { .. } => true,
                state => matches!(state, State::Disconnected { reason: Some(_) }),
            };
            assert!(legal, "{last:?} became {state:?}");
            let over = state.is_over();
            seen.push(state);
            if over {
                break;
            }
        }
        seen
    })
}

/// Of the numbers below `sent` nothing comes twice without an id, nothing out of order within a link, and what is
/// missing is counted.
pub(super) fn check(links: &[Vec<u64>], sent: u64, with_id: &HashSet<u64>, lost: u64) {
    for link in links {
        assert!(link.is_sorted(), "out of order within a link: {link:?}");
    }
    let all = links.concat();
    let there: HashSet<_> = all.iter().copied().collect();
    for number in with_id {
        assert!(there.contains(number), "packet {number} has an id and never arrived");
    }
    let once: Vec<_> = all.into_iter().filter(|number| *number < sent && !with_id.contains(number)).collect();
    assert!(once.is_sorted_by(|a, b| a < b), "twice, or out of order: {once:?}");
    let missing = (0..sent).filter(|number| !there.contains(number)).count() as u64;
    assert!(missing <= lost, "{missing} are missing, {lost} were told");
}
