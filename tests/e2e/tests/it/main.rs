//! The haul program as a gateway, from outside.

#![allow(clippy::unwrap_used, reason = "a test that cannot run its program has failed")]

mod adaptive;
mod bad;
mod browser;
mod browser_gateway;
mod browser_links;
mod browser_module;
mod corpus;
mod disk;
mod foreign;
mod guides;
mod heartbeat;
mod kills;
mod operation;
mod program;
mod reconnect;
mod reload;
mod routes;
mod scale_out;
mod session;
mod settings;
mod web;
