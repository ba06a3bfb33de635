use std::time::Duration;

use haul_core::{Error, ErrorKind, Result, Status, duration_text};
use serde::{Deserialize, Serialize};

/// When to move on, and when to come back.
///
/// In TOML: `probe = "10s"`, `on = ["connect", "timeout"]`; both may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FallbackOptions {
    /// How long a service that failed is passed over; then one call tries it. Longer if it asked for longer; more than
    /// zero. Default 10 s.
    #[serde(with = "duration_text")]
    pub probe: Duration,
    /// The kinds of errors to move on for. Default all, if they are not permanent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<ErrorKind>>,
}

impl Default for FallbackOptions {
    fn default() -> Self {
        Self { probe: Duration::from_secs(10), on: None }
    }
}

impl FallbackOptions {
    pub(crate) fn check(self) -> Result<Self> {
        let wrong = |what| Err(Error::new(ErrorKind::Config, format!("fallback: {what}")));
        if self.probe.is_zero() {
            return wrong("probe must be more than zero");
        }
        if self.on.as_ref().is_some_and(Vec::is_empty) {
            return wrong(
                "on names no kind of error, so that nothing would ever move on; leave it out for all",
            );
        }
        Ok(self)
    }

    /// Whether another service may do what failed with `why`.
    pub(crate) fn moves_on(&self, why: &Error) -> bool {
        let named = self.on.as_ref().is_none_or(|kinds| kinds.contains(&why.kind()));
        why.status() != Status::Permanent && named
    }
}
