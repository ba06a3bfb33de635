//! What the halves of a session share: the link that stands just now, and what outlives it.
//!
//! Reader and writer share no lock on the way of a packet. Locks are taken in this order: inbound, outbound, sending,
//! settling; never while waiting.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use haul_core::wire::{Frame, SendBuf};
use haul_core::{Encoder, Error, ErrorKind, Link, OnSettled, Result, State, StateCell, WriteHalf};
use tokio::runtime::Handle;

use crate::alive::Alive;
use crate::budget::Budget;
use crate::inbound::Inbound;
use crate::outgoing::{Outgoing, Window};
use crate::settling::Settling;
use crate::wakers::Wakers;
use crate::wire::Message;

/// Datagrams and pongs that wait for a link that takes frames; more are dropped, as datagrams may be.
const BESIDE: usize = 256;

/// What a session keeps is counted in the bound over all sessions when it has changed by so many bytes.
const COUNTED_BY: u64 = 1024;

/// What becomes of a session without a link.
pub(crate) trait Keeper: Send + Sync + 'static {
    /// The link was lost. `next` is another one that is there already.
    fn lost(&self, shared: &Arc<Shared>, why: Error, next: Option<Link>);

    /// Too much is kept for peers that do not settle it.
    fn crowded(&self) {}

    /// The application has let go of the session.
    fn dropped(&self);
}

pub(crate) struct Shared {
    pub(crate) state: StateCell,
    pub(crate) window: Window,
    pub(crate) max_packet: usize,
    keeper: Box<dyn Keeper>,
    inbound: Mutex<Inbound>,
    outbound: Mutex<Outbound>,
    sending: Mutex<Sending>,
    settling: Mutex<Settling>,
    pub(crate) wakers: Arc<Wakers>,
    /// The peer is to be told what is settled with whatever is sent next.
    pub(crate) ack_wanted: AtomicBool,
    pub(crate) ack_waits: AtomicBool,
    /// Packets that the application has received.
    received: AtomicU64,
    /// With so many of them, the peer may have to be told.
    look_at: AtomicU64,
    pub(crate) budget: Option<Arc<Budget>>,
    pub(crate) runtime: Handle,
}

/// The link's sending half.
pub(crate) struct Outbound {
    pub(crate) half: Option<Box<dyn WriteHalf>>,
    pub(crate) generation: u64,
    /// Frames of the session itself, and those sent again.
    pub(crate) own: SendBuf,
    /// The link has begun with the connection's buffer and is not done.
    pub(crate) mid_out: bool,
    /// The same for `own`.
    pub(crate) mid_own: bool,
    pub(crate) dirty: bool,
    /// Bytes of the connection's buffer that are done with.
    pub(crate) consumed: u64,
    /// Those before it were encoded for another link.
    pub(crate) stale: u64,
    /// A task sees to `own`.
    pub(crate) driven: bool,
    guard: Option<Box<dyn Any + Send>>,
}

/// The order of what is sent.
pub(crate) struct Sending {
    pub(crate) outgoing: Outgoing,
    pub(crate) up: bool,
    /// Of the link that stands, or stood last.
    pub(crate) protocol: &'static str,
    /// Bytes that are counted in the bound over all sessions.
    counted: u64,
    pub(crate) encoder: Option<Box<dyn Encoder>>,
    /// Bytes put into the connection's buffer.
    pub(crate) encoded: u64,
    /// For links that take frames: what goes unnumbered.
    pub(crate) beside: VecDeque<Frame>,
    /// Unreliable packets go beside the session.
    pub(crate) datagrams: bool,
    /// The ping that waits for its pong.
    pub(crate) ping: Option<Bytes>,
    /// Our finish or close is numbered.
    pub(crate) finishing: bool,
    pub(crate) closing: bool,
    /// The session is over: cleanly, or why.
    pub(crate) over: Option<Result<()>>,
}

