#![doc = include_str!("../README.md")]

mod accept;
mod connection;
mod control;
mod feed;
mod gateway;
mod guard;
mod listen;
mod live;
mod options;
mod receipt;
mod socket;
mod status;
mod tap;
mod web;

pub use control::tap_endpoint;
pub use gateway::{Ended, Gateway, Reloaded};
pub use guard::Guard;
pub use haul_event_log::{DeliveryTimes, LayerStatus, Panel, ReceiverStatus, RouteStatus};
pub use options::{Route, ServeOptions};
pub use receipt::rfc3339;
pub use status::{GatewayStatus, ListenerStatus, ProtocolStatus, RttStatus};
