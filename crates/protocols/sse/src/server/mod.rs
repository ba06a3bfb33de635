//! The server's side of event streams: sessions, and the requests that reach them.

mod body;
mod door;
mod encode;
mod posts;
mod session;
mod table;
mod written;

pub(crate) use door::{Asked, Door, Opening};
pub(crate) use encode::EventEncoder;
pub(crate) use posts::Posts;
pub(crate) use session::{Ending, IDENTITY, Session};
pub(crate) use table::Table;
pub(crate) use written::Written;
