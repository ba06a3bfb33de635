//! What protocols over QUIC streams share: a session of many streams, and links over them. Its signatures name quinn's
//! types; they follow quinn's versions, not haul's promise of stability.
//!
//! On the wire every bidirectional stream begins with eight bytes from both ends: `haul.v1\n`. Whoever opens it says so
//! what it is: `haul.v1\n` an ordered stream of `haul.v1` frames with their lengths, `haul.v1d` the same for a channel
//! of datagrams, `haul.v1u` an unordered stream, on which nothing more comes. A datagram is the number of its stream
//! (a variable-length integer, RFC 9000 section 16; 0 is the session's first) and one frame, or the byte 0x80 and several
//! frames, each after its length (`u16`, big-endian). A frame of an unordered stream is a unidirectional stream of its own:
//! the number of its stream, how many frames went before, the frame.

mod bundle;
mod encoder;
pub mod failure;
mod lane;
mod late;
mod link;
mod ordered;
mod path;
mod session;
pub mod tls;
mod transport;
mod unordered;
pub mod varint;

pub use path::Path;
pub use session::{Facts, Session};
pub use transport::{RecvStream, SendStream, Transport};
