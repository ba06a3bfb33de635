#![doc = include_str!("../README.md")]

mod client;
mod parse;
mod server;

pub use client::{Client, ClientConfig, Version};
pub use server::{Peer, Server, Upgrade, Upgraded, serve, upgrade};
