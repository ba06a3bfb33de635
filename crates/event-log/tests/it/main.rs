//! The event log over real and simulated disks.

#![allow(clippy::unwrap_used)]

mod crash;
mod model;
mod sinks;
mod support;
mod views;
