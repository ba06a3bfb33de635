//! Stacks of layers, drawn from a seed.

use std::ops::RangeInclusive;
use std::time::Duration;

use haul_balance::{BalanceLayer, BalanceOptions, By, Member};
use haul_batch::{BatchLayer, BatchOptions, Batcher};
use haul_breaker::{BreakerLayer, BreakerOptions};
use haul_core::{AnySink, Batch, Input, Packet, Service, Shared};
use haul_dedupe::{Dedupe, DedupeLayer, DedupeOptions};
use haul_fallback::{FallbackLayer, FallbackOptions};
use haul_fanout::{Fanout, FanoutLayer, FanoutOptions, Need};
use haul_limit::{LimitLayer, LimitOptions, WhenFull};
use haul_queue::{Overflow, QueueLayer, QueueOptions};
use haul_retry::{RetryLayer, RetryOptions};
use haul_timeout::{TimeoutLayer, TimeoutOptions};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tower_layer::Layer;

use super::faulty::{Faulty, Taken, Tempers};

/// What a stack takes: single packets or batches.
pub(super) trait Role: Input {
    fn sink(sink: AnySink) -> Shared<Self>;
    fn batch(batcher: Batcher<Shared<Batch>>) -> Shared<Self>;
    fn dedupe(dedupe: Dedupe<Shared<Self>>) -> Shared<Self>;
    fn fanout(fanout: Fanout<Shared<Self>>) -> Shared<Self>;
}

macro_rules! role {
    ($input:ty) => {
        impl Role for $input {
            fn sink(sink: AnySink) -> Shared<Self> {
                Shared::new(sink)
            }

            fn batch(batcher: Batcher<Shared<Batch>>) -> Shared<Self> {
                Shared::new(batcher)
            }

            fn dedupe(dedupe: Dedupe<Shared<Self>>) -> Shared<Self> {
                Shared::new(dedupe)
            }

            fn fanout(fanout: Fanout<Shared<Self>>) -> Shared<Self> {
                Shared::new(fanout)
            }
        }
    };
}

role!(Packet);
role!(Batch);

/// A stack, and what it promises.
pub(super) struct Stack<In: Input> {
    pub(super) service: Shared<In>,
    /// As it was drawn: `retry(timeout(sink 0))`.
    pub(super) what: String,
    /// What it accepts, so many sinks have.
    pub(super) least: usize,
    /// A packet that must not come twice is so often at its sinks, at most.
    pub(super) most: usize,
}

impl<In: Input> Stack<In> {
    fn within<L>(self, name: &str, layer: L) -> Self
    where
        L: Layer<Shared<In>>,
        L::Service: Service<In>,
    {
        self.with(name, |service| Shared::new(layer.layer(service)))
    }

    fn with<Out: Input>(self, name: &str, wrap: impl FnOnce(Shared<In>) -> Shared<Out>) -> Stack<Out> {
        let Self { service, what, least, most } = self;
        Stack { service: wrap(service), what: format!("{name}({what})"), least, most }
    }
}

/// Several stacks that become one.
struct Members<In: Input> {
    first: Shared<In>,
    others: Vec<Shared<In>>,
    what: String,
    least: Vec<usize>,
    most: Vec<usize>,
}

/// Draws stacks over sinks that share a record of what they took.
pub(super) struct Draw {
    pub(super) dice: SmallRng,
    pub(super) taken: Taken,
    /// Milliseconds of a timeout. Those right around sinks are shorter.
    pub(super) timeouts: RangeInclusive<u64>,
    /// What the first sink is, if it is not a faulty one.
    pub(super) first: Option<AnySink>,
    temper: Tempers,
    sinks: usize,
}

