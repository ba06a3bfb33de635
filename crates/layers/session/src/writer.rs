//! The writing half.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};

use haul_core::wire::SendBuf;
use haul_core::{CloseReason, Error, Result, WriteHalf};

use crate::settling::Tell;
use crate::shared::{Outbound, Shared, load};
use crate::wire::Message;

/// What is settled is told at the latest after this time.
const ACK_DELAY: std::time::Duration = std::time::Duration::from_millis(20);

/// While a peer that does not read leaves so many bytes of the session's own unwritten, it is told no more.
const OWN: usize = 4096;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    waker: Waker,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let waker = shared.wakers.writing();
        Self { shared, waker }
    }

    /// Without a link: waits for one, or answers how the session ended.
    fn without_link(&self, out: &mut SendBuf, outbound: &mut Outbound) -> Poll<Result<()>> {
        match &self.shared.sending().over {
            None => Poll::Pending,
            Some(Err(why)) => Poll::Ready(Err(why.clone())),
            Some(Ok(())) => {
                outbound.consume(out, out.bytes.len());
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Whether the link must wait for the peer.
    fn is_full(&self, outbound: &Outbound) -> bool {
        let sending = self.shared.sending();
        let buffered = sending.encoded - outbound.consumed.max(outbound.stale);
        let crowded = self.shared.budget.as_ref().is_some_and(|budget| budget.is_exceeded());
        sending.outgoing.is_full(buffered) || (crowded && sending.outgoing.bytes() > buffered)
    }

    /// Waits for acknowledgements, and looks for them itself, as the application may not receive.
    fn poll_room(&self, outbound: &Outbound) -> Poll<()> {
        let wakers = &self.shared.wakers;
        if !self.is_full(outbound) {
            return Poll::Ready(());
        }
        wakers.writer_reads.store(true, Ordering::Release);
        if self.shared.budget.as_ref().is_some_and(|budget| budget.is_exceeded()) {
            self.shared.crowded();
        }
        self.shared.look_for_acks();
        if self.is_full(outbound) {
            return Poll::Pending;
        }
        wakers.writer_reads.store(false, Ordering::Release);
        Poll::Ready(())
    }
}

impl WriteHalf for Writer {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        self.shared.wakers.write.register(cx.waker());
        loop {
            let shared = &self.shared;
            let mut guard = shared.outbound();
            let outbound = &mut *guard;
            let stale = outbound.stale.saturating_sub(outbound.consumed);
            outbound.consume(out, usize::try_from(stale).unwrap_or(usize::MAX).min(out.bytes.len()));
            if outbound.half.is_none() {
                return self.without_link(out, outbound);
            }
            let written = self.poll_link(outbound, out);
            let why = match written {
                Poll::Ready(Err(why)) => why,
                written => return written,
            };
            let generation = outbound.generation;
            drop(guard);
            self.shared.lose(generation, why);
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.shared.wakers.write.register(cx.waker());
        loop {
            let (flushed, generation) = {
                let mut outbound = self.shared.outbound();
                if outbound.half.is_none() {
                    return self.without_link(&mut SendBuf::default(), &mut outbound);
                }
                (outbound.poll_own(&mut Context::from_waker(&self.waker)), outbound.generation)
            };
            match flushed {
                Poll::Ready(Err(why)) => self.shared.lose(generation, why),
                flushed => return flushed,
            }
        }
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_flush(cx))?;
        let mut outbound = self.shared.outbound();
        let closing = self.shared.sending().closing;
        match &mut outbound.half {
            // After a finish the link goes on: the peer has yet to speak, and to be acknowledged.
            Some(half) if closing => {
                let mut cx = Context::from_waker(&self.waker);
                // A link that breaks now has nothing more to carry.
                ready!(half.poll_finish(&mut cx)).or(Ok(()))
            }
            _ => Ok(()),
        }
        .into()
    }

    /// The peer is told, where that can be done without waiting: for it the session is over, too.
    fn abort(&mut self, reason: &CloseReason) {
        let mut outbound = self.shared.outbound();
        let text = reason.message.to_string();
        let told = self.shared.push_own(&mut outbound, Message::Abort { code: reason.code, text })
            && !outbound.mid_out
            && matches!(outbound.poll_own(&mut Context::from_waker(&self.waker)), Poll::Ready(Ok(())));
        if let Some(half) = &mut outbound.half
            && !told
        {
            half.abort(reason);
        }
        drop(outbound);
        self.shared.shut();
    }
}

impl Writer {
    /// Writes what the session has to say, then `out`.
    fn poll_link(&self, outbound: &mut Outbound, out: &mut SendBuf) -> Poll<Result<()>> {
        let mut cx = Context::from_waker(&self.waker);
        loop {
            if !outbound.mid_out {
                ready!(outbound.poll_write_own(&mut cx))?;
            }
            if out.bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if !outbound.mid_out {
                ready!(self.poll_room(outbound));
            }
            if self.shared.sending().encoder.is_none() {
                outbound.consume(out, out.bytes.len());
                self.shared.feed(outbound);
                continue;
            }
            let Some(half) = &mut outbound.half else { return Poll::Pending };
            let before = out.bytes.len();
            let written = half.poll_write(&mut cx, out);
            outbound.consumed += (before - out.bytes.len()) as u64;
            outbound.mid_out = written.is_pending();
            outbound.dirty = true;
            ready!(written)?;
        }
    }
}

impl Outbound {
    /// Drops `count` bytes from the connection's buffer.
    fn consume(&mut self, out: &mut SendBuf, count: usize) {
        out.bytes.advance(count);
        self.consumed += count as u64;
    }

    fn poll_write_own(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.own.is_empty() && !self.mid_own {
            return Poll::Ready(Ok(()));
        }
        let Some(half) = &mut self.half else { return Poll::Ready(Ok(())) };
        self.mid_own = true;
        ready!(half.poll_write(cx, &mut self.own))?;
        self.own.reset();
        (self.mid_own, self.dirty) = (false, true);
        Poll::Ready(Ok(()))
    }

    /// Writes and flushes what the session has to say. While the connection's buffer is half written, that goes first.
    pub(crate) fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.mid_out {
            ready!(self.poll_write_own(cx))?;
        }
        let Some(half) = &mut self.half else { return Poll::Ready(Ok(())) };
        ready!(half.poll_flush(cx))?;
        self.dirty = false;
        Poll::Ready(Ok(()))
    }
}

