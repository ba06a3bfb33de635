//! An event: a packet, the session it belongs to, and where it came from.

use std::time::SystemTime;

use haul_core::{Info, Packet};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The session of events that name none.
pub const DEFAULT_SESSION: &str = "default";

/// The metadata that names a packet's session.
pub const SESSION_ID: &str = "session_id";

/// Longest session id in bytes.
pub const MAX_SESSION: usize = 1024;

/// What may stand in a session's name as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// What is appended to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The session, as its sender named it.
    pub session: String,
    /// The packet. Whether it was sent reliably is not recorded: what is read back is reliable.
    pub packet: Packet,
    /// When it was received, to the microsecond.
    pub received: SystemTime,
    /// The protocol it came over; empty if it came over none.
    pub protocol: String,
    /// The peer's address, as the protocol writes it; empty if there is none.
    pub peer: String,
}

impl Event {
    /// An event of now, in the session that the packet's metadata names in `session_id`, or else in the default one.
    pub fn new(packet: Packet) -> Self {
        let session = packet.metadata().get(SESSION_ID).unwrap_or_default();
        let session = match session {
            "" => DEFAULT_SESSION.to_owned(),
            named => named.to_owned(),
        };
        Self { session, packet, received: SystemTime::now(), protocol: String::new(), peer: String::new() }
    }

    /// The event in another session; an empty one is the default session.
    #[must_use]
    pub fn in_session(mut self, session: impl Into<String>) -> Self {
        self.session = session.into();
        if self.session.is_empty() {
            self.session.push_str(DEFAULT_SESSION);
        }
        self
    }

    /// The event with the connection it came over.
    #[must_use]
    pub fn from_connection(mut self, info: &Info) -> Self {
        info.protocol.clone_into(&mut self.protocol);
        self.peer.clone_from(&info.peer);
        self
    }
}

/// The name of a session for lists and files: letters, digits, `-`, `_` and `.` stand for themselves, everything else
/// and a leading dot is percent-encoded. Different sessions have different names, and no name is a path.
pub fn session_name(session: &str) -> String {
    let name = utf8_percent_encode(session, PLAIN).to_string();
    match name.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => name,
    }
}

/// The session that has this name; `None` if no session has it.
pub fn session_of_name(name: &str) -> Option<String> {
    let session = percent_decode_str(name).decode_utf8().ok()?.into_owned();
    (session_name(&session) == name).then_some(session)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_name_is_never_a_path_and_leads_back_to_its_session() {
        for session in
            ["../../x", "..", ".", ".hidden", "a/b", "a\\b", "a b", "ü", "100%", "\0", "plain-1_2.log"]
        {
            let name = session_name(session);
            assert!(!name.contains(['/', '\\', '\0', ' ']) && !name.starts_with('.'), "{name}");
            assert_eq!(session_of_name(&name).as_deref(), Some(session));
        }
        assert_eq!(session_name("plain-1_2.log"), "plain-1_2.log");
        assert_eq!(session_of_name("../x"), None);
    }

    #[test]
    fn an_event_without_a_session_goes_to_the_default_one() {
        assert_eq!(Event::new(Packet::text("x")).session, "default");
        assert_eq!(Event::new(Packet::text("x").with("session_id", "7")).session, "7");
        assert_eq!(Event::new(Packet::text("x")).in_session("").session, "default");
    }
}
