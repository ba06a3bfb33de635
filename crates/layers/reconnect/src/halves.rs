//! The link that outlives links.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use haul_core::wire::{Frame, SendBuf};
use haul_core::{
    BoxFuture, CloseReason, Connection, Error, ErrorKind, Multiplex, ReadHalf, Result, StreamOptions,
    WriteHalf,
};

use crate::alive::{Alive, Due};
use crate::life::{Core, Phase};
use crate::shared::Shared;

pub(crate) struct Reader {
    shared: Arc<Shared>,
    half: Option<Box<dyn ReadHalf>>,
    /// The link that `half` belongs to.
    epoch: u64,
    /// The link is gone; `half` is read to its end.
    draining: bool,
    /// What is to be written without the application's doing is not written yet.
    writing: bool,
    alive: Option<Alive>,
    after_clean_close: bool,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, alive: Option<Alive>, after_clean_close: bool) -> Self {
        Self { shared, half: None, epoch: 0, draining: false, writing: false, alive, after_clean_close }
    }

    /// Sees to what concerns both halves. An answer is something for the application.
    fn tend(&mut self) -> Option<Frame> {
        let shared = self.shared.clone();
        let mut core = shared.lock();
        if let Some(frame) = core.inbound.pop_front() {
            shared.call_reader();
            return Some(frame);
        }
        self.draining = !core.stands(self.epoch);
        self.write(&shared, &mut core);
        self.draining |= !core.stands(self.epoch);
        None
    }

    /// Writes the backlog: nobody else may have a reason to.
    fn write(&mut self, shared: &Shared, core: &mut Core) {
        self.writing = core.stands(core.epoch) && shared.poll_flush(core).is_pending();
    }

    /// Takes the reading half of the next link, or answers how the connection ends.
    fn poll_next_link(&mut self) -> Poll<Option<Result<Option<Frame>>>> {
        let shared = self.shared.clone();
        let mut core = shared.lock();
        if let Some(frame) = core.inbound.pop_front() {
            return Poll::Ready(Some(Ok(Some(frame))));
        }
        ready!(shared.poll_link(&mut core));
        let end = match &core.phase {
            Phase::Over(None) => Some(Ok(None)),
            Phase::Over(Some(why)) => Some(Err(why.clone())),
            _ => None,
        };
        if end.is_some() {
            return Poll::Ready(end);
        }
        let (half, gap) = core.take_fresh();
        self.half = half;
        (self.epoch, self.draining) = (core.epoch, false);
        if let Some(alive) = &mut self.alive {
            alive.restart();
        }
        self.write(&shared, &mut core);
        Poll::Ready(gap.map(Err))
    }

    fn cut(&mut self, why: Error) {
        self.half = None;
        self.shared.lock().cut(self.epoch, why);
        self.shared.wakers.write.wake();
    }

    /// What the link gave, for the application; `None` if the link is gone.
    fn judge(&mut self, read: Result<Option<Frame>>) -> Option<Result<Option<Frame>>> {
        if let Some(alive) = &mut self.alive {
            alive.heard();
        }
        let why = match read {
            Ok(Some(Frame::Receipt { id, outcome })) => {
                self.shared.lock().answered(id);
                return Some(Ok(Some(Frame::Receipt { id, outcome })));
            }
            Ok(Some(Frame::Close(reason))) if !self.after_clean_close && reason.is_clean() => {
                self.shared.lock().peer_done();
                return Some(Ok(Some(Frame::Close(reason))));
            }
            Ok(Some(Frame::Close(reason))) => {
                if self.shared.lock().is_closing() {
                    return Some(Ok(Some(Frame::Close(reason))));
                }
                Error::new(ErrorKind::Closed, format!("the peer closed: {reason}"))
            }
            Ok(Some(Frame::Finish)) => {
                self.shared.lock().peer_done();
                return Some(Ok(Some(Frame::Finish)));
            }
            Ok(Some(frame)) => return Some(Ok(Some(frame))),
            Ok(None) => Error::new(ErrorKind::Closed, "the peer ended the stream without a close"),
            Err(why) if why.kind() == ErrorKind::Gap => return Some(Err(why)),
            Err(why) if why.status() == haul_core::Status::Permanent => {
                self.half = None;
                self.shared.lock().phase = Phase::Over(Some(why.clone()));
                return Some(Err(why));
            }
            Err(why) => why,
        };
        self.cut(why);
        None
    }

    /// Nothing to read: pings a silent peer, or gives the link up.
    fn keep_alive(&mut self, cx: &mut Context<'_>) {
        match self.alive.as_mut().map_or(Due::Nothing, |alive| alive.poll(cx)) {
            Due::Nothing => {}
            Due::Ping => {
                let shared = self.shared.clone();
                let mut core = shared.lock();
                core.push(Frame::Ping(Bytes::from_static(b"haul")));
                self.write(&shared, &mut core);
            }
            Due::Cut(quiet) => {
                let message = format!("nothing heard from the peer for {quiet:?}");
                self.cut(Error::new(ErrorKind::Timeout, message));
            }
        }
    }
}

