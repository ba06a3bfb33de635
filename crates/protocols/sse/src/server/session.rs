//! A session: the events on their way to a client, over as many requests as it takes, and what the client POSTs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use haul_core::{Error, ErrorKind, Metadata, Result};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use super::table::Table;
use crate::event::put_field;
use crate::options::ListenConfig;
use crate::words;

/// Bytes of events that wait for the client to take them; then writing waits.
const WAITING: usize = 64 << 10;

/// POSTs of one client that may be read at once: one, and those that it gave up and sent again.
const POSTS: usize = 4;

/// The fact that says who a client is.
pub(crate) const IDENTITY: &str = "identity";

/// What a client POSTed.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(super) body: Bytes,
    /// By its type.
    pub(super) text: bool,
}

/// One client.
pub(crate) struct Session {
    token: String,
    /// Who may come back to it and POST, beside knowing the token.
    identity: Option<String>,
    haul: bool,
    pub(super) heartbeat: Duration,
    replay: usize,
    resume: Duration,
    down: Mutex<Down>,
    /// The number of the next POST, and where it goes: boxed, as a channel makes room for 32.
    pub(super) up: tokio::sync::Mutex<(u64, mpsc::Sender<Box<Posted>>)>,
    pub(super) posts: Arc<Semaphore>,
    runtime: Handle,
}

/// Events, numbered; those that the client has taken are kept for a while.
#[derive(Default)]
struct Down {
    events: VecDeque<Bytes>,
    /// The number of the first in `events`.
    first: u64,
    /// How many of `events` were taken.
    taken: usize,
    taken_bytes: usize,
    waiting_bytes: usize,
    /// Which request takes events: earlier ones are over.
    request: u64,
    attached: bool,
    /// This end has said all that it will.
    finished: bool,
    over: Option<Over>,
    taker: Option<Waker>,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

/// How a session is over.
#[derive(Clone, Debug)]
enum Over {
    /// This end has said all.
    Clean,
    Cut(Error),
}

/// What a request takes next.
pub(super) enum Taken {
    Events(Vec<Bytes>),
    /// Another request takes them, or all is said.
    End,
    /// This end was cut.
    Cut(Error),
}

impl Session {
    /// A new session of this identity, and what its client will POST. Its first event announces it.
    pub(crate) fn new(
        config: &ListenConfig,
        identity: Option<String>,
        haul: bool,
    ) -> (Arc<Self>, mpsc::Receiver<Box<Posted>>) {
        let (posted, posts) = mpsc::channel(1);
        let session = Self {
            token: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>()),
            identity,
            haul,
            heartbeat: config.heartbeat,
            replay: config.replay,
            resume: config.resume,
            down: Mutex::default(),
            up: tokio::sync::Mutex::new((0, posted)),
            posts: Arc::new(Semaphore::new(POSTS)),
            runtime: Handle::current(),
        };
        let mut fields = Vec::new();
        put_field(&mut fields, "retry", config.retry.as_millis().to_string().as_bytes());
        put_field(&mut fields, "event", words::ANNOUNCE.as_bytes());
        put_field(&mut fields, "data", session.token.as_bytes());
        session.push(&fields, false);
        (Arc::new(session), posts)
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Whether it is of the identity among these facts.
    pub(super) fn belongs_to(&self, facts: &Metadata) -> bool {
        self.identity.as_deref() == facts.get(IDENTITY)
    }

    /// Whether its client speaks haul's frames.
    pub(crate) fn haul(&self) -> bool {
        self.haul
    }

    fn down(&self) -> MutexGuard<'_, Down> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event of these fields, with a number unless they have an id of their own.
    pub(super) fn push(&self, fields: &[u8], has_id: bool) {
        let mut down = self.down();
        let mut event = Vec::with_capacity(fields.len() + self.token.len() + 32);
        if !has_id {
            let number = down.first + down.events.len() as u64;
            for part in ["id: ", &self.token, ".", &number.to_string(), "\n"] {
                event.extend_from_slice(part.as_bytes());
            }
        }
        event.extend_from_slice(fields);
        event.push(b'\n');
        down.waiting_bytes += event.len();
        down.events.push_back(event.into());
        wake(&mut down.taker);
    }

    /// Waits for room for another event. Errors: why the session is over.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_writer(cx, |down| down.waiting_bytes < WAITING)
    }

    /// Waits until the client's request has taken all events. Errors: why the session is over.
    pub(super) fn poll_taken(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_writer(cx, |down| down.waiting_bytes == 0)
    }

