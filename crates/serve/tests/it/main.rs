//! A gateway over real sockets.

#![allow(clippy::unwrap_used)]

mod address;
mod answers;
mod changes;
mod ends;
mod foreign;
mod panels;
mod relay;
mod sessions;
mod statuses;
mod support;
mod taps;
mod web;
