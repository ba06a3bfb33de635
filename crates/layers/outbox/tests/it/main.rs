//! The outbox over real and simulated disks.

#![allow(clippy::unwrap_used)]

mod backlog;
mod bounds;
mod conformance;
mod crash;
mod dead;
mod delivery;
mod model;
mod sealed;
mod support;
