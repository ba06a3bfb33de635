//! The client's side of an event stream.

mod events;
mod open;
mod read;
mod upload;

pub(crate) use events::Events;
pub(crate) use open::{Request, open};
pub(crate) use read::{EventRead, HaulRead, NoWay, NoWrite};
pub(crate) use upload::{Upload, take};
