//! The sending direction: what was numbered and is not yet settled by the peer, kept to be sent again.
//!
//! No sockets and no clock. The items are packets, receipts, the finish and the close; number 0 is the first of an
//! epoch. Positions are bytes of the connection's send buffer, which the link beneath consumes in order.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use haul_core::wire::Frame;
use haul_core::{Error, ErrorKind, Kind, Packet, PacketId, Reliability, Result};

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Bytes on their way and not settled.
    pub(crate) bytes: u64,
    /// Items kept.
    pub(crate) packets: usize,
}

pub(crate) struct Outgoing {
    window: Window,
    /// What is kept: the first is item `settled`. Two lists, as it is moved in far faster than as one struct.
    items: VecDeque<Kept>,
    places: VecDeque<Place>,
    settled: u64,
    /// Items before it were, wholly or in part, given to some link.
    touched: u64,
    bytes: u64,
    /// Deliveries without a receipt.
    awaited: HashMap<PacketId, Awaited>,
}

/// What can be sent again. Most packets are only a payload.
pub(crate) enum Kept {
    Payload(Bytes),
    Frame(Box<Frame>),
}

/// Where an item stands in the send buffer, and what a payload's packet was.
struct Place {
    start: u64,
    len: u64,
    text: bool,
    unreliable: bool,
}

enum Awaited {
    /// It is kept under this number.
    Kept(u64),
    /// It was settled, so its receipt is on its way; should the session end before, it is delivered again.
    Settled(Frame),
}

/// Items that may or may not have arrived, and will not be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The first packet that may be lost.
    pub(crate) from: u64,
    /// The one after the last.
    pub(crate) to: u64,
    /// Packets between that may be lost; the others have ids, or were not sent before.
    pub(crate) count: u64,
}

impl Outgoing {
    pub(crate) fn new(window: Window) -> Self {
        Self {
            window,
            items: VecDeque::new(),
            places: VecDeque::new(),
            settled: 0,
            touched: 0,
            bytes: 0,
            awaited: HashMap::new(),
        }
    }

    /// The number of the next item.
    pub(crate) fn next(&self) -> u64 {
        self.settled + self.items.len() as u64
    }

    /// Bytes of all items kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps `kept`, which is of `frame` and has `len` bytes from `start` on in the send buffer.
    #[inline]
    pub(crate) fn push(&mut self, kept: Kept, frame: &Frame, start: u64, len: u64) {
        let (mut text, mut unreliable) = (false, false);
        if let Frame::Packet { packet, receipt } = frame {
            (text, unreliable) =
                (packet.kind() == Kind::Text, packet.reliability() == Reliability::Unreliable);
            if let Some(id) = packet.id().filter(|_| *receipt) {
                self.awaited.insert(id, Awaited::Kept(self.next()));
            }
        }
        self.bytes += len;
        self.items.push_back(kept);
        self.places.push_back(Place { start, len, text, unreliable });
    }

    /// Whether the link must wait for the peer before it may take more, `buffered` bytes being in the send buffer.
    #[inline]
    pub(crate) fn is_full(&self, buffered: u64) -> bool {
        let under_way = self.bytes.saturating_sub(buffered);
        under_way > 0 && (under_way >= self.window.bytes || self.items.len() >= self.window.packets)
    }

    /// The peer says what it lets be on its way.
    pub(crate) fn limit(&mut self, window: u64) {
        self.window.bytes = self.window.bytes.min(window.max(1));
    }

    /// The peer has settled all items before `upto`. Errors: `Protocol` if there are none such.
    pub(crate) fn settle(&mut self, upto: u64) -> Result<()> {
        self.check("settled", upto)?;
        while self.settled < upto {
            let (Some(kept), Some(place)) = (self.items.pop_front(), self.places.pop_front()) else { break };
            self.bytes -= place.len;
            if let Kept::Frame(frame) = kept
                && let Frame::Packet { packet, receipt: true } = &*frame
                && let Some(id) = packet.id()
                && let Some(awaited) = self.awaited.get_mut(&id)
                && matches!(awaited, Awaited::Kept(number) if *number == self.settled)
            {
                *awaited = Awaited::Settled(*frame);
            }
            self.settled += 1;
        }
        self.touched = self.touched.max(self.settled);
        Ok(())
    }

    /// The receipt for `id` came.
    pub(crate) fn answered(&mut self, id: PacketId) {
        self.awaited.remove(&id);
    }

    /// The link consumed the send buffer up to `position`.
    pub(crate) fn consumed(&mut self, position: u64) {
        let from = (self.touched - self.settled) as usize;
        let more = self.places.iter().skip(from).take_while(|place| place.start < position).count();
        self.touched += more as u64;
    }

