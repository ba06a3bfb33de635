//! The token of now, and the one refresh that all wait for.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use haul_core::{BoxFuture, Result, Sent};

use crate::Token;

type Refresh = BoxFuture<'static, Result<Arc<Token>>>;
type Fetch = Box<dyn Fn() -> BoxFuture<'static, Result<Token>> + Send + Sync>;

/// Where tokens come from.
pub(crate) struct Credentials {
    fetch: Option<Fetch>,
    /// How long before its end a token is renewed.
    early: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    /// Lives as long as somebody waits for it.
    refresh: Option<WeakShared<Refresh>>,
}

impl Credentials {
    /// A token that is never renewed.
    pub(crate) fn fixed(token: Token) -> Self {
        let state = State { token: Some(Arc::new(token)), refresh: None };
        Self { fetch: None, early: Duration::ZERO, state: Arc::new(Mutex::new(state)) }
    }

    /// Tokens that `fetch` brings, each renewed `early`.
    pub(crate) fn fetched(
        early: Duration,
        fetch: impl Fn() -> BoxFuture<'static, Result<Token>> + Send + Sync + 'static,
    ) -> Self {
        Self { fetch: Some(Box::new(fetch)), early, state: Arc::default() }
    }

    pub(crate) fn is_renewable(&self) -> bool {
        self.fetch.is_some()
    }

    /// A token that holds. Errors: those of its fetch, told to all who wait for it, with nothing sent.
    pub(crate) async fn token(&self) -> Result<Arc<Token>> {
        let (refresh, before) = {
            let mut state = lock(&self.state);
            let before = state.token.clone();
            match (&before, &self.fetch) {
                (Some(token), None) => return Ok(token.clone()),
                (Some(token), _) if token.holds(self.early) => return Ok(token.clone()),
                _ => {}
            }
            (self.refresh(&mut state), before)
        };
        match (refresh.await, before) {
            // It still holds: it is only that it could not be renewed ahead of time.
            (Err(_), Some(before)) if before.holds(Duration::ZERO) => Ok(before),
            (answer, _) => answer,
        }
    }

    /// Another token than `refused`, which the server did not accept.
    pub(crate) async fn renewed(&self, refused: &Arc<Token>) -> Result<Arc<Token>> {
        {
            let mut state = lock(&self.state);
            if state.token.as_ref().is_some_and(|token| Arc::ptr_eq(token, refused)) {
                state.token = None;
            }
        }
        self.token().await
    }

    /// The refresh under way, or a new one. Whoever waits drives it, so that it outlives the one who began it.
    fn refresh(&self, state: &mut State) -> Shared<Refresh> {
        if let Some(refresh) = state.refresh.as_ref().and_then(WeakShared::upgrade) {
            return refresh;
        }
        let fetching = self.fetch.as_ref().map(|fetch| fetch());
        let shared = self.state.clone();
        let refresh: Refresh = Box::pin(async move {
            let fetched = match fetching {
                Some(fetching) => fetching.await,
                None => unreachable!("a token that is never renewed is there"),
            };
            let fetched = fetched.map(Arc::new).map_err(|why| why.with_sent(Sent::No));
            let mut state = lock(&shared);
            state.refresh = None;
            if let Ok(token) = &fetched {
                state.token = Some(token.clone());
            }
            fetched
        });
        let refresh = refresh.shared();
        state.refresh = refresh.downgrade();
        refresh
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let renewable = self.is_renewable();
        f.debug_struct("Credentials")
            .field("renewable", &renewable)
            .field("early", &self.early)
            .finish_non_exhaustive()
    }
}
