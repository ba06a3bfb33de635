//! The receiving side of a session: what comes off its links, and what of it core has.

use std::collections::VecDeque;
use std::sync::Weak;

use haul_core::wire::Frame;
use haul_core::{Error, Packet, ReadHalf, Reliability, Result};

use crate::alive::Alive;
use crate::shared::Shared;

/// Gaps that wait to be read; of more, the oldest are only counted.
const GAPS: usize = 64;

/// The receiving side.
pub(crate) struct Inbound {
    pub(crate) half: Option<Box<dyn ReadHalf>>,
    /// Counts the links.
    pub(crate) generation: u64,
    /// Items taken off all links of this epoch.
    pub(crate) received: u64,
    /// The peer has said an ack, as it does first when it has heard that the session stands.
    pub(crate) heard: bool,
    /// What was taken off the link while the writer looked for acknowledgements: frames and their numbers.
    pub(crate) waiting: VecDeque<(Frame, Option<u64>)>,
    pub(crate) waiting_weight: u64,
    gaps: VecDeque<Error>,
    /// Gaps that nobody read and that were dropped.
    gaps_before: u64,
    /// Counts what the application settles; gone where a layer between it and us does not say.
    pub(crate) counter: Weak<dyn Fn(u64) + Send + Sync>,
    /// The peer said its close.
    pub(crate) peer_closed: bool,
    /// Unreliable packets go beside the session.
    pub(crate) datagrams: bool,
    pub(crate) end: Option<Result<()>>,
    pub(crate) alive: Option<Alive>,
    /// A ping is to be written.
    pub(crate) pinged: bool,
}

impl Inbound {
    pub(crate) fn new() -> Self {
        Self {
            half: None,
            generation: 0,
            received: 0,
            heard: false,
            waiting: VecDeque::new(),
            waiting_weight: 0,
            gaps: VecDeque::new(),
            gaps_before: 0,
            counter: Weak::<fn(u64)>::new(),
            peer_closed: false,
            datagrams: false,
            end: None,
            alive: None,
            pinged: false,
        }
    }

    pub(crate) fn take(&mut self, half: Box<dyn ReadHalf>, datagrams: bool, alive: Option<Alive>) {
        self.half = Some(half);
        self.generation += 1;
        self.datagrams = datagrams;
        self.alive = alive;
    }

    pub(crate) fn let_go(&mut self) {
        self.half = None;
        self.alive = None;
    }

    /// Packets are missing here, and `recv` is to say so.
    pub(crate) fn add_gap(&mut self, gap: Error) {
        if self.gaps.len() == GAPS {
            self.gaps.pop_front();
            self.gaps_before += 1;
        }
        self.gaps.push_back(gap);
    }

    /// Whether what the application settles is counted.
    pub(crate) fn is_counted(&self) -> bool {
        self.counter.strong_count() > 0
    }

    pub(crate) fn next_gap(&mut self) -> Option<Error> {
        let gap = self.gaps.pop_front()?;
        Some(match std::mem::take(&mut self.gaps_before) {
            0 => gap,
            before => gap.with("gaps_before", before),
        })
    }

    /// Whether `packet` goes beside the session.
    fn is_beside(&self, packet: &Packet) -> bool {
        self.datagrams && packet.reliability() == Reliability::Unreliable
    }

    /// The number of what came off the link, if it is numbered.
    pub(crate) fn number(&mut self, frame: &Frame) -> Option<u64> {
        let beside = match frame {
            Frame::Ping(_) | Frame::Pong(_) => true,
            Frame::Packet { packet, receipt: false } => self.is_beside(packet),
            _ => false,
        };
        if beside {
            return None;
        }
        self.received += 1;
        Some(self.received - 1)
    }

    /// Gives `frame` to core, and sees to it that it is settled when the application has it.
    pub(crate) fn hand_over(&mut self, shared: &Shared, frame: Frame, number: Option<u64>) -> Frame {
        match frame {
            Frame::Packet { packet, receipt } => {
                self.hand(shared, &packet, number);
                return Frame::Packet { packet, receipt };
            }
            Frame::Pong(payload) => {
                let mut sending = shared.sending();
                if sending.ping.as_ref() == Some(&payload) {
                    sending.ping = None;
                }
                return Frame::Pong(payload);
            }
            _ => {}
        }
        if let Some(number) = number {
            shared.settling().settle(number);
        }
        match &frame {
            Frame::Receipt { id, .. } => shared.sending().outgoing.answered(*id),
            Frame::Close(_) => self.peer_closed = true,
            _ => {}
        }
        frame
    }

    /// Core has `packet`.
    fn hand(&self, shared: &Shared, packet: &Packet, number: Option<u64>) {
        let mut settling = shared.settling();
        match number {
            Some(number) if !self.is_counted() => settling.settle(number),
            number => settling.hand(number, 1, packet.len() as u64),
        }
        shared.look_after(settling.next_look());
    }

    pub(crate) fn next_waiting(&mut self) -> Option<(Frame, Option<u64>)> {
        let next = self.waiting.pop_front()?;
        self.waiting_weight -= next.0.weight() as u64;
        Some(next)
    }

    pub(crate) fn wait(&mut self, frame: Frame) {
        let number = self.number(&frame);
        self.waiting_weight += frame.weight() as u64;
        self.waiting.push_back((frame, number));
    }

    /// Gives core what has arrived and is numbered.
    pub(crate) fn take_arrived(&mut self, shared: &Shared, packets: &mut Vec<Packet>, most: usize) {
        if !self.waiting.is_empty() || !self.gaps.is_empty() || self.end.is_some() || !self.is_counted() {
            return;
        }
        let Some(half) = &mut self.half else { return };
        let before = packets.len();
        half.take_arrived(packets, most);
        if packets.len() == before {
            return;
        }
        if let Some(alive) = &mut self.alive {
            alive.heard();
        }
        let numbered = |packet: &&Packet| !self.is_beside(packet);
        let (count, bytes) = packets[before..]
            .iter()
            .take_while(numbered)
            .fold((0, 0), |(count, bytes), packet| (count + 1, bytes + packet.len() as u64));
        if count > 0 {
            let mut settling = shared.settling();
            settling.hand(Some(self.received), count, bytes);
            shared.look_after(settling.next_look());
        }
        self.received += count;
        for packet in packets.drain(before + count as usize..) {
            self.wait(Frame::packet(packet));
        }
    }
}
