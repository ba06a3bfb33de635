//! A sink that fails in every way but one: it never says that it took what it did not take, or that it did not take what
//! it took.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use haul_core::{Batch, Error, ErrorKind, Level, Packet, Receipt, Result, Service, Sink};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;

use super::is_bad;

/// What the sinks of a stack have taken, in order, each packet with the number of its sink.
#[derive(Clone, Default)]
pub(super) struct Taken(Arc<Mutex<Vec<(usize, Packet)>>>);

impl Taken {
    pub(super) fn add(&self, sink: usize, packet: Packet) {
        self.0.lock().unwrap().push((sink, packet));
    }

    pub(super) fn all(&self) -> Vec<(usize, Packet)> {
        self.0.lock().unwrap().clone()
    }
}

/// How sinks behave.
#[derive(Clone, Copy)]
pub(super) struct Temper {
    /// Of a hundred calls so many go wrong.
    pub(super) faults: u32,
    /// It breaks its word: it says that it took what it did not.
    pub(super) lies: bool,
}

/// That of all sinks of a stack.
pub(super) type Tempers = Arc<Mutex<Temper>>;

/// The sink.
pub(super) struct Faulty {
    number: usize,
    taken: Taken,
    temper: Tempers,
    state: Mutex<State>,
}

struct State {
    dice: SmallRng,
    /// So many calls still find it away.
    away: u32,
}

/// What becomes of one call.
enum Fate {
    Away,
    Refused,
    /// It takes so many packets and then breaks down, or is silent for ever.
    Breaks(usize),
    Hangs(usize),
    /// Each packet has a fate of its own.
    Each,
    Takes,
}

impl Faulty {
    pub(super) fn new(number: usize, seed: u64, taken: Taken, temper: Tempers) -> Self {
        let state = State { dice: SmallRng::seed_from_u64(seed), away: 0 };
        Self { number, taken, temper, state: Mutex::new(state) }
    }

    fn fate(&self, packets: usize) -> (Fate, Duration) {
        let temper = *self.temper.lock().unwrap();
        let State { dice, away } = &mut *self.state.lock().unwrap();
        let delay = Duration::from_millis(dice.random_range(0..4));
        if temper.faults == 0 {
            return (Fate::Takes, delay);
        }
        if *away > 0 {
            *away -= 1;
            return (Fate::Away, delay);
        }
        if !dice.random_ratio(temper.faults, 100) {
            return (Fate::Takes, delay);
        }
        let part = dice.random_range(0..=packets);
        let fate = match dice.random_range(0..6) {
            0 => {
                *away = dice.random_range(1..6);
                Fate::Away
            }
            1 => Fate::Refused,
            2 => Fate::Hangs(part),
            3 => Fate::Breaks(part),
            _ => Fate::Each,
        };
        (fate, delay)
    }

    /// The outcome of a packet that it looks at by itself.
    fn one(&self, packet: &Packet) -> Result<Receipt> {
        if is_bad(packet) {
            return Err(Error::new(ErrorKind::Rejected, "it is bad"));
        }
        if !self.temper.lock().unwrap().lies {
            self.taken.add(self.number, packet.clone());
        }
        let text = packet.as_text().unwrap().to_owned();
        Ok(Receipt::new(Level::Stored, packet.id()).with_reference(text))
    }

    fn each(&self, packet: &Packet) -> Result<Receipt> {
        let mood = self.state.lock().unwrap().dice.random_range(0..6);
        match mood {
            0 => Err(Error::new(ErrorKind::Overloaded, "this one does not fit")),
            1 => Err(Error::new(ErrorKind::Timeout, "no word of this one, which did not come")),
            2 => {
                let taken = self.one(packet);
                taken.and(Err(Error::new(ErrorKind::Timeout, "no word of this one, which came")))
            }
            _ => self.one(packet),
        }
    }
}

impl Service<Batch> for Faulty {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let packets = batch.packets();
        let (fate, delay) = self.fate(packets.len());
        sleep(delay).await;
        let take = |part: usize| packets[..part].iter().map(|packet| self.one(packet)).collect();
        match fate {
            Fate::Away => Err(Error::new(ErrorKind::Connect, "it is away")),
            Fate::Refused => Err(Error::new(ErrorKind::Overloaded, "it is full")),
            Fate::Breaks(part) => {
                let _: Vec<_> = take(part);
                Err(Error::new(ErrorKind::Closed, "it broke down"))
            }
            Fate::Hangs(part) => {
                let _: Vec<_> = take(part);
                std::future::pending().await
            }
            Fate::Each => Ok(packets.iter().map(|packet| self.each(packet)).collect()),
            Fate::Takes => Ok(take(packets.len())),
        }
    }
}

impl Service<Packet> for Faulty {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let mut outcomes = Service::<Batch>::call(self, Batch::new(vec![packet])).await?;
        outcomes.remove(0)
    }
}

impl Sink for Faulty {}
