//! A gateway over real sockets.

#![allow(clippy::unwrap_used)]

mod answers;
mod changes;
mod support;
mod taps;
mod web;
