//! The client's side: opens sessions, and comes back to them on another link.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use haul_core::{Backoff, Dial, Endpoint, Error, ErrorKind, Link, Result, Sent, State, Status};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::SessionOptions;
use crate::handshake::{self, PATIENCE, ask, refused};
use crate::outgoing::Lost;
use crate::reader::is_the_peers_doing;
use crate::shared::{Keeper, Shared, lock};
use crate::token::{SessionId, Token};
use crate::wire::{Message, Refusal};

/// Dials, and greets.
pub(crate) struct Course {
    pub(crate) dialer: haul_core::Shared<Endpoint>,
    pub(crate) options: SessionOptions,
    pub(crate) backoff: Backoff,
    place: Mutex<Place>,
}

struct Place {
    endpoint: Endpoint,
    /// What names the session, once there is one.
    key: Option<(SessionId, Token)>,
    epoch: u64,
    /// Resumes of this session so far.
    resumes: u64,
    /// Dials since a link was last stable.
    streak: u32,
    since: Option<Instant>,
    /// The task that dials.
    task: Option<AbortHandle>,
    /// Who waits to hear that the session moved, and where it was before.
    mover: Option<(oneshot::Sender<Result<()>>, Endpoint)>,
}

/// A session that a server granted.
pub(crate) struct Granted {
    link: Link,
    key: (SessionId, Token),
    window: u64,
}

impl Granted {
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }
}

impl Course {
    pub(crate) fn new(
        dialer: haul_core::Shared<Endpoint>,
        endpoint: Endpoint,
        options: SessionOptions,
        backoff: Backoff,
    ) -> Self {
        let place = Place {
            endpoint,
            key: None,
            epoch: 0,
            resumes: 0,
            streak: 0,
            since: None,
            task: None,
            mover: None,
        };
        Self { dialer, options, backoff, place: Mutex::new(place) }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        lock(&self.place).endpoint.clone()
    }

    /// A link to `endpoint`, not greeted yet. Errors: the dialer's, and `Unsupported`.
    async fn link(&self, endpoint: Endpoint) -> Result<Link> {
        let link = self.dialer.dial(endpoint).await?.into_link().await?;
        handshake::able(&link.info).map(|()| link)
    }

    /// Runs a dial within its time.
    async fn in_time<T>(&self, endpoint: &Endpoint, dial: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = self.options.connect_timeout;
        let late = |_| {
            let message = format!("dial {endpoint}: no session within {limit:?}");
            Err(Error::new(ErrorKind::Timeout, message).with_sent(Sent::No))
        };
        timeout(limit, dial).await.unwrap_or_else(late)
    }

    /// Opens the first session. Errors: the dialer's, `Timeout`, `Unsupported`, and the server's refusal.
    pub(crate) async fn open_first(&self) -> Result<Granted> {
        let endpoint = self.endpoint();
        let dial = async {
            let link = self.link(endpoint.clone()).await?;
            let opened = self.open(link, Some(PATIENCE)).await;
            opened.map_err(|why| {
                why.with_sent(Sent::No).while_doing(format_args!("open a session with {endpoint}"))
            })
        };
        self.in_time(&endpoint, dial).await
    }

    /// Asks for a session on `link`. Errors: those of [`ask`], and the server's refusal.
    async fn open(&self, mut link: Link, patience: Option<Duration>) -> Result<Granted> {
        let epoch = lock(&self.place).epoch + 1;
        let window = self.options.replay_bytes as u64;
        match ask(&mut link, Message::Open { epoch, window }, patience).await? {
            Message::Accepted { session, token, window } => {
                Ok(Granted { link, key: (session, token), window })
            }
            Message::Refused { reason, text } => Err(refused(reason, &text)),
            _ => Err(Error::new(ErrorKind::Protocol, "the peer answered an open with something else")),
        }
    }

    /// Begins the session `granted` on `shared`.
    pub(crate) fn begin(&self, shared: &Arc<Shared>, granted: Granted, lost: Option<Lost>) -> Result<()> {
        {
            let mut place = lock(&self.place);
            place.key = Some(granted.key);
            place.epoch += 1;
            place.resumes = 0;
            place.since = Some(Instant::now());
        }
        let gap = lost.map(|lost| Message::Gap { from: lost.from, to: lost.to });
        shared.attach(granted.link, 0, Some(granted.window), gap)
    }

    /// Comes back to the session on `link`, or begins a new epoch there.
    async fn resume(&self, shared: &Arc<Shared>, mut link: Link) -> Result<()> {
        let resume = {
            let mut place = lock(&self.place);
            place.resumes += 1;
            let Some((session, token)) = place.key else { return Err(handshake::closed()) };
            let received = shared.inbound().received;
            Message::Resume { session, token, attempt: place.resumes, received }
        };
        // The server has sessions: if it is slow now, it is busy.
        // What becomes of a link says nothing of the next one.
        let asked = ask(&mut link, resume, None).await.map_err(|why| match is_the_peers_doing(&why) {
            true => why,
            false => why.with_status(Status::Transient),
        });
        match asked? {
            Message::Resumed { received } => {
                lock(&self.place).since = Some(Instant::now());
                shared.attach(link, received, None, None)
            }
            Message::Refused { reason: Refusal::Unknown, text } => {
                if shared.sending().finishing {
                    let why = refused(Refusal::Unknown, &text).with_status(Status::Permanent);
                    return Err(
                        why.while_doing("this end has finished, and the peer no longer knows the session")
                    );
                }
                let granted = self.open(link, None).await?;
                self.begin_again(shared, granted, &text)
            }
            Message::Refused { reason, text } => Err(refused(reason, &text)),
            _ => Err(Error::new(ErrorKind::Protocol, "the peer answered a resume with something else")),
        }
    }

