use tokio::sync::watch::Receiver;

/// What a breaker does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// It lets them through.
    Closed,
    /// It refuses them.
    Open,
    /// It lets a few through to see how they do.
    HalfOpen,
}

impl BreakerState {
    /// The state as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Sees the states of a breaker. States that follow one another faster than it is asked may be skipped; the last is
/// not.
#[derive(Clone, Debug)]
pub struct BreakerWatch(Receiver<BreakerState>);

impl BreakerWatch {
    pub(crate) fn new(states: Receiver<BreakerState>) -> Self {
        Self(states)
    }

    /// The state now.
    pub fn get(&self) -> BreakerState {
        *self.0.borrow()
    }

    /// Waits for another state than was seen last; `None` when the breaker is gone. Cancel-safe.
    pub async fn changed(&mut self) -> Option<BreakerState> {
        self.0.changed().await.ok()?;
        Some(*self.0.borrow_and_update())
    }
}
