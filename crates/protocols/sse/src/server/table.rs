//! The sessions of a listener, by token.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Session;

/// How many sessions that are over are remembered, so that their clients are told not to come back.
const REMEMBERED: usize = 4096;

#[derive(Default)]
pub(crate) struct Table(Mutex<Sessions>);

#[derive(Default)]
struct Sessions {
    by_token: HashMap<String, Arc<Session>>,
    over: VecDeque<String>,
}

/// What is known of a token.
pub(super) enum Known {
    Session(Arc<Session>),
    /// It was one, not long ago.
    Over,
    Unknown,
}

impl Table {
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, session: Arc<Session>) {
        self.sessions().by_token.insert(session.token().to_owned(), session);
    }

    pub(super) fn find(&self, token: &str) -> Known {
        let sessions = self.sessions();
        match sessions.by_token.get(token) {
            Some(session) => Known::Session(session.clone()),
            None if sessions.over.iter().any(|over| over == token) => Known::Over,
            None => Known::Unknown,
        }
    }

    pub(super) fn remove(&self, token: &str) {
        let mut sessions = self.sessions();
        if sessions.by_token.remove(token).is_some() {
            if sessions.over.len() == REMEMBERED {
                sessions.over.pop_front();
            }
            sessions.over.push_back(token.to_owned());
        }
    }
}
