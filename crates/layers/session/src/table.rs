//! The sessions of an acceptor, with and without a link.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, Weak};

use haul_core::{Error, ErrorKind, Link, Result, State, StateCell};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::AcceptorOptions;
use crate::budget::Budget;
use crate::shared::{Keeper, Shared, lock};
use crate::token::{SessionId, Token};
use crate::wire::{Message, Refusal};

pub(crate) struct Table {
    pub(crate) options: AcceptorOptions,
    budget: Arc<Budget>,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    by_id: HashMap<SessionId, Entry>,
    /// Those without a link, the oldest first.
    detached: BTreeMap<u64, SessionId>,
    /// Counts the links lost.
    losses: u64,
}

struct Entry {
    token: Token,
    identity: Option<String>,
    shared: Arc<Shared>,
    /// The last resume. Held while one is under way, so that a later one comes after it.
    attempt: Arc<Mutex<u64>>,
    /// Its place among those without a link, and the task that ends it.
    detached: Option<(u64, AbortHandle)>,
}

/// What a client says when it comes back.
pub(crate) struct Claim {
    pub(crate) session: SessionId,
    pub(crate) token: Token,
    pub(crate) attempt: u64,
    pub(crate) received: u64,
    pub(crate) identity: Option<String>,
}

/// A resume that was refused, and its link, if that is still of use.
pub(crate) struct Turned {
    pub(crate) link: Option<Link>,
    pub(crate) reason: Refusal,
    pub(crate) text: String,
}

fn turned(link: Option<Link>, reason: Refusal, text: &str) -> Box<Turned> {
    Box::new(Turned { link, reason, text: text.to_owned() })
}

impl Table {
    pub(crate) fn new(options: AcceptorOptions) -> Arc<Self> {
        let budget = Arc::new(Budget::new(options.max_memory as u64));
        Arc::new(Self { options, budget, sessions: Mutex::default() })
    }

    /// A new session on `link`. Errors: the operating system has no random numbers, `Unsupported`.
    pub(crate) fn open(
        self: &Arc<Self>,
        link: Link,
        epoch: u64,
        window: u64,
        identity: Option<String>,
    ) -> Result<Link> {
        let (session, token) = (SessionId::random()?, Token::random()?);
        let mut info = link.info.clone();
        info.stream_id = None;
        info.facts.set("session", session.to_string());
        info.facts.set("session_epoch", epoch.to_string());
        let mut limits = link.limits.clone();
        (limits.ping_interval, limits.idle_deadline) = (None, None);
        let keeper = Server { table: Arc::downgrade(self), session };
        let shared = Shared::new(
            Box::new(keeper),
            StateCell::new(State::Connecting),
            self.options.window(),
            limits.max_packet,
            Some(self.budget.clone()),
        );
        let attempt = Arc::new(Mutex::new(0));
        let entry = Entry { token, identity, shared: shared.clone(), attempt, detached: None };
        lock(&self.sessions).by_id.insert(session, entry);
        // Whatever fails from here on, dropping the link forgets the session.
        let above = crate::link::link(&shared, info, limits);
        let accepted = Message::Accepted { session, token, window: self.options.replay_bytes as u64 };
        shared.attach(link, 0, Some(window), Some(accepted))?;
        Ok(above)
    }

    /// Goes on with a session on `link`. A refusal gives the link back, and leaves the session alone.
    pub(crate) fn resume(&self, link: Link, claim: &Claim) -> Result<(), Box<Turned>> {
        let (shared, attempt) = {
            let sessions = lock(&self.sessions);
            let entry = sessions.by_id.get(&claim.session).filter(|entry| entry.token.matches(&claim.token));
            let Some(entry) = entry else {
                return Err(turned(Some(link), Refusal::Unknown, "there is no such session"));
            };
            if entry.identity != claim.identity {
                let text = "the session belongs to another identity";
                return Err(turned(Some(link), Refusal::Unauthorized, text));
            }
            (entry.shared.clone(), entry.attempt.clone())
        };
        let mut last = lock(&attempt);
        if claim.attempt <= *last {
            return Err(turned(Some(link), Refusal::Stale, "a later resume came before"));
        }
        if let Err(why) = shared.claims(claim.received) {
            return Err(turned(Some(link), Refusal::Protocol, why.message()));
        }
        *last = claim.attempt;
        // What arrived over the old link need not come again; from then on it is not heard, should it still stand.
        shared.look_for_acks();
        let generation = {
            let mut inbound = shared.inbound();
            inbound.heard = true;
            inbound.generation
        };
        let why = Error::new(ErrorKind::Closed, "the client came back on another link");
        shared.lost(generation, why, None);
        let received = shared.inbound().received;
        let resumed = Message::Resumed { received };
        let attached = shared.attach(link, claim.received, None, Some(resumed));
        drop(last);
        attached.map_err(|why| turned(None, Refusal::Unknown, why.message()))?;
        self.found(claim.session);
        Ok(())
    }