impl Shared {
    /// Adds a message to what the session has to say. `false` if there is no link, or the close was said.
    pub(crate) fn push_own(&self, outbound: &mut Outbound, message: Message) -> bool {
        let mut sending = self.sending();
        let closing = sending.closing && !matches!(message, Message::Abort { .. });
        if outbound.half.is_none() || closing {
            return false;
        }
        outbound.own.push(message.into_frame(), sending.encoder.as_deref_mut()).is_ok()
    }

    /// Gives the frames that are kept and those beside them to a link that takes frames.
    fn feed(&self, outbound: &mut Outbound) {
        let mut sending = self.sending();
        let sending = &mut *sending;
        let frames = sending.beside.drain(..).chain(sending.outgoing.take_untouched());
        for frame in frames {
            outbound.own.push(frame, None).expect("without an encoder nothing can be refused");
        }
    }

    /// Tells the peer what is settled, now or before long. No lock may be held.
    #[inline]
    pub(crate) fn tell(self: &Arc<Self>) {
        let tell = {
            let settling = self.settling();
            self.look_after(settling.next_look());
            settling.tell()
        };
        match tell {
            Tell::Nothing => {}
            Tell::Due => {
                self.tell_now();
            }
            Tell::Later | Tell::Wanted => self.tell_later(tell),
        }
    }

    fn tell_later(self: &Arc<Self>, tell: Tell) {
        if tell == Tell::Wanted {
            self.ack_wanted.store(true, Ordering::Release);
        }
        if !load(&self.ack_waits) && !self.ack_waits.swap(true, Ordering::AcqRel) {
            self.runtime.spawn(tell_regularly(Arc::downgrade(self)));
        }
    }

    /// Tells the peer what is settled: whether there was something to tell, and a link. No lock may be held.
    fn tell_now(self: &Arc<Self>) -> bool {
        {
            let mut outbound = self.outbound();
            let settled = {
                let mut settling = self.settling();
                if settling.tell() == Tell::Nothing || outbound.half.is_none() {
                    return false;
                }
                if outbound.own.weight() >= OWN {
                    return true;
                }
                settling.told()
            };
            self.ack_wanted.store(false, Ordering::Release);
            self.push_own(&mut outbound, Message::Ack { settled });
        }
        self.drive_own();
        true
    }

    /// Writes what the session itself has to say; a task goes on with what the link does not take at once.
    pub(crate) fn drive_own(self: &Arc<Self>) {
        let waker = self.wakers.writing();
        let mut outbound = self.outbound();
        if outbound.mid_out {
            // Whoever writes the connection's buffer goes on with it.
            return;
        }
        let generation = outbound.generation;
        match outbound.poll_own(&mut Context::from_waker(&waker)) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(why)) => {
                drop(outbound);
                self.lose(generation, why);
            }
            Poll::Pending if outbound.driven => {}
            Poll::Pending => {
                outbound.driven = true;
                drop(outbound);
                let weak = Arc::downgrade(self);
                self.runtime.spawn(std::future::poll_fn(move |cx| {
                    let Some(shared) = weak.upgrade() else { return Poll::Ready(()) };
                    shared.poll_driven(cx, &waker)
                }));
            }
        }
    }

    fn poll_driven(self: &Arc<Self>, cx: &mut Context<'_>, waker: &Waker) -> Poll<()> {
        self.wakers.own.register(cx.waker());
        let mut outbound = self.outbound();
        let generation = outbound.generation;
        let written = match outbound.mid_out {
            true => Poll::Ready(Ok(())),
            false => outbound.poll_own(&mut Context::from_waker(waker)),
        };
        if written.is_pending() {
            return Poll::Pending;
        }
        outbound.driven = false;
        drop(outbound);
        if let Poll::Ready(Err(why)) = written {
            self.lose(generation, why);
        }
        Poll::Ready(())
    }

    /// A write failed on the link of `generation`. No lock may be held.
    fn lose(self: &Arc<Self>, generation: u64, why: Error) {
        // What the peer said last may tell why, and need not be said again.
        self.look_for_acks();
        self.lost(generation, why, None);
    }
}

/// Tells the peer what is settled every so often, as long as there is something to tell.
///
/// Whoever receives counts without a fence: what is counted while `ack_waits` is taken back is seen one round later.
async fn tell_regularly(shared: Weak<Shared>) {
    let mut last = false;
    loop {
        tokio::time::sleep(ACK_DELAY).await;
        let Some(shared) = shared.upgrade() else { return };
        match (shared.tell_now(), last) {
            (true, _) => {}
            (false, true) => return,
            (false, false) => {
                last = true;
                shared.ack_waits.store(false, Ordering::SeqCst);
            }
        }
    }
}
