use std::sync::OnceLock;

use haul_core::ErrorKind;
use metrics::{Counter, Histogram, SharedString, counter, histogram};

/// How one call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Failed(ErrorKind),
    /// The caller dropped it.
    Cancelled,
}

/// The handles of one service, found again by role without a lookup of labels.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    here: OnceLock<Role>,
    next: OnceLock<Box<Handles>>,
}

/// The handles of one role of one service: each is asked of the recorder once.
#[derive(Debug)]
pub(crate) struct Role {
    service: SharedString,
    role: &'static str,
    seconds: Histogram,
    ok: OnceLock<Counter>,
    cancelled: OnceLock<Counter>,
    failed: [OnceLock<Counter>; ErrorKind::ALL.len()],
}

impl Handles {
    pub(crate) fn of(&self, service: &SharedString, role: &'static str) -> &Role {
        let mut handles = self;
        loop {
            let here = handles.here.get_or_init(|| Role::new(service.clone(), role));
            if here.role == role {
                return here;
            }
            handles = handles.next.get_or_init(Box::default);
        }
    }
}

impl Role {
    fn new(service: SharedString, role: &'static str) -> Self {
        Self {
            seconds: histogram!("haul_call_seconds", "service" => service.clone(), "role" => role),
            service,
            role,
            ok: OnceLock::new(),
            cancelled: OnceLock::new(),
            failed: Default::default(),
        }
    }

    pub(crate) fn count(&self, outcome: Outcome, seconds: f64) {
        let (cell, name) = match outcome {
            Outcome::Ok => (Some(&self.ok), "ok"),
            Outcome::Cancelled => (Some(&self.cancelled), "cancelled"),
            Outcome::Failed(kind) => {
                let at = ErrorKind::ALL.iter().position(|known| *known == kind);
                (at.and_then(|at| self.failed.get(at)), kind.as_str())
            }
        };
        match cell {
            Some(cell) => cell.get_or_init(|| self.counter(name)).increment(1),
            None => self.counter(name).increment(1),
        }
        self.seconds.record(seconds);
    }

    fn counter(&self, outcome: &'static str) -> Counter {
        let service = self.service.clone();
        counter!("haul_calls_total", "service" => service, "role" => self.role, "outcome" => outcome)
    }
}
