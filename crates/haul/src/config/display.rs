//! How a layer is shown to people.

use std::fmt;

use super::Layer;

/// Its `type`, and what a configuration adds to its options.
impl fmt::Display for Layer {
    #[allow(unused_variables, reason = "there may be no layer")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "balance")]
            Self::Balance(balance) if balance.is_weighted() => {
                write!(f, "balance {}", balance.shown_weights())
            }
            #[cfg(feature = "balance")]
            Self::Balance(_) => f.write_str("balance"),
            #[cfg(feature = "batch")]
            Self::Batch(_) => f.write_str("batch"),
            #[cfg(feature = "breaker")]
            Self::Breaker(_) => f.write_str("breaker"),
            #[cfg(feature = "dedupe")]
            Self::Dedupe(_) => f.write_str("dedupe"),
            #[cfg(feature = "fallback")]
            Self::Fallback(_) => f.write_str("fallback"),
            #[cfg(feature = "fanout")]
            Self::Fanout(_) => f.write_str("fanout"),
            #[cfg(feature = "limit")]
            Self::Limit(_) => f.write_str("limit"),
            #[cfg(feature = "outbox")]
            Self::Outbox(_) => f.write_str("outbox"),
            #[cfg(feature = "queue")]
            Self::Queue(queue) if !queue.rules.is_empty() => f.write_str("queue by rules"),
            #[cfg(feature = "queue")]
            Self::Queue(_) => f.write_str("queue"),
            #[cfg(feature = "retry")]
            Self::Retry(_) => f.write_str("retry"),
            #[cfg(feature = "timeout")]
            Self::Timeout(_) => f.write_str("timeout"),
            #[cfg(feature = "trace")]
            Self::Trace(_) => f.write_str("trace"),
            #[allow(unreachable_patterns, reason = "without a layer compiled in there is nothing to match")]
            _ => Ok(()),
        }
    }
}
