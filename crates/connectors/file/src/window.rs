//! Packets that were given and are not yet acknowledged, and the checkpoint behind them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use haul_core::{BoxFuture, Delivery, Error, ErrorKind, Packet, Receipt, Result, Settle};
use tokio::sync::{Notify, watch};

use crate::checkpoint::{self, Position};

/// Everything from the first packet on that is not acknowledged.
pub(crate) struct Window {
    inside: Mutex<Inside>,
    /// The prefix moved on, or a packet was refused.
    pub(crate) changed: Notify,
    saver: Option<Saver>,
}

#[derive(Default)]
struct Inside {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    /// Numbers of refused packets, to be given again.
    again: VecDeque<u64>,
    closed: bool,
}

struct Entry {
    position: Position,
    /// `None` when it is settled.
    packet: Option<Packet>,
}

impl Window {
    pub(crate) fn new(checkpoint: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            inside: Mutex::default(),
            changed: Notify::new(),
            saver: checkpoint.map(Saver::start),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// A refused packet, once more.
    pub(crate) fn again(self: &Arc<Self>) -> Option<Delivery> {
        let mut inside = self.lock();
        let number = inside.again.pop_front()?;
        let at = usize::try_from(number - inside.first).expect("a window fits into memory");
        let packet = inside.entries[at].packet.clone().expect("a refused packet is not settled");
        Some(self.delivery(number, packet))
    }

    /// A new packet that ends at `position`.
    pub(crate) fn give(self: &Arc<Self>, packet: Packet, position: Position) -> Delivery {
        let mut inside = self.lock();
        let number = inside.first + inside.entries.len() as u64;
        inside.entries.push_back(Entry { position, packet: Some(packet.clone()) });
        self.delivery(number, packet)
    }

    /// Passes over something that is no packet, once it was told.
    pub(crate) fn pass(&self, position: Position) {
        let mut inside = self.lock();
        inside.entries.push_back(Entry { position, packet: None });
        if let Some((number, position)) = inside.advance()
            && let Some(saver) = &self.saver
        {
            saver.want(number, position);
        }
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    fn delivery(self: &Arc<Self>, number: u64, packet: Packet) -> Delivery {
        Delivery::new(packet, Settlement { window: self.clone(), number })
    }

    /// Settles one; answers the number to wait for, if the prefix moved on.
    fn ack(&self, number: u64) -> Result<Option<u64>> {
        let mut inside = self.lock();
        if inside.closed {
            return Err(Error::new(
                ErrorKind::Closed,
                "acknowledge a packet of a file: its source was dropped",
            ));
        }
        let at = usize::try_from(number - inside.first).expect("a window fits into memory");
        inside.entries[at].packet = None;
        let Some((number, position)) = inside.advance() else { return Ok(None) };
        if let Some(saver) = &self.saver {
            saver.want(number, position);
        }
        drop(inside);
        self.changed.notify_one();
        Ok(self.saver.is_some().then_some(number))
    }

    fn refuse(&self, number: u64) {
        self.lock().again.push_back(number);
        self.changed.notify_one();
    }
}

impl Inside {
    /// Drops the settled prefix; answers how many there are before the window now, and where the last of them ends.
    fn advance(&mut self) -> Option<(u64, Position)> {
        let mut last = None;
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.packet.is_none()) {
            self.first += 1;
            last = Some((self.first, entry.position));
        }
        last
    }
}

struct Settlement {
    window: Arc<Window>,
    number: u64,
}

impl Settle for Settlement {
    fn settle(self: Box<Self>, outcome: Result<Receipt>) -> BoxFuture<'static, Result<()>> {
        if outcome.is_err() {
            self.window.refuse(self.number);
            return Box::pin(async { Ok(()) });
        }
        let acked = self.window.ack(self.number);
        Box::pin(async move {
            match (acked?, &self.window.saver) {
                (Some(number), Some(saver)) => saver.saved(number).await,
                _ => Ok(()),
            }
        })
    }

    fn dropped(self: Box<Self>) {
        self.window.refuse(self.number);
    }
}

/// Saves the newest position that is wanted; whoever asked meanwhile shares the next save.
struct Saver {
    wanted: watch::Sender<Option<(u64, Position)>>,
    saved: watch::Receiver<(u64, Result<()>)>,
}

impl Saver {
    fn start(path: PathBuf) -> Self {
        let (wanted, mut wants) = watch::channel::<Option<(u64, Position)>>(None);
        let (done, saved) = watch::channel((0, Ok(())));
        tokio::spawn(async move {
            while wants.changed().await.is_ok() {
                let Some((number, position)) = *wants.borrow_and_update() else { continue };
                let path = path.clone();
                let save = tokio::task::spawn_blocking(move || checkpoint::save(&path, &position)).await;
                let outcome = save.unwrap_or_else(|_| Err(gone()));
                done.send_modify(|last| *last = (number, outcome));
            }
        });
        Self { wanted, saved }
    }

    fn want(&self, number: u64, position: Position) {
        self.wanted.send_replace(Some((number, position)));
    }

    async fn saved(&self, number: u64) -> Result<()> {
        let mut saved = self.saved.clone();
        let answer = saved.wait_for(|(done, _)| *done >= number).await;
        answer.map_err(|_| gone())?.1.clone()
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Closed, "write a checkpoint: its task ended; was the runtime shut down?")
}
