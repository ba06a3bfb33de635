//! One way of one connection.

use std::collections::VecDeque;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Cut, Rules, TcpFaults, TcpStats};
use crate::arrival;

/// What is read at once.
const CHUNK: usize = 4096;

/// Bytes that may be under way.
const UNDER_WAY: u64 = 4 << 20;

/// Why it ended before the end of the stream.
pub(super) enum End {
    /// The relay cuts it.
    Cut(Cut),
    /// One of the sockets failed.
    Lost,
}

/// Carries bytes from one socket to the other.
pub(super) struct Pour<'a> {
    dice: SmallRng,
    rules: watch::Receiver<Rules>,
    stats: &'a watch::Sender<TcpStats>,
    /// Bytes until the cut, and until one is changed; `None` before they are drawn.
    fuse: Option<u64>,
    flip: Option<u64>,
    /// What is under way, and when it arrives.
    queue: VecDeque<(Instant, Vec<u8>)>,
    queued: u64,
    /// When the line has room for more.
    free: Instant,
}

impl<'a> Pour<'a> {
    pub(super) fn new(
        dice: SmallRng,
        rules: watch::Receiver<Rules>,
        stats: &'a watch::Sender<TcpStats>,
    ) -> Self {
        let (queue, free) = (VecDeque::new(), Instant::now());
        Self { dice, rules, stats, fuse: None, flip: None, queue, queued: 0, free }
    }

    /// Until `from` ended and `to` was told so.
    pub(super) async fn run(
        mut self,
        mut from: impl AsyncReadExt + Unpin,
        mut to: impl AsyncWriteExt + Unpin,
    ) -> Result<(), End> {
        let mut buffer = [0; CHUNK];
        let (mut reads, mut last) = (true, None);
        loop {
            let Rules { faults, stalled, .. } = self.rules.borrow_and_update().clone();
            let due = self.queue.front().map(|(due, _)| *due);
            if due.is_none() && !reads {
                break;
            }
            tokio::select! {
                told = self.rules.changed() => told.map_err(|_| End::Lost)?,
                read = from.read(&mut buffer), if reads && !stalled && self.queued < room(&faults) => {
                    let count = read.map_err(|_| End::Lost)?;
                    let (passes, blown) = self.burn(count, &faults);
                    self.take(&mut buffer[..passes], &faults);
                    reads = count > 0 && blown.is_none();
                    last = blown;
                }
                () = arrival(due.unwrap_or(self.free)), if due.is_some() && !stalled => {
                    let Some((_, bytes)) = self.queue.pop_front() else { continue };
                    self.queued -= bytes.len() as u64;
                    self.write(&mut to, &bytes, &faults).await?;
                }
            }
        }
        if let Some(how) = last {
            return Err(End::Cut(how));
        }
        to.shutdown().await.map_err(|_| End::Lost)
    }

    /// How many of `count` bytes pass, and how the connection is cut after them.
    fn burn(&mut self, count: usize, faults: &TcpFaults) -> (usize, Option<Cut>) {
        let Some((least, how)) = faults.cut_after else { return (count, None) };
        let left = self.fuse.get_or_insert_with(|| drawn(&mut self.dice, least));
        if count as u64 >= *left {
            return (*left as usize, Some(how));
        }
        *left -= count as u64;
        (count, None)
    }

    /// Puts `bytes` on their way.
    fn take(&mut self, bytes: &mut [u8], faults: &TcpFaults) {
        if bytes.is_empty() {
            return;
        }
        self.spoil(bytes, faults);
        self.free = self.free.max(Instant::now());
        if let Some(rate) = faults.rate {
            self.free += Duration::from_secs_f64(bytes.len() as f64 / rate as f64);
        }
        // A delay that became shorter lets nothing overtake.
        let last = self.queue.back().map_or(self.free, |(due, _)| *due);
        self.queue.push_back(((self.free + faults.delay).max(last), bytes.to_vec()));
        self.queued += bytes.len() as u64;
    }

    fn spoil(&mut self, bytes: &mut [u8], faults: &TcpFaults) {
        let Some(least) = faults.corrupt_after else { return };
        let mut at = 0;
        loop {
            let left = self.flip.take().unwrap_or_else(|| drawn(&mut self.dice, least));
            if at + left >= bytes.len() as u64 {
                self.flip = Some(at + left - bytes.len() as u64);
                return;
            }
            at += left;
            bytes[at as usize] ^= self.dice.random_range(1..=255u8);
            self.stats.send_modify(|stats| stats.corrupted += 1);
            // The next one is counted from the byte behind this one.
            at += 1;
        }
    }

    async fn write(
        &mut self,
        to: &mut (impl AsyncWriteExt + Unpin),
        mut bytes: &[u8],
        faults: &TcpFaults,
    ) -> Result<(), End> {
        while !bytes.is_empty() {
            let count = match faults.split {
                Some(most) => self.dice.random_range(1..=most.max(1)).min(bytes.len()),
                None => bytes.len(),
            };
            to.write_all(&bytes[..count]).await.map_err(|_| End::Lost)?;
            self.stats.send_modify(|stats| stats.bytes += count as u64);
            bytes = &bytes[count..];
            if !bytes.is_empty() {
                // So that the reader may see the part.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}

/// `least`, or up to twice as many.
fn drawn(dice: &mut SmallRng, least: u64) -> u64 {
    dice.random_range(least.max(1)..=2 * least.max(1))
}

/// How much may be under way: of a slow line, what it carries in a tenth of a second.
fn room(faults: &TcpFaults) -> u64 {
    faults.rate.map_or(UNDER_WAY, |rate| (rate / 10).clamp(CHUNK as u64, UNDER_WAY))
}
