//! The outbox over real and simulated disks.

#![allow(clippy::unwrap_used)]

mod backlog;
mod bounds;
mod conformance;
mod dead;
mod delivery;
mod faults;
mod history;
mod sealed;
mod support;
