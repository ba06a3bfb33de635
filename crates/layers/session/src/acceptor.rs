//! The server's side: greets links, and gives each to its session.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select, select_all};
use haul_core::{
    CloseReason, Connection, Endpoint, Error, ErrorKind, Incoming, Info, Link, Listener, Result,
};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::AcceptorOptions;
use crate::handshake::{able, hear, refused, say};
use crate::table::{Claim, Table, Turned};
use crate::wire::{Message, Refusal};

/// Links that are greeted at once; more wait beneath.
const GREETINGS: usize = 1024;

type Identity = Arc<dyn Fn(&Info) -> Option<String> + Send + Sync>;

/// Gives listeners sessions: what it listens with yields one [`Connection`] for each session, and a client that comes back,
/// on whichever of its listeners, goes on with the connection that is there.
#[derive(Clone)]
pub struct Acceptor {
    table: Arc<Table>,
    identity: Identity,
}

impl Acceptor {
    /// An acceptor with no sessions. Errors: `Config` for a value out of its range.
    pub fn new(options: AcceptorOptions) -> Result<Self> {
        options.check()?;
        let identity = |info: &Info| info.facts.get("identity").map(str::to_owned);
        Ok(Self { table: Table::new(options), identity: Arc::new(identity) })
    }

    /// Who a client is, from what is known of its link; by default the fact `identity`.
    ///
    /// A session can be resumed only by whom it was opened by: another is answered `Unauthorized`, and the session goes
    /// on undisturbed.
    #[must_use]
    pub fn identified_by(
        mut self,
        identity: impl Fn(&Info) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.identity = Arc::new(identity);
        self
    }

    /// Listens with all of `listeners`, under the name of the first. Clones of the acceptor share its sessions.
    ///
    /// Errors: `Config` without listeners. Must be called within a tokio runtime.
    pub fn listen(&self, listeners: Vec<Listener>) -> Result<Listener> {
        let local = listeners.first().map(|first| first.local_endpoint().clone());
        let local: Endpoint =
            local.ok_or_else(|| Error::new(ErrorKind::Config, "session: an acceptor needs a listener"))?;
        let limits = self.table.options.limits.clone();
        let listeners = listeners.into_iter().map(|listener| (listener, true)).collect();
        let state = Mutex::new(State { listeners, greetings: JoinSet::new() });
        let incoming = Greeter { acceptor: self.clone(), state };
        Ok(Listener::new(local, incoming, limits, crate::reader::spawn))
    }