    /// The items that the peer lacks, having received `received`; all of them go to the link now.
    ///
    /// Errors: `Protocol` if the peer claims what it cannot have received.
    pub(crate) fn replay(&mut self, received: u64) -> Result<impl Iterator<Item = Frame>> {
        self.claims(received)?;
        self.touched = self.next();
        Ok(self.frames().skip((received - self.settled) as usize))
    }

    /// All items kept.
    fn frames(&self) -> impl Iterator<Item = Frame> {
        self.items.iter().zip(&self.places).map(|(kept, place)| kept.frame(place))
    }

    /// Whether the peer can have received so many. Errors: `Protocol`.
    pub(crate) fn claims(&self, received: u64) -> Result<()> {
        self.check("received", received)?;
        if received < self.settled {
            return Err(Error::new(
                ErrorKind::Protocol,
                format!("the peer has received {received} packets, but settled {} before", self.settled),
            ));
        }
        Ok(())
    }

    /// The items that no link was given yet, as frames; they count as given from now on.
    pub(crate) fn take_untouched(&mut self) -> impl Iterator<Item = Frame> {
        let from = (self.touched - self.settled) as usize;
        self.touched = self.next();
        self.frames().skip(from)
    }

    fn check(&self, what: &str, upto: u64) -> Result<()> {
        if upto <= self.next() {
            return Ok(());
        }
        let message = format!("the peer {what} {upto} packets, but {} were sent", self.next());
        Err(Error::new(ErrorKind::Protocol, message))
    }

    /// Packets that may or may not have arrived and have no id, if there are any.
    pub(crate) fn lost(&self) -> Option<Lost> {
        let touched = self.items.iter().take((self.touched - self.settled) as usize).enumerate();
        let mut lost: Option<Lost> = None;
        for (at, kept) in touched {
            if kept.is_packet() && kept.id().is_none() {
                let number = self.settled + at as u64;
                let lost = lost.get_or_insert(Lost { from: number, to: number, count: 0 });
                lost.to = number + 1;
                lost.count += 1;
            }
        }
        lost
    }

    /// Packets that are kept: the peer has not said that it settled them.
    pub(crate) fn packets(&self) -> usize {
        self.items.iter().filter(|kept| kept.is_packet()).count()
    }

    /// Begins a new epoch: what has an id, what no link was given, and the end of the direction are numbered anew. What
    /// may be lost is answered.
    pub(crate) fn start_over(&mut self) -> Option<Lost> {
        let lost = self.lost();
        let touched = (self.touched - self.settled) as usize;
        let items: Vec<Frame> = self.frames().collect();
        (self.items, self.places) = Default::default();
        let again = items.into_iter().enumerate().filter(|(at, frame)| match frame {
            Frame::Packet { packet, receipt } => match packet.id() {
                Some(id) if *receipt && *at < touched => self.awaited.contains_key(&id),
                Some(_) => true,
                None => *at >= touched,
            },
            // Answers to an epoch that the peer knows no more.
            Frame::Receipt { .. } => false,
            _ => true,
        });
        let again: Vec<Frame> = again.map(|(_, frame)| frame).collect();
        let settled = std::mem::take(&mut self.awaited).into_values().filter_map(|awaited| match awaited {
            Awaited::Settled(frame) => Some(frame),
            Awaited::Kept(_) => None,
        });
        let all: Vec<_> = settled.chain(again).collect();
        (self.settled, self.touched, self.bytes) = (0, 0, 0);
        for frame in &all {
            self.push(Kept::of(frame), frame, 0, frame.weight() as u64);
        }
        lost
    }
}

impl Kept {
    #[inline]
    pub(crate) fn of(frame: &Frame) -> Self {
        match frame {
            Frame::Packet { packet, receipt: false }
                if packet.id().is_none() && packet.metadata().is_empty() =>
            {
                Self::Payload(packet.payload().clone())
            }
            frame => Self::Frame(Box::new(frame.clone())),
        }
    }

    fn frame(&self, place: &Place) -> Frame {
        let packet = match self {
            Self::Frame(frame) => return Frame::clone(frame),
            Self::Payload(payload) if place.text => Packet::text_checked(payload.clone()),
            Self::Payload(payload) => Packet::binary(payload.clone()),
        };
        Frame::packet(if place.unreliable { packet.unreliable() } else { packet })
    }

    fn is_packet(&self) -> bool {
        match self {
            Self::Payload(_) => true,
            Self::Frame(frame) => matches!(&**frame, Frame::Packet { .. }),
        }
    }

    fn id(&self) -> Option<PacketId> {
        match self {
            Self::Frame(frame) => match &**frame {
                Frame::Packet { packet, .. } => packet.id(),
                _ => None,
            },
            Self::Payload(_) => None,
        }
    }
}
