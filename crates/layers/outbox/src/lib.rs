#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! What may have reached the sink is sent again until the sink has answered: at least once, each packet with an id.
//! Order: per key, as it was stored; layers around the sink behind it (timeout, breaker, batch) bound and gather each
//! delivery, and a retry there is not needed. Cancel: a call that is dropped may have been stored all the same.

pub mod forward;
mod layer;
mod left;
mod letter;
mod metrics;
mod offline;
mod options;
mod outbox;
mod packets;
mod place;
mod readers;
mod record;
mod room;
mod seal;
mod secret;
mod store;
mod view;

pub use layer::{LazyOutbox, OutboxLayer};
pub use left::{KeyInfo, Left};
pub use letter::DeadLetter;
pub use offline::{Offline, Which};
pub use options::{OutboxOptions, WhenFull};
pub use outbox::{Outbox, OutboxStatus};
pub use readers::{DeadLetters, PendingPacket, PendingPackets};
pub use secret::SecretKey;
pub use view::{OutboxView, Verified};
