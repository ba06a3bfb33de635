//! The server's side: has links greeted, and lets in who came.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select, select_all};
use haul_core::{
    CloseReason, Connection, Endpoint, Error, ErrorKind, Incoming, Info, Link, Listener, Result,
};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::AcceptorOptions;
use crate::greeting::{Greeted, Opening, turn_away};
use crate::handshake::say;
use crate::table::Table;
use crate::wire::{Message, Refusal};

/// Links that are greeted at once, where `max_connections` is not more; others wait beneath.
const GREETINGS: usize = 1024;

type Identity = Arc<dyn Fn(&Info) -> Option<String> + Send + Sync>;

/// Gives listeners sessions: what it listens with yields one [`Connection`] for each session, and a client that comes back,
/// on whichever of its listeners, goes on with the connection that is there. Peers without sessions are turned away, or come
/// out beside them: see [`AcceptorOptions::admit_plain`]. Only a session's connection has the fact `session`.
#[derive(Clone)]
pub struct Acceptor {
    pub(crate) table: Arc<Table>,
    pub(crate) identity: Identity,
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

    /// The protocol of the link that a session has now, or had last. `None` for a connection that is none of this acceptor's
    /// sessions, or is over.
    ///
    /// What `info` itself says of a session is said of its first link; a move shows in the connection's state, which leaves
    /// `Connected` and comes back.
    pub fn protocol(&self, info: &Info) -> Option<&'static str> {
        let session = info.facts.get("session")?.parse().ok()?;
        self.table.protocol(session)
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
        Ok(Listener::new(local, incoming, limits, crate::spawn))
    }
}

struct Greeter {
    acceptor: Acceptor,
    state: Mutex<State>,
}

struct State {
    /// With each, whether it still listens.
    listeners: Vec<(Listener, bool)>,
    greetings: JoinSet<Result<Option<Greeted>>>,
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
    async fn greeted(greetings: &mut JoinSet<Result<Option<Greeted>>>) -> Result<Option<Greeted>> {
        match greetings.join_next().await {
            Some(greeted) => {
                greeted.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a greeting panicked")))
            }
            None => std::future::pending().await,
        }
    }
}

impl Incoming for Greeter {
    type Raw = Result<Greeted>;

    async fn accept(&self) -> Result<Result<Greeted>> {
        let mut state = self.state.lock().await;
        let State { listeners, greetings } = &mut *state;
        let most = self.acceptor.table.options.limits.max_connections.max(GREETINGS);
        loop {
            let full = greetings.len() >= most;
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

    async fn handshake(&self, raw: Result<Greeted>) -> Result<Link> {
        match raw? {
            Greeted::Plain(link) => Ok(link),
            Greeted::Session(Opening { link, epoch, window, identity }) => {
                self.acceptor.table.open(link, epoch, window, identity)
            }
        }
    }

    async fn refuse(&self, raw: Result<Greeted>) {
        match raw {
            Err(_) => {}
            Ok(Greeted::Plain(link)) => {
                turn_away(link, CloseReason::TRY_AGAIN_LATER, "too many connections").await;
            }
            Ok(Greeted::Session(Opening { mut link, .. })) => {
                let text = "too many sessions; try again later".to_owned();
                let refused = Message::Refused { reason: Refusal::Overloaded, text };
                // A client that is gone needs no answer.
                if say(&mut link, [refused.into_frame()]).await.is_ok() {
                    turn_away(link, CloseReason::PROTOCOL, "too many sessions").await;
                }
            }
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("options", &self.table.options).finish_non_exhaustive()
    }
}