    /// What becomes of a connection: a session to open, or `None` where it went on with one.
    ///
    /// Errors: `Timeout`, `Protocol`, `Unauthorized`, and the link's.
    async fn greet(self, connection: Connection) -> Result<Option<Opening>> {
        let deadline = self.table.options.limits.handshake_deadline;
        let late = || Error::new(ErrorKind::Timeout, format!("no greeting within {deadline:?}"));
        timeout(deadline, self.hear_greeting(connection)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn hear_greeting(self, connection: Connection) -> Result<Option<Opening>> {
        let mut link = connection.into_link().await?;
        let mut known = able(&link.info);
        if known.is_ok() {
            say(&mut link, [Message::Hello.into_frame()]).await?;
        }
        let mut refused_resume = None;
        loop {
            let heard = match known {
                Ok(()) => hear(&mut link).await,
                Err(why) => Err(why),
            };
            known = Ok(());
            let identity = (self.identity)(&link.info);
            let (reason, text) = match heard {
                Ok(Message::Open { epoch, window }) => {
                    return Ok(Some(Opening { link, epoch, window, identity }));
                }
                // Asked once more, because of our hello.
                Ok(again @ Message::Resume { .. }) if refused_resume.as_ref() == Some(&again) => continue,
                // Whoever guesses must connect again for each guess.
                Ok(Message::Resume { .. }) if refused_resume.is_some() => {
                    (Refusal::Protocol, "after a refused resume comes an open".to_owned())
                }
                Ok(resume @ Message::Resume { session, token, attempt, received }) => {
                    let claim = Claim { session, token, attempt, received, identity };
                    let Err(turned) = self.table.resume(link, &claim) else { return Ok(None) };
                    let Turned { link: back, reason, text } = *turned;
                    link = back.ok_or_else(|| refused(reason, &text))?;
                    refused_resume = Some(resume);
                    (reason, text)
                }
                Ok(_) => (Refusal::Protocol, "a client begins with open or resume".to_owned()),
                Err(why) if matches!(why.kind(), ErrorKind::Protocol | ErrorKind::Unsupported) => {
                    turn_away(link, "both ends need the session layer, in one version").await;
                    return Err(why);
                }
                Err(why) => return Err(why),
            };
            let why = refused(reason, &text);
            say(&mut link, [Message::Refused { reason, text: text.clone() }.into_frame()]).await?;
            if reason != Refusal::Unknown {
                turn_away(link, &text).await;
                return Err(why);
            }
        }
    }
}

/// Closes a link with a reason, as far as the peer takes it.
async fn turn_away(link: Link, text: &str) {
    let connection = Connection::new(link, crate::reader::spawn);
    // Whether it was heard changes nothing here.
    let _ = connection.close(CloseReason::new(CloseReason::PROTOCOL.code, text.to_owned())).await;
}

/// A client that asked for a session.
struct Opening {
    link: Link,
    epoch: u64,
    window: u64,
    identity: Option<String>,
}

struct Greeter {
    acceptor: Acceptor,
    state: Mutex<State>,
}

struct State {
    /// With each, whether it still listens.
    listeners: Vec<(Listener, bool)>,
    greetings: JoinSet<Result<Option<Opening>>>,
}

impl State {
    /// The next connection of any listener. Never, if none listens.
    async fn next(listeners: &mut [(Listener, bool)]) -> Result<Connection> {
        loop {
            let open = listeners.iter().enumerate().filter(|(_, (_, listens))| *listens);
            let accepts: Vec<_> = open
                .map(|(at, (listener, _))| Box::pin(async move { (at, listener.accept().await) }))
                .collect();
            if accepts.is_empty() {
                return std::future::pending().await;
            }
            let ((at, accepted), ..) = select_all(accepts).await;
            match accepted? {
                Some(connection) => return Ok(connection),
                None => listeners[at].1 = false,
            }
        }
    }

    /// The next greeting that is done. Never, if there are none.
    async fn greeted(greetings: &mut JoinSet<Result<Option<Opening>>>) -> Result<Option<Opening>> {
        match greetings.join_next().await {
            Some(greeted) => {
                greeted.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a greeting panicked")))
            }
            None => std::future::pending().await,
        }
    }
}

impl Incoming for Greeter {
    type Raw = Result<Opening>;

    async fn accept(&self) -> Result<Result<Opening>> {
        let mut state = self.state.lock().await;
        let State { listeners, greetings } = &mut *state;
        loop {
            let full = greetings.len() >= GREETINGS;
            let event = {
                let next = pin!(async {
                    if full {
                        return std::future::pending().await;
                    }
                    State::next(listeners).await
                });
                let greeted = pin!(State::greeted(greetings));
                match select(greeted, next).await {
                    Either::Left((greeted, _)) => Either::Left(greeted),
                    Either::Right((connection, _)) => Either::Right(connection),
                }
            };
            match event {
                Either::Left(greeted) => {
                    if let Some(raw) = greeted.transpose() {
                        return Ok(raw);
                    }
                }
                Either::Right(connection) => {
                    greetings.spawn(self.acceptor.clone().greet(connection?));
                }
            }
        }
    }

    async fn handshake(&self, raw: Result<Opening>) -> Result<Link> {
        let Opening { link, epoch, window, identity } = raw?;
        self.acceptor.table.open(link, epoch, window, identity)
    }

    async fn refuse(&self, raw: Result<Opening>) {
        if let Ok(mut opening) = raw {
            let text = "too many sessions; try again later".to_owned();
            let refused = Message::Refused { reason: Refusal::Overloaded, text };
            // A client that is gone needs no answer.
            if say(&mut opening.link, [refused.into_frame()]).await.is_ok() {
                turn_away(opening.link, "too many sessions").await;
            }
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("options", &self.table.options).finish_non_exhaustive()
    }
}
