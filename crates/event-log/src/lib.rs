#![doc = include_str!("../README.md")]

mod dead;
mod event;
mod filter;
mod log;
mod options;
mod panel;
mod record;
mod sink;
mod status;
mod view;

pub use dead::DeadLetter;
pub use event::{DEFAULT_SESSION, Event, MAX_SESSION, SESSION_ID, session_name, session_of_name};
pub use filter::Filter;
pub use haul_outbox::forward::{DeliveryOptions, Failure, Order, SinkStatus};
pub use log::{Appending, EventLog, Stored};
pub use options::Options;
pub use panel::{DeliveryTimes, LayerStatus, Panel, ReceiverStatus, RouteStatus, Watch};
pub use sink::SinkOptions;
pub use status::{Absent, Status};
pub use view::{DeadLetters, Events, LogView, Query, Recorded, RouteInfo, SessionInfo, Verified};