    fn poll_writer(&self, cx: &mut Context<'_>, done: impl FnOnce(&Down) -> bool) -> Poll<Result<()>> {
        let mut down = self.down();
        if let Some(Over::Cut(why)) = &down.over {
            return Poll::Ready(Err(why.clone()));
        }
        if done(&down) {
            return Poll::Ready(Ok(()));
        }
        down.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Why nothing more will be POSTed, once that is so.
    pub(super) fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<Error> {
        let mut down = self.down();
        if let Some(Over::Cut(why)) = &down.over {
            return Poll::Ready(why.clone());
        }
        down.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A request takes the events behind the one with this number from now on. Answers the request's own number.
    ///
    /// Errors: `Gap` if they are not kept any more, and the session is over.
    pub(super) fn attach(&self, behind: Option<u64>) -> Result<u64> {
        let mut down = self.down();
        let next = behind.map_or(0, |behind| behind.saturating_add(1));
        if next < down.first || next > down.first + down.events.len() as u64 {
            drop(down);
            let why = "the client came back for events that are not kept any more; replay= keeps more";
            self.cut(Error::new(ErrorKind::Closed, why));
            return Err(Error::new(ErrorKind::Gap, why));
        }
        let taken = (next - down.first) as usize;
        down.take_up_to(taken);
        down.request += 1;
        down.attached = true;
        // Whoever took them before is told that it no longer does.
        wake(&mut down.taker);
        Ok(down.request)
    }

    /// What the request of this number takes next, at most `most` bytes or one event.
    pub(super) fn poll_take(&self, request: u64, most: usize, cx: &mut Context<'_>) -> Poll<Taken> {
        let mut down = self.down();
        if down.request != request {
            return Poll::Ready(Taken::End);
        }
        if down.taken < down.events.len() {
            return Poll::Ready(Taken::Events(down.take(most, self.replay)));
        }
        match &down.over {
            None => {
                down.taker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(Over::Clean) => Poll::Ready(Taken::End),
            Some(Over::Cut(why)) => Poll::Ready(Taken::Cut(why.clone())),
        }
    }

    /// The request of this number is gone: another may come, for a while.
    pub(super) fn detach(self: &Arc<Self>, request: u64) {
        {
            let mut down = self.down();
            if down.request != request || down.over.is_some() {
                return;
            }
            down.attached = false;
        }
        let (session, resume): (Weak<Self>, _) = (Arc::downgrade(self), self.resume);
        self.runtime.spawn(async move {
            tokio::time::sleep(resume).await;
            if let Some(session) = session.upgrade() {
                session.expire(request);
            }
        });
    }

    fn expire(&self, request: u64) {
        let down = self.down();
        if down.request == request && !down.attached {
            drop(down);
            let why = format!("the client went away and did not come back within {:?}", self.resume);
            self.cut(Error::new(ErrorKind::Closed, why));
        }
    }

    /// All was said: when the session ends, its stream ends whole.
    pub(super) fn finish(&self) {
        self.down().finished = true;
    }

    /// Ends the session: nothing is taken or POSTed any more.
    pub(crate) fn cut(&self, why: Error) {
        self.end(Over::Cut(why));
    }

    fn end(&self, over: Over) {
        let mut down = self.down();
        if down.over.is_none() {
            down.over = Some(over);
        }
        let wakers = [down.taker.take(), down.writer.take(), down.reader.take()];
        drop(down);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Down {
    fn take(&mut self, most: usize, replay: usize) -> Vec<Bytes> {
        let (mut all, mut bytes) = (Vec::new(), 0);
        while let Some(event) = self.events.get(self.taken)
            && (all.is_empty() || bytes + event.len() <= most)
        {
            bytes += event.len();
            all.push(event.clone());
            self.taken += 1;
        }
        self.taken_bytes += bytes;
        self.waiting_bytes -= bytes;
        while self.taken_bytes > replay && self.taken > 0 {
            let Some(event) = self.events.pop_front() else { break };
            (self.first, self.taken) = (self.first + 1, self.taken - 1);
            self.taken_bytes -= event.len();
        }
        if self.waiting_bytes < WAITING {
            wake(&mut self.writer);
        }
        all
    }

    /// The first `count` of the events count as taken, the others wait.
    fn take_up_to(&mut self, count: usize) {
        self.taken = count;
        self.taken_bytes = self.events.iter().take(count).map(Bytes::len).sum();
        self.waiting_bytes = self.events.iter().skip(count).map(Bytes::len).sum();
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Held by the connection: when it is gone, so is the session.
pub(crate) struct Ending {
    pub(crate) session: Arc<Session>,
    pub(crate) table: Arc<Table>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.table.remove(self.session.token());
        let cut = || Over::Cut(Error::new(ErrorKind::Closed, "the session was cut here"));
        let finished = self.session.down().finished;
        self.session.end(if finished { Over::Clean } else { cut() });
    }
}