impl Draw {
    pub(super) fn new(seed: u64, temper: Tempers) -> Self {
        let dice = SmallRng::seed_from_u64(seed);
        Self { dice, taken: Taken::default(), timeouts: 1..=100, first: None, temper, sinks: 0 }
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.dice.random_range(1..=most))
    }

    /// A stack of so many storeys.
    pub(super) fn stack<In: Role>(&mut self, storeys: u32) -> Stack<In> {
        let Some(below) = storeys.checked_sub(1) else { return self.sink() };
        match self.dice.random_range(0..11) {
            0 | 1 => {
                let layer = RetryLayer::new(self.retry()).unwrap();
                self.stack(below).within("retry", layer)
            }
            2 => {
                let layer = BreakerLayer::new(self.breaker()).unwrap();
                self.stack(below).within("breaker", layer)
            }
            3 => {
                let after = Duration::from_millis(self.dice.random_range(self.timeouts.clone()));
                let layer = TimeoutLayer::new(TimeoutOptions { after }).unwrap();
                self.stack(below).within("timeout", layer)
            }
            4 => {
                let layer = LimitLayer::new(self.limit()).unwrap();
                self.stack(below).within("limit", layer)
            }
            5 => {
                let layer = QueueLayer::new(self.queue()).unwrap();
                self.stack(below).within("queue", layer)
            }
            6 => {
                let window = self.dice.random_range(1..50);
                let layer = DedupeLayer::new(DedupeOptions { window }).unwrap();
                self.stack(below).with("dedupe", |service| In::dedupe(layer.layer(service)))
            }
            7 => {
                let layer = BatchLayer::new(self.batch()).unwrap();
                self.stack::<Batch>(below).with("batch", |service| In::batch(layer.layer(service)))
            }
            8 => self.fallback(below),
            9 => self.balance(below),
            _ => self.fanout(below),
        }
    }

    /// A sink, with a timeout around it, so that every call ends.
    fn sink<In: Role>(&mut self) -> Stack<In> {
        let number = self.sinks;
        self.sinks += 1;
        let (sink, after) = match self.first.take() {
            Some(other) => (other, Duration::from_secs(2)),
            None => {
                let (seed, temper) = (self.dice.random(), self.temper.clone());
                let sink = Faulty::new(number, seed, self.taken.clone(), temper);
                (AnySink::new(sink), Duration::from_millis(10))
            }
        };
        let what = format!("sink {number}");
        let stack = Stack { service: In::sink(sink), what, least: 1, most: 1 };
        stack.within("timeout", TimeoutLayer::new(TimeoutOptions { after }).unwrap())
    }

    fn retry(&mut self) -> RetryOptions {
        let (attempts, base) = (self.dice.random_range(1..5), self.millis(5));
        let budget = *[0.1, 10.0].choose(&mut self.dice).unwrap();
        RetryOptions { attempts, base, budget, ..RetryOptions::default() }
    }

    fn breaker(&mut self) -> BreakerOptions {
        let (consecutive, open) = (self.dice.random_range(1..5), self.millis(30));
        BreakerOptions { consecutive, open, window: 20, least: 5, ..BreakerOptions::default() }
    }

    fn limit(&mut self) -> LimitOptions {
        let when_full = *[WhenFull::Wait, WhenFull::Refuse].choose(&mut self.dice).unwrap();
        let concurrency = Some(self.dice.random_range(1..5));
        LimitOptions { concurrency, adaptive: self.dice.random(), when_full, ..LimitOptions::default() }
    }

    fn queue(&mut self) -> QueueOptions {
        let overflow = *[Overflow::Refuse, Overflow::Evict, Overflow::Wait].choose(&mut self.dice).unwrap();
        let concurrency = self.dice.random_range(1..5);
        let capacity = concurrency + self.dice.random_range(0..8);
        let (attempts, base) = (self.dice.random_range(1..4), self.millis(5));
        QueueOptions { concurrency, capacity, overflow, attempts, base, ..QueueOptions::default() }
    }

    fn batch(&mut self) -> BatchOptions {
        let (count, in_flight) = (self.dice.random_range(1..12), self.dice.random_range(1..4));
        BatchOptions { count, in_flight, after: self.millis(3), ..BatchOptions::default() }
    }

    fn members<In: Role>(&mut self, storeys: u32) -> Members<In> {
        let count = self.dice.random_range(2..4);
        let stacks: Vec<Stack<In>> = (0..count).map(|_| self.stack(storeys)).collect();
        let (least, most) = stacks.iter().map(|stack| (stack.least, stack.most)).unzip();
        let what = stacks.iter().map(|stack| stack.what.as_str()).collect::<Vec<_>>().join(", ");
        let mut services = stacks.into_iter().map(|stack| stack.service);
        let first = services.next().unwrap();
        Members { first, others: services.collect(), what, least, most }
    }

    fn fallback<In: Role>(&mut self, below: u32) -> Stack<In> {
        let options = FallbackOptions { probe: self.millis(30), ..FallbackOptions::default() };
        let Members { first, others, what, least, most } = self.members(below);
        let service = Shared::new(FallbackLayer::new(options, others).unwrap().layer(first));
        one_of(service, format!("fallback({what})"), &least, &most)
    }

    fn balance<In: Role>(&mut self, below: u32) -> Stack<In> {
        let by = *[By::RoundRobin, By::LeastInFlight, By::Latency].choose(&mut self.dice).unwrap();
        let options = BalanceOptions { by, eject: self.dice.random_range(1..4), readmit: self.millis(30) };
        let Members { first, others, what, least, most } = self.members(below);
        let others: Vec<_> = others.into_iter().map(Member::new).collect();
        let service = Shared::new(BalanceLayer::new(options, others).unwrap().layer(first));
        one_of(service, format!("balance({what})"), &least, &most)
    }

    fn fanout<In: Role>(&mut self, below: u32) -> Stack<In> {
        let need = *[Need::All, Need::Any, Need::Quorum].choose(&mut self.dice).unwrap();
        let Members { first, others, what, mut least, most } = self.members(below);
        let accept = match need {
            Need::All => least.len(),
            Need::Any => 1,
            Need::Quorum => least.len() / 2 + 1,
        };
        least.sort_unstable();
        let layer = FanoutLayer::new(FanoutOptions { need }, others).unwrap();
        Stack {
            service: In::fanout(layer.layer(first)),
            what: format!("fanout {need:?}({what})"),
            least: least[..accept].iter().sum(),
            most: most.iter().sum(),
        }
    }
}

/// A stack that goes to one of several, and to the next where that is safe.
fn one_of<In: Role>(service: Shared<In>, what: String, least: &[usize], most: &[usize]) -> Stack<In> {
    let (least, most) = (*least.iter().min().unwrap(), *most.iter().max().unwrap());
    Stack { service, what, least, most }
}
