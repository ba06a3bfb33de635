//! The load on one connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use haul::{CloseReason, Connection, Error, ErrorKind, Packet, Receiver, Result, Sender};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::latency::Latency;

/// How long the last echoes may take after the load has ended.
const LAST: Duration = Duration::from_secs(2);

/// How long a peer that does not echo may take to take the rest.
const DRAIN: Duration = Duration::from_secs(10);

/// What each connection carries.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) echo: bool,
    pub(super) window: u32,
    pub(super) size: usize,
}

/// What came of it.
pub(super) struct Measured {
    /// Packets that came back, or one-way those that were handed to the operating system.
    pub(super) packets: u64,
    /// Packets sent that did not come back.
    pub(super) missing: u64,
    pub(super) latency: Latency,
    pub(super) errors: u64,
    pub(super) first_error: Option<Error>,
}

impl Measured {
    pub(super) fn new() -> Self {
        Self { packets: 0, missing: 0, latency: Latency::new(), errors: 0, first_error: None }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.missing += other.missing;
        self.latency.add(&other.latency);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    fn failed(&mut self, why: Error) {
        self.errors += 1;
        self.first_error.get_or_insert(why);
    }
}

pub(super) async fn run(connection: Connection, load: Load, stopped: watch::Receiver<bool>) -> Measured {
    let (sender, receiver) = connection.split();
    let mut measured = match load.echo {
        true => echo(&sender, receiver, load, stopped).await,
        false => one_way(&sender, receiver, load, stopped).await,
    };
    if let Err(why) = sender.close(CloseReason::NORMAL).await {
        measured.failed(why);
    }
    measured
}

async fn one_way(
    sender: &Sender,
    receiver: Receiver,
    load: Load,
    mut stopped: watch::Receiver<bool>,
) -> Measured {
    // What the other end says is discarded.
    drop(receiver);
    let mut measured = Measured::new();
    let packet = Packet::text("x".repeat(load.size));
    let sending = async {
        while !*stopped.borrow() {
            tokio::select! {
                sent = sender.send(packet.clone()) => sent?,
                // A peer that takes nothing does not keep us.
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        let late =
            |_| Err(Error::new(ErrorKind::Timeout, format!("the peer did not take all within {DRAIN:?}")));
        timeout(DRAIN, sender.flush()).await.unwrap_or_else(late)
    };
    if let Err(why) = sending.await {
        measured.failed(why);
    }
    measured.packets = sender.stats().packets_sent;
    measured
}

/// What is under way: the number of the next packet and when each was sent, oldest first.
#[derive(Default)]
struct UnderWay {
    sent: u64,
    since: VecDeque<Instant>,
}

async fn echo(
    sender: &Sender,
    mut receiver: Receiver,
    load: Load,
    mut stopped: watch::Receiver<bool>,
) -> Measured {
    let room = Arc::new(Semaphore::new(load.window as usize));
    let under_way = Mutex::new(UnderWay::default());
    let lock = || under_way.lock().unwrap_or_else(PoisonError::into_inner);
    let mut measured = Measured::new();

    let sending = async {
        while !*stopped.borrow() {
            let permit = tokio::select! {
                permit = room.acquire() => permit.expect("nobody closes it"),
                _ = stopped.wait_for(|stop| *stop) => break,
            };
            permit.forget();
            let number = {
                let mut under_way = lock();
                under_way.sent += 1;
                under_way.since.push_back(Instant::now());
                under_way.sent
            };
            sender.send(payload(number, load.size)).await?;
        }
        Result::Ok(())
    };
    let mut sending = std::pin::pin!(sending);
    let mut all_sent = false;
    let mut received = 0;
    let ended = loop {
        if all_sent && lock().since.is_empty() {
            break Ok(());
        }
        tokio::select! {
            sent = &mut sending, if !all_sent => match sent {
                Ok(()) => all_sent = true,
                Err(why) => break Err(why),
            },
            packet = timeout(if all_sent { LAST } else { Duration::MAX }, receiver.recv()) => match packet {
                Err(_) => break Ok(()),
                Ok(Err(why)) => break Err(why),
                Ok(Ok(None)) => break Err(Error::new(ErrorKind::Closed, "the peer closed the connection")),
                Ok(Ok(Some(packet))) => {
                    received += 1;
                    let since = lock().since.pop_front();
                    match since {
                        Some(since) if packet.payload() == payload(received, load.size).payload() => {
                            measured.latency.record(since.elapsed());
                            measured.packets += 1;
                            room.add_permits(1);
                        }
                        _ => break Err(Error::new(ErrorKind::Protocol, "what came back is not what was sent")),
                    }
                }
            },
        }
    };
    if let Err(why) = ended {
        measured.failed(why);
    }
    measured.missing = lock().since.len() as u64;
    measured
}

/// Text of `size` bytes that begins with its number, as far as that fits.
fn payload(number: u64, size: usize) -> Packet {
    let mut text = format!("{number:020}");
    text.drain(..20usize.saturating_sub(size));
    text.extend(std::iter::repeat_n('.', size.saturating_sub(text.len())));
    Packet::text(text)
}