impl Shared {
    pub(crate) fn new(
        keeper: Box<dyn Keeper>,
        state: StateCell,
        window: Window,
        max_packet: usize,
        budget: Option<Arc<Budget>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            state,
            window,
            max_packet,
            keeper,
            inbound: Mutex::new(Inbound::new()),
            outbound: Mutex::new(Outbound::new()),
            sending: Mutex::new(Sending::new(window)),
            settling: Mutex::new(Settling::default()),
            wakers: Arc::new(Wakers::default()),
            ack_wanted: AtomicBool::new(false),
            ack_waits: AtomicBool::new(false),
            received: AtomicU64::new(0),
            look_at: AtomicU64::new(0),
            budget,
            runtime: Handle::current(),
        })
    }

    pub(crate) fn inbound(&self) -> MutexGuard<'_, Inbound> {
        lock(&self.inbound)
    }

    /// The receiving side, if nobody is at it.
    pub(crate) fn try_inbound(&self) -> Option<MutexGuard<'_, Inbound>> {
        self.inbound.try_lock().ok()
    }

    pub(crate) fn outbound(&self) -> MutexGuard<'_, Outbound> {
        lock(&self.outbound)
    }

    pub(crate) fn sending(&self) -> MutexGuard<'_, Sending> {
        lock(&self.sending)
    }

    pub(crate) fn settling(&self) -> MutexGuard<'_, Settling> {
        let mut settling = lock(&self.settling);
        settling.receive(self.received.load(Ordering::Acquire));
        settling
    }

    /// Counts what the application settles, until it is dropped.
    pub(crate) fn counter(self: &Arc<Self>) -> OnSettled {
        let shared = self.clone();
        let counter: OnSettled = Arc::new(move |count| shared.receive(count));
        self.inbound().counter = Arc::downgrade(&counter);
        counter
    }

    /// The application has settled `count` more packets.
    #[inline]
    fn receive(self: &Arc<Self>, count: u64) {
        // Core tells one after the other, so that nobody else adds.
        let total = self.received.load(Ordering::Relaxed) + count;
        self.received.store(total, Ordering::Release);
        if total >= self.look_at.load(Ordering::Relaxed) || !load(&self.ack_waits) {
            self.tell();
        }
    }

    /// Sees to it that the settling is looked at after so many more packets.
    pub(crate) fn look_after(&self, count: u64) {
        self.look_at.store(self.received.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    /// The link of `generation` is lost: it is let go, and another looked for, beginning with `next`. `false` if another
    /// link stands, or the session is over. No lock may be held.
    pub(crate) fn lost(self: &Arc<Self>, generation: u64, why: Error, next: Option<Link>) -> bool {
        let again = {
            let (mut inbound, mut outbound, mut sending) = (self.inbound(), self.outbound(), self.sending());
            if inbound.generation != generation || outbound.half.is_none() {
                return false;
            }
            inbound.let_go();
            sending.outgoing.consumed(outbound.consumed.max(outbound.stale));
            outbound.let_go();
            (sending.up, sending.encoder) = (false, None);
            if let Some(Err(why)) = &inbound.end {
                sending.over.get_or_insert_with(|| Err(why.clone()));
            }
            if inbound.peer_closed && sending.over.is_none() {
                let packets = sending.outgoing.packets();
                let why =
                    why.clone().while_doing(format_args!("the peer closed before it took {packets} packets"));
                sending.over = Some(if packets > 0 { Err(why) } else { Ok(()) });
            }
            inbound.end.is_none() && sending.over.is_none()
        };
        if again {
            // A close of ours may have moved the state on already.
            let _ = self.state.set(State::Reconnecting { attempt: 1 });
            self.keeper.lost(self, why, next);
        }
        self.wakers.wake_all();
        again
    }

    /// Goes on over `link`: says `first`, then what the peer lacks, having received `received`.
    ///
    /// Errors: `Protocol` if the peer claims what cannot be; `Unsupported` if the link cannot carry a session; what
    /// ended the session.
    pub(crate) fn attach(
        self: &Arc<Self>,
        link: Link,
        received: u64,
        window: Option<u64>,
        first: Option<Message>,
    ) -> Result<()> {
        crate::handshake::able(&link.info)?;
        if link.limits.max_packet < self.max_packet {
            let (ours, theirs) = (self.max_packet, link.limits.max_packet);
            let message =
                format!("a link with max_packet {theirs} cannot carry on a session with max_packet {ours}");
            return Err(Error::new(ErrorKind::Config, message));
        }
        {
            let (mut inbound, mut outbound, mut sending) = (self.inbound(), self.outbound(), self.sending());
            let sending = &mut *sending;
            if let Some(over) = &sending.over {
                return Err(over.clone().err().unwrap_or_else(crate::handshake::closed));
            }
            if let Some(window) = window {
                sending.outgoing.limit(window);
            }
            let mut encoder = link.encoder;
            let mut own = SendBuf::default();
            let ack = Message::Ack { settled: self.settling().told() };
            for message in first.into_iter().chain([ack]) {
                own.push(message.into_frame(), encoder.as_deref_mut())?;
            }
            for frame in sending.outgoing.replay(received)? {
                own.push(frame, encoder.as_deref_mut())?;
            }
            if let Some(ping) = &sending.ping {
                own.push(Frame::Ping(ping.clone()), encoder.as_deref_mut())?;
            }
            let mut limits = link.limits;
            let datagrams = link.info.max_datagram.is_some();
            outbound.take(link.write, own, link.guard, sending.encoded);
            inbound.take(link.read, datagrams, Alive::take_from(&mut limits));
            sending.take(encoder, datagrams, link.info.protocol);
        }
        // A close of ours may have moved the state on already.
        let _ = self.state.set(State::Connected);
        self.drive_own();
        self.wakers.wake_all();
        Ok(())
    }

    /// The session is not resumed any more: what may be lost is told.
    pub(crate) fn give_up(&self, why: Error) {
        let (lost, packets) = {
            let sending = self.sending();
            (sending.outgoing.lost(), sending.outgoing.packets())
        };
        let mut why = if packets > 0 { why.with("not_settled", packets) } else { why };
        if let Some(lost) = lost {
            why = why.with("from", lost.from).with("to", lost.to).with("ours_maybe_lost", lost.count);
        }
        self.end(why);
    }

    /// The session is over, for this reason: whoever waits is answered.
    pub(crate) fn end(&self, why: Error) {
        {
            let (mut inbound, mut outbound, mut sending) = (self.inbound(), self.outbound(), self.sending());
            inbound.let_go();
            outbound.let_go();
            (sending.up, sending.encoder) = (false, None);
            inbound.end.get_or_insert_with(|| Err(why.clone()));
            sending.over.get_or_insert(Err(why));
            sending.outgoing = Outgoing::new(self.window);
            self.count(&mut sending);
        }
        self.wakers.wake_all();
    }

    /// The application has let go of the connection.
    pub(crate) fn shut(&self) {
        self.end(crate::handshake::closed());
        self.keeper.dropped();
    }

    pub(crate) fn crowded(&self) {
        self.keeper.crowded();
    }

    /// Whether the peer can have received so many. Errors: `Protocol`.
    pub(crate) fn claims(&self, received: u64) -> Result<()> {
        self.sending().outgoing.claims(received)
    }

    /// Whether a link stands.
    pub(crate) fn is_up(&self) -> bool {
        self.sending().up
    }

    /// Counts what is kept in the bound over all sessions, roughly.
    #[inline]
    pub(crate) fn count(&self, sending: &mut Sending) {
        if let Some(budget) = &self.budget {
            let kept = sending.outgoing.bytes();
            if kept.abs_diff(sending.counted) >= COUNTED_BY || (kept == 0 && sending.counted > 0) {
                budget.change(sending.counted, kept);
                sending.counted = kept;
            }
        }
    }

    /// A new epoch begins on the next link: what may be lost of ours is answered.
    pub(crate) fn start_over(&self) -> Option<crate::outgoing::Lost> {
        let (mut inbound, mut sending) = (self.inbound(), self.sending());
        let lost = sending.outgoing.start_over();
        self.count(&mut sending);
        inbound.received = 0;
        // What came in the old epoch is still read, and settles nothing in the new one.
        inbound.waiting.iter_mut().for_each(|(_, number)| *number = None);
        self.settling().start_over();
        lost
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.change(self.sending().counted, 0);
        }
    }
}