impl ReadHalf for Reader {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        self.shared.wakers.read.register(cx.waker());
        loop {
            let called = self.shared.is_called();
            if (called || self.writing)
                && self.half.is_some()
                && let Some(frame) = self.tend()
            {
                return Poll::Ready(Ok(Some(frame)));
            }
            let Some(half) = &mut self.half else {
                match ready!(self.poll_next_link()) {
                    Some(answer) => return Poll::Ready(answer),
                    None => continue,
                }
            };
            match half.poll_read(cx) {
                Poll::Ready(read) => {
                    if let Some(answer) = self.judge(read) {
                        return Poll::Ready(answer);
                    }
                }
                Poll::Pending if self.draining => {
                    self.cut(Error::new(ErrorKind::Closed, "the link was cut"));
                }
                Poll::Pending => {
                    self.keep_alive(cx);
                    if self.half.is_some() && !self.shared.has_called() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Waits for a link, has `work` done on it, and again if it broke meanwhile.
    fn poll_on_link(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut SendBuf,
        work: fn(&Shared, &mut Core, &mut SendBuf) -> Poll<()>,
    ) -> Poll<Result<()>> {
        let shared = &self.shared;
        shared.wakers.write.register(cx.waker());
        let mut core = shared.lock();
        loop {
            if let Some(why) = core.given_up.take() {
                return Poll::Ready(Err(why));
            }
            match &core.phase {
                Phase::Over(Some(why)) => return Poll::Ready(Err(why.clone())),
                Phase::Over(None) => return Poll::Ready(core.refuse(out)),
                Phase::Down(_) if core.only_closes() => {
                    core.phase = Phase::Over(None);
                    shared.call_reader();
                }
                Phase::Down(_) => ready!(shared.poll_link(&mut core)),
                Phase::Up(_) => {
                    ready!(work(shared, &mut core, out));
                    if core.is_up() {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl WriteHalf for Writer {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        self.poll_on_link(cx, out, |shared, core, out| shared.poll_write(core, out))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_on_link(cx, &mut SendBuf::default(), |shared, core, _| shared.poll_flush(core))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.shared.lock().finish();
        self.poll_flush(cx)
    }

    fn abort(&mut self, reason: &CloseReason) {
        let mut core = self.shared.lock();
        if let Phase::Up(up) = &mut core.phase {
            up.abort(reason);
        }
        core.phase = Phase::Over(None);
    }
}

/// The streams of the session that stands just now; they end with it.
pub(crate) struct Streams(pub(crate) Arc<Shared>);

impl Streams {
    fn current(&self) -> Result<Arc<dyn Multiplex>> {
        let down = || Error::new(ErrorKind::Closed, "not connected just now").with_sent(haul_core::Sent::No);
        match &self.0.lock().phase {
            Phase::Up(up) => up.multiplex.clone().ok_or_else(down),
            _ => Err(down()),
        }
    }
}

impl Multiplex for Streams {
    fn open(&self, options: StreamOptions) -> BoxFuture<'_, Result<Connection>> {
        Box::pin(async move { self.current()?.open(options).await })
    }

    fn accept(&self) -> BoxFuture<'_, Result<Option<Connection>>> {
        Box::pin(async move { self.current()?.accept().await })
    }
}