    /// A new epoch: what has an id is sent again, the rest is told.
    fn begin_again(&self, shared: &Arc<Shared>, granted: Granted, why: &str) -> Result<()> {
        let received = shared.inbound().received;
        let lost = shared.start_over();
        let message = match lost {
            Some(Lost { from, to, count }) => format!(
                "a new session took the place of one that the peer no longer had ({why}): {count} packets of ours \
                 between {from} and {} may be lost, and what the peer sent after its packet {received} is unknown",
                to - 1
            ),
            None => format!(
                "a new session took the place of one that the peer no longer had ({why}): nothing of ours is lost, \
                 and what the peer sent after its packet {received} is unknown"
            ),
        };
        let mut gap = Error::new(ErrorKind::Gap, message).with("received", received);
        gap = gap.with("ours_maybe_lost", lost.map_or(0, |lost| lost.count));
        if let Some(lost) = lost {
            gap = gap.with("from", lost.from).with("to", lost.to);
        }
        shared.inbound().add_gap(gap);
        self.begin(shared, granted, lost)
    }

    /// Dials until the session stands again, or is given up.
    async fn run(self: Arc<Self>, shared: Arc<Shared>, why: Error, next: Option<Link>) {
        let began = Instant::now();
        let mut why = why;
        if let Some(link) = next {
            let endpoint = self.endpoint();
            match self.in_time(&endpoint, self.resume(&shared, link)).await {
                Ok(()) => return self.tell_mover(Ok(())),
                Err(error) => {
                    self.tell_mover(Err(error.clone()));
                    why = error;
                }
            }
        }
        if lock(&self.place).since.take().is_some_and(|since| since.elapsed() >= self.options.stable_after) {
            lock(&self.place).streak = 0;
        }
        let mut attempt = 0;
        loop {
            let streak = lock(&self.place).streak;
            let wait = self.wait(streak, &why);
            let late = self.options.deadline.is_some_and(|deadline| began.elapsed() + wait > deadline);
            if late || self.options.attempts.is_some_and(|attempts| streak >= attempts) {
                let why = why.exhausted().with("dials", streak);
                return shared
                    .give_up(why.while_doing(format_args!("gave up the session with {}", self.endpoint())));
            }
            lock(&self.place).streak += 1;
            attempt += 1;
            // The first is set by who lost the link; a close of ours may have moved the state on already.
            let _ = shared.state.set(State::Reconnecting { attempt });
            sleep(wait).await;
            let endpoint = self.endpoint();
            let resumed = self.in_time(&endpoint, async {
                let link = self.link(endpoint.clone()).await?;
                self.resume(&shared, link).await
            });
            match resumed.await {
                Ok(()) => return,
                Err(error) if error.status() == Status::Permanent => {
                    return shared
                        .give_up(error.while_doing(format_args!("resume the session with {endpoint}")));
                }
                Err(error) => why = error,
            }
        }
    }

    /// The first dial after a stable link is at once.
    fn wait(&self, streak: u32, why: &Error) -> Duration {
        let asked = why.retry_after().unwrap_or(Duration::ZERO);
        match streak {
            0 => asked,
            _ => self.backoff.wait(streak - 1, Backoff::random()).max(asked),
        }
    }

    /// Whoever asked to move hears how it went; where it did not, dials go to where they went before.
    fn tell_mover(&self, moved: Result<()>) {
        let mut place = lock(&self.place);
        let Some((mover, before)) = place.mover.take() else { return };
        if moved.is_err() {
            place.endpoint = before;
        }
        drop(place);
        // Who asked may have lost interest.
        let _ = mover.send(moved);
    }

    /// Moves the session to `endpoint`. The link that stands is given up only when the other one is there.
    pub(crate) async fn move_to(&self, shared: &Arc<Shared>, endpoint: Endpoint) -> Result<()> {
        let failed = |why: Error| why.while_doing(format_args!("move the session to {endpoint}"));
        let link = self.in_time(&endpoint, self.link(endpoint.clone())).await.map_err(failed)?;
        let (mover, moved) = oneshot::channel();
        {
            let mut place = lock(&self.place);
            let before = std::mem::replace(&mut place.endpoint, endpoint.clone());
            place.mover = Some((mover, before));
        }
        shared.look_for_acks();
        let generation = shared.inbound().generation;
        let why = Error::new(ErrorKind::Closed, "the session moves to another transport");
        let not_now = || Err(Error::new(ErrorKind::Closed, "the session has no link just now, or is over"));
        if !shared.lost(generation, why, Some(link)) {
            self.tell_mover(not_now());
        }
        let moved = moved.await.unwrap_or_else(|_| not_now());
        moved.map_err(failed)
    }
}

/// What a client does about a lost link.
pub(crate) struct Client(pub(crate) Arc<Course>);

impl Keeper for Client {
    fn lost(&self, shared: &Arc<Shared>, why: Error, next: Option<Link>) {
        let task = shared.runtime.spawn(self.0.clone().run(shared.clone(), why, next));
        lock(&self.0.place).task = Some(task.abort_handle());
    }

    fn dropped(&self) {
        if let Some(task) = lock(&self.0.place).task.take() {
            task.abort();
        }
    }
}