impl Outbound {
    fn new() -> Self {
        Self {
            half: None,
            generation: 0,
            own: SendBuf::default(),
            mid_out: false,
            mid_own: false,
            dirty: false,
            consumed: 0,
            stale: 0,
            driven: false,
            guard: None,
        }
    }

    fn take(
        &mut self,
        half: Box<dyn WriteHalf>,
        own: SendBuf,
        guard: Option<Box<dyn Any + Send>>,
        stale: u64,
    ) {
        self.half = Some(half);
        self.generation += 1;
        self.own = own;
        self.guard = guard;
        self.stale = stale;
    }

    fn let_go(&mut self) {
        self.half = None;
        self.guard = None;
        self.own = SendBuf::default();
        (self.mid_out, self.mid_own, self.dirty) = (false, false, false);
    }
}

impl Sending {
    fn new(window: Window) -> Self {
        Self {
            outgoing: Outgoing::new(window),
            up: false,
            protocol: "",
            counted: 0,
            encoder: None,
            encoded: 0,
            beside: VecDeque::new(),
            datagrams: false,
            ping: None,
            finishing: false,
            closing: false,
            over: None,
        }
    }

    fn take(&mut self, encoder: Option<Box<dyn Encoder>>, datagrams: bool, protocol: &'static str) {
        self.up = true;
        self.protocol = protocol;
        self.encoder = encoder;
        self.datagrams = datagrams;
        self.beside.clear();
    }

    /// Queues a frame that is not numbered, for a link that takes frames.
    pub(crate) fn push_beside(&mut self, frame: Frame) {
        if self.beside.len() < BESIDE {
            self.beside.push_back(frame);
        }
    }
}

/// A lock that outlives a panic of another holder: no holder leaves its state half changed.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn load(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Acquire)
}