    /// The protocol of the session's link, or of its last one.
    pub(crate) fn protocol(&self, session: SessionId) -> Option<&'static str> {
        let shared = lock(&self.sessions).by_id.get(&session)?.shared.clone();
        let protocol = shared.sending().protocol;
        Some(protocol)
    }

    /// The session has a link again.
    fn found(&self, session: SessionId) {
        let mut sessions = lock(&self.sessions);
        if let Some(entry) = sessions.by_id.get_mut(&session)
            && entry.shared.is_up()
            && let Some((place, expiry)) = entry.detached.take()
        {
            expiry.abort();
            sessions.detached.remove(&place);
        }
    }

    /// The session has no link any more. A client that was not heard after its greeting may not even know that it has a
    /// session.
    fn detach(self: &Arc<Self>, session: SessionId, heard: bool) {
        let AcceptorOptions { retention, limits, .. } = &self.options;
        let retention = if heard { *retention } else { limits.handshake_deadline.min(*retention) };
        let too_many = {
            let mut sessions = lock(&self.sessions);
            let Sessions { by_id, detached, losses } = &mut *sessions;
            let Some(entry) = by_id.get_mut(&session) else { return };
            if let Some((place, expiry)) = entry.detached.take() {
                expiry.abort();
                detached.remove(&place);
            }
            *losses += 1;
            let weak = Arc::downgrade(self);
            let expiry = entry.shared.runtime.spawn(async move {
                sleep(retention).await;
                if let Some(table) = weak.upgrade() {
                    table.end(session, &format!("the client did not come back within {retention:?}"));
                }
            });
            entry.detached = Some((*losses, expiry.abort_handle()));
            detached.insert(*losses, session);
            detached.len() > self.options.max_detached
        };
        if too_many || self.budget.is_exceeded() {
            self.end_oldest();
        }
    }

    /// Ends the session that is without a link for the longest time.
    fn end_oldest(&self) {
        let oldest = lock(&self.sessions).detached.first_key_value().map(|(_, session)| *session);
        if let Some(session) = oldest {
            self.end(session, "too much is kept for clients that are away");
        }
    }

    /// Ends a session that has no link, for this reason.
    fn end(&self, session: SessionId, why: &str) {
        let shared = {
            let mut sessions = lock(&self.sessions);
            if sessions.by_id.get(&session).is_none_or(|entry| entry.detached.is_none()) {
                return;
            }
            sessions.remove(session)
        };
        if let Some(shared) = shared {
            shared.give_up(Error::new(ErrorKind::Closed, format!("session {session}: {why}")));
        }
    }
}

impl Sessions {
    fn remove(&mut self, session: SessionId) -> Option<Arc<Shared>> {
        let entry = self.by_id.remove(&session)?;
        if let Some((place, expiry)) = entry.detached {
            expiry.abort();
            self.detached.remove(&place);
        }
        Some(entry.shared)
    }
}

/// What a server does about a lost link.
struct Server {
    table: Weak<Table>,
    session: SessionId,
}

impl Keeper for Server {
    fn lost(&self, shared: &Arc<Shared>, why: Error, _next: Option<Link>) {
        match self.table.upgrade() {
            Some(table) => table.detach(self.session, shared.inbound().heard),
            None => shared.give_up(why),
        }
    }

    fn crowded(&self) {
        if let Some(table) = self.table.upgrade() {
            table.end_oldest();
        }
    }

    fn dropped(&self) {
        if let Some(table) = self.table.upgrade() {
            let removed = lock(&table.sessions).remove(self.session);
            drop(removed);
        }
    }
}
