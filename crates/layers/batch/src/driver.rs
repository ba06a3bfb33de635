//! The task that gathers: one for each [`Batcher`](crate::Batcher) that was called.

use std::sync::Arc;

use haul_core::{Batch, Error, ErrorKind, Input, Packet, Receipt, Result, Service};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::BatchOptions;

type Outcomes = Result<Vec<Result<Receipt>>>;

/// What one call brings, and where its answer goes.
pub(crate) enum Load {
    One(Packet, oneshot::Sender<Result<Receipt>>),
    Many(Batch, oneshot::Sender<Outcomes>),
}

/// A call that waits for its batch.
pub(crate) struct Unit {
    load: Load,
    came: Instant,
}

impl Unit {
    pub(crate) fn new(load: Load) -> Self {
        Self { load, came: Instant::now() }
    }

    fn packets(&self) -> &[Packet] {
        match &self.load {
            Load::One(packet, _) => std::slice::from_ref(packet),
            Load::Many(batch, _) => batch.packets(),
        }
    }

    fn is_waited_for(&self) -> bool {
        match &self.load {
            Load::One(_, reply) => !reply.is_closed(),
            Load::Many(_, reply) => !reply.is_closed(),
        }
    }
}

/// What goes in one delivery.
#[derive(Default)]
struct Gathered {
    units: Vec<Unit>,
    count: usize,
    bytes: usize,
}

impl Gathered {
    fn is_full(&self, options: &BatchOptions) -> bool {
        self.count >= options.count || self.bytes >= options.bytes
    }

    /// Takes the unit, or gives it back if it makes the batch too large.
    fn push(&mut self, unit: Unit, options: &BatchOptions) -> Option<Unit> {
        let count = self.count + unit.packets().len();
        let bytes = self.bytes + unit.packets().iter().map(Packet::weight).sum::<usize>();
        if !self.units.is_empty() && (count > options.count || bytes > options.bytes) {
            return Some(unit);
        }
        (self.count, self.bytes) = (count, bytes);
        self.units.push(unit);
        None
    }
}

/// Gathers and delivers until nobody can call any more and all is delivered; `alive` is dropped then.
pub(crate) async fn run<S: Service<Batch>>(
    inner: Arc<S>,
    options: BatchOptions,
    mut waiting: mpsc::Receiver<Unit>,
    alive: watch::Sender<()>,
) {
    let room = Arc::new(Semaphore::new(options.in_flight));
    let mut over = None;
    while let Some(first) = next(&mut over, &mut waiting).await {
        // While the batches before are under way, more packets come, which then go along.
        let turn = room.clone().acquire_owned().await.expect("it is never closed");
        let until = first.came + options.after;
        let mut gathered = Gathered::default();
        over = gathered.push(first, &options);
        while over.is_none() && !gathered.is_full(&options) {
            match timeout_at(until, waiting.recv()).await {
                Ok(Some(unit)) => over = gathered.push(unit, &options),
                Ok(None) | Err(_) => break,
            }
        }
        let inner = inner.clone();
        tokio::spawn(async move {
            deliver(&*inner, gathered.units).await;
            drop(turn);
        });
    }
    let all = u32::try_from(options.in_flight).expect("it is checked to be less");
    drop(room.acquire_many(all).await);
    drop(alive);
}

async fn next(over: &mut Option<Unit>, waiting: &mut mpsc::Receiver<Unit>) -> Option<Unit> {
    match over.take() {
        Some(unit) => Some(unit),
        None => waiting.recv().await,
    }
}

/// Delivers the packets that somebody waits for, and gives each caller the outcomes of its own.
async fn deliver<S: Service<Batch>>(inner: &S, units: Vec<Unit>) {
    let (mut packets, mut replies) = (Vec::with_capacity(units.len()), Vec::with_capacity(units.len()));
    for unit in units.into_iter().filter(Unit::is_waited_for) {
        match unit.load {
            Load::One(packet, reply) => {
                packets.push(packet);
                replies.push(Reply::One(reply));
            }
            Load::Many(batch, reply) => {
                replies.push(Reply::Many(batch.len(), reply));
                packets.extend(batch.into_packets());
            }
        }
    }
    let sent = packets.len();
    if sent == 0 {
        return;
    }
    let answer = tokio::select! {
        answer = inner.call(Batch::new(packets)) => answer,
        () = all_gone(&mut replies) => return,
    };
    let answer = answer.and_then(|outcomes| match outcomes.len() == sent {
        true => Ok(outcomes),
        false => Err(miscounted(sent, outcomes.len())),
    });
    match answer {
        Ok(outcomes) => {
            let mut outcomes = outcomes.into_iter();
            replies.into_iter().for_each(|reply| reply.give(&mut outcomes));
        }
        Err(why) => replies.into_iter().for_each(|reply| reply.fail(why.clone())),
    }
}

fn miscounted(sent: usize, outcomes: usize) -> Error {
    let message = format!("{} {sent} packets: the service answered {outcomes} outcomes", Batch::ROLE);
    Error::new(ErrorKind::Internal, message)
}

/// Where the outcomes of one call go.
enum Reply {
    One(oneshot::Sender<Result<Receipt>>),
    Many(usize, oneshot::Sender<Outcomes>),
}

impl Reply {
    /// Gives the next outcomes; whoever is gone does not take them.
    fn give(self, outcomes: &mut impl Iterator<Item = Result<Receipt>>) {
        match self {
            Self::One(reply) => {
                if let Some(outcome) = outcomes.next() {
                    let _ = reply.send(outcome);
                }
            }
            Self::Many(count, reply) => {
                let _ = reply.send(Ok(outcomes.take(count).collect()));
            }
        }
    }

    fn fail(self, why: Error) {
        match self {
            Self::One(reply) => drop(reply.send(Err(why))),
            Self::Many(_, reply) => drop(reply.send(Err(why))),
        }
    }
}

/// Waits until no caller is left.
async fn all_gone(replies: &mut [Reply]) {
    for reply in replies {
        match reply {
            Reply::One(reply) => reply.closed().await,
            Reply::Many(_, reply) => reply.closed().await,
        }
    }
}
