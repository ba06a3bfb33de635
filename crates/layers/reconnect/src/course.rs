//! How a link is made again: waits and dials until one stands, or none is to be had.

use std::sync::Arc;
use std::time::Duration;

use haul_core::{Backoff, Dial, Endpoint, Error, ErrorKind, Link, Result, Shared, State, StateCell, Status};
use tokio::time::{Instant, sleep, timeout};

use crate::{Hook, ReconnectOptions};

pub(crate) struct Course {
    pub(crate) dialer: Shared<Endpoint>,
    pub(crate) endpoint: Endpoint,
    pub(crate) options: ReconnectOptions,
    pub(crate) backoff: Backoff,
    pub(crate) hook: Option<Hook>,
    pub(crate) state: StateCell,
    pub(crate) random: fn() -> u64,
}

/// Dials since the connection was last stable.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Streak {
    dials: u32,
    began: Option<Instant>,
}

/// What came of dialing.
pub(crate) struct Dialed {
    pub(crate) link: Result<Link>,
    pub(crate) streak: Streak,
    /// The dials that this took.
    pub(crate) tries: u32,
}

impl Course {
    /// Dials once. Errors: the dialer's, and `Timeout`.
    pub(crate) async fn dial(&self, again: bool) -> Result<Link> {
        let limit = self.options.connect_timeout;
        let dial = async {
            let connection = self.dialer.dial(self.endpoint.clone()).await?;
            if let Some(hook) = self.hook.as_ref().filter(|_| again) {
                let hooked = hook(&connection).await;
                hooked.map_err(|why| why.while_doing("resubscribe"))?;
            }
            connection.into_link().await
        };
        let late = |_| {
            let message = format!("dial {}: not connected within {limit:?}", self.endpoint);
            Err(Error::new(ErrorKind::Timeout, message))
        };
        timeout(limit, dial).await.unwrap_or_else(late)
    }

    /// Dials until a link stands. The first connection of all is tried at once.
    pub(crate) async fn run(self: Arc<Self>, mut streak: Streak, again: bool, why: Option<Error>) -> Dialed {
        let (mut tries, mut why) = (0, why);
        if !again {
            // It is `Disconnected` until here, where nothing else may be.
            let _ = self.state.set(State::Connecting);
        }
        loop {
            let wait = self.wait(&streak, again, why.as_ref());
            if let Some(limit) = self.exhausted(&mut streak, wait) {
                let last = why.unwrap_or_else(|| Error::new(ErrorKind::Connect, "not connected"));
                let error = last.exhausted().with(limit, streak.dials);
                let link = Err(error.while_doing(format_args!("gave up connecting to {}", self.endpoint)));
                return Dialed { link, streak, tries };
            }
            streak.dials = streak.dials.saturating_add(1);
            tries += 1;
            if again {
                // A close of ours may have moved the state on already.
                let _ = self.state.set(State::Reconnecting { attempt: tries });
            }
            sleep(wait).await;
            match self.dial(again).await {
                Err(error) if error.status() != Status::Permanent => why = Some(error),
                link => return Dialed { link, streak, tries },
            }
        }
    }

    fn wait(&self, streak: &Streak, again: bool, why: Option<&Error>) -> Duration {
        let retry = match again {
            true => streak.dials,
            false if streak.dials == 0 => return Duration::ZERO,
            false => streak.dials - 1,
        };
        let asked = why.and_then(Error::retry_after).unwrap_or(Duration::ZERO);
        self.backoff.wait(retry, (self.random)()).max(asked)
    }

    /// The name of the limit that forbids another dial after `wait`.
    fn exhausted(&self, streak: &mut Streak, wait: Duration) -> Option<&'static str> {
        if self.options.attempts.is_some_and(|attempts| streak.dials >= attempts) {
            return Some("dials");
        }
        let began = *streak.began.get_or_insert_with(Instant::now);
        let too_late = |deadline| began.elapsed().saturating_add(wait) > deadline;
        self.options.deadline.is_some_and(too_late).then_some("dials_within_deadline")
    }
}
