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
mod panel;
mod receipt;
mod socket;
mod status;
mod tap;
mod web;

pub use control::tap_endpoint;
pub use gateway::{Ended, Gateway, Reloaded};
pub use guard::Guard;
pub use options::{Route, ServeOptions};
pub use panel::Panel;
pub use receipt::rfc3339;
pub use status::{
    DeliveryTimes, GatewayStatus, LayerStatus, ListenerStatus, ProtocolStatus, ReceiverStatus, RouteStatus,
    RttStatus,
};
