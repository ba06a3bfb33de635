//! The states of a connection, and who may watch them.

use tokio::sync::watch;

use crate::{CloseReason, Error, ErrorKind, Result};

/// Where a connection stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum State {
    /// Not connected: not yet, or closed for this reason.
    Disconnected {
        /// Why it was closed; `None` before it was first connected.
        reason: Option<CloseReason>,
    },
    /// Being connected for the first time.
    Connecting,
    /// Packets flow.
    Connected,
    /// Cut, and being connected again.
    Reconnecting {
        /// Tries since the cut, from 1.
        attempt: u32,
    },
    /// Cut, and not to be connected again.
    Failed {
        /// What cut it.
        why: Error,
    },
}

impl State {
    /// The state as one lower-case word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Disconnected { .. } => "disconnected",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Reconnecting { .. } => "reconnecting",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether the connection is over: closed or failed.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Disconnected { reason: Some(_) } | Self::Failed { .. })
    }

    /// Whether `next` may follow this state.
    pub fn may_become(&self, next: &Self) -> bool {
        use State::*;
        match (self, next) {
            (Disconnected { reason: None }, Connecting | Disconnected { reason: Some(_) }) => true,
            (Connecting, Connected | Failed { .. } | Disconnected { reason: Some(_) }) => true,
            (Connected, Reconnecting { attempt: 1 } | Failed { .. } | Disconnected { reason: Some(_) }) => {
                true
            }
            (Reconnecting { attempt }, Reconnecting { attempt: next }) => *next == attempt + 1,
            (Reconnecting { .. }, Connected | Failed { .. } | Disconnected { reason: Some(_) }) => true,
            _ => false,
        }
    }
}

/// The one state of a connection: set by its link or by core, watched by anyone.
#[derive(Clone, Debug)]
pub struct StateCell(watch::Sender<State>);

impl StateCell {
    /// A cell that starts in `state`.
    pub fn new(state: State) -> Self {
        Self(watch::Sender::new(state))
    }

    /// Moves to `next`. Errors: `Internal` if it may not follow, and nothing changes.
    pub fn set(&self, next: State) -> Result<()> {
        let mut refused = None;
        self.0.send_if_modified(|state| {
            if state.may_become(&next) {
                *state = next;
                true
            } else {
                refused =
                    Some(format!("a connection that is {} cannot become {}", state.name(), next.name()));
                false
            }
        });
        refused.map_or(Ok(()), |why| Err(Error::new(ErrorKind::Internal, why)))
    }

    /// The state now.
    pub fn get(&self) -> State {
        self.0.borrow().clone()
    }

    /// Follows the state.
    pub fn watch(&self) -> StateWatch {
        StateWatch(self.0.subscribe())
    }
}

/// Follows the state of a connection, also beyond its end.
#[derive(Clone, Debug)]
pub struct StateWatch(watch::Receiver<State>);

impl StateWatch {
    /// The state now.
    pub fn get(&self) -> State {
        self.0.borrow().clone()
    }

    /// The next state; `None` when the connection is gone and its last state was seen. States that came and went
    /// between two calls are not seen. Cancel-safe.
    pub async fn changed(&mut self) -> Option<State> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }

    /// Waits until the connection is over, and answers its last state. Cancel-safe.
    pub async fn over(&mut self) -> State {
        // An error means that the connection is gone; its last state is there all the same.
        let _ = self.0.wait_for(State::is_over).await;
        self.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transition_that_skips_is_refused_and_changes_nothing() {
        let cell = StateCell::new(State::Disconnected { reason: None });
        assert!(cell.set(State::Connected).is_err());
        cell.set(State::Connecting).unwrap();
        cell.set(State::Connected).unwrap();
        assert!(cell.set(State::Reconnecting { attempt: 2 }).is_err());
        cell.set(State::Reconnecting { attempt: 1 }).unwrap();
        cell.set(State::Reconnecting { attempt: 2 }).unwrap();
        assert!(cell.set(State::Connecting).is_err());
        assert_eq!(cell.get().name(), "reconnecting");
    }

    #[tokio::test]
    async fn a_watch_outlives_the_connection_and_keeps_its_last_state() {
        let cell = StateCell::new(State::Connected);
        let mut watch = cell.watch();
        cell.set(State::Disconnected { reason: Some(CloseReason::NORMAL) }).unwrap();
        drop(cell);
        assert!(watch.over().await.is_over());
        assert_eq!(watch.changed().await.map(|state| state.name()), None);
    }
}
