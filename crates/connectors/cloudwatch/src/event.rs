//! A packet as a log event, and events as requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use haul_core::{Error, ErrorKind, Metadata, Packet, Result, Sent};
use serde::Serialize;

use crate::config::{CloudwatchConfig, Format};

/// Bytes of a request ("PutLogEvents", API reference): of all messages, and so many more for each.
pub(crate) const LIMIT: usize = 1_048_576;
pub(crate) const OVERHEAD: usize = 26;
/// Events of a request.
const EVENTS: usize = 10_000;

const HOUR: i64 = 3_600_000;
/// How far the events of a request may lie apart, and how far from now, in milliseconds.
const SPAN: i64 = 24 * HOUR;
const OLDEST: i64 = 14 * SPAN;
const NEWEST: i64 = 2 * HOUR;

/// An event that is ready to go: which packet of the call it is, and when it happened, in milliseconds since 1970.
pub(crate) struct Event {
    pub(crate) place: usize,
    pub(crate) time: i64,
    pub(crate) message: String,
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: &'a Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl Event {
    /// Errors: `TooLarge`; `Unsupported` for what a payload alone does not carry; `Rejected` for a time that the server would
    /// refuse; what the template of the time says.
    pub(crate) fn new(place: usize, packet: &Packet, config: &CloudwatchConfig, now: i64) -> Result<Self> {
        if packet.len() > config.max_packet {
            return Err(too_large(packet.len(), "a packet", config.max_packet));
        }
        let time = time(packet, config, now)?;
        let message = match config.format {
            Format::Envelope => envelope(packet)?,
            Format::Payload => plain(packet)?,
        };
        match message.len() {
            bytes if bytes > LIMIT - OVERHEAD => Err(too_large(bytes, "an event", LIMIT - OVERHEAD)),
            _ => Ok(Self { place, time, message }),
        }
    }
}

fn refused(kind: ErrorKind, why: impl Into<String>) -> Error {
    Error::new(kind, why.into()).with_sent(Sent::No)
}

fn too_large(bytes: usize, what: &str, most: usize) -> Error {
    refused(ErrorKind::TooLarge, format!("{what} of {bytes} bytes")).with("at most", most)
}

fn envelope(packet: &Packet) -> Result<String> {
    let text = packet.as_text();
    let base64 = text.is_none().then(|| BASE64.encode(packet.payload()));
    let id = packet.id().map(|id| id.to_string());
    let envelope = Envelope { id, metadata: packet.metadata(), payload: text, base64 };
    serde_json::to_string(&envelope).map_err(|why| refused(ErrorKind::Codec, why.to_string()))
}

fn plain(packet: &Packet) -> Result<String> {
    let why = match packet.as_text() {
        None => "bytes are no message",
        Some("") => "an empty payload is no message",
        Some(_) if !packet.metadata().is_empty() => "a message carries no metadata",
        Some(text) => return Ok(text.to_owned()),
    };
    Err(refused(ErrorKind::Unsupported, format!("{why}; as=envelope carries it")))
}

fn time(packet: &Packet, config: &CloudwatchConfig, now: i64) -> Result<i64> {
    let Some(template) = &config.time else { return Ok(now) };
    let text = template.render(packet)?;
    let stamp = || text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
    let time = text.parse().ok().or_else(stamp).ok_or_else(|| {
        refused(ErrorKind::Rejected, format!("the time {text:?} is neither RFC 3339 nor milliseconds"))
    })?;
    match time {
        old if old < now - OLDEST => {
            Err(refused(ErrorKind::Rejected, format!("the time {text} is more than 14 days ago")))
        }
        new if new > now + NEWEST => {
            Err(refused(ErrorKind::Rejected, format!("the time {text} is more than 2 hours ahead")))
        }
        time => Ok(time),
    }
}

/// The events of one stream as requests, each in the order of time, and within a moment as they came.
pub(crate) fn requests(mut events: Vec<Event>) -> Vec<Vec<Event>> {
    events.sort_by_key(|event| event.time);
    let (mut requests, mut bytes): (Vec<Vec<Event>>, usize) = (Vec::new(), 0);
    for event in events {
        let more = event.message.len() + OVERHEAD;
        match requests.last_mut() {
            Some(last)
                if last.len() < EVENTS
                    && bytes + more <= LIMIT
                    && last.first().is_some_and(|first| event.time - first.time <= SPAN) =>
            {
                bytes += more;
                last.push(event);
            }
            _ => {
                bytes = more;
                requests.push(vec![event]);
            }
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use haul_core::{PacketId, Template};

    use super::*;
    use haul_aws::Account;

    const NOW: i64 = 1_800_000_000_000;

    fn config(format: Format) -> CloudwatchConfig {
        CloudwatchConfig { format, ..CloudwatchConfig::new(Account::new("eu-west-1"), "g") }
    }

    fn timed() -> CloudwatchConfig {
        CloudwatchConfig { time: Some(Template::parse("{at}").unwrap()), ..config(Format::Envelope) }
    }

    fn refusal(packet: &Packet, config: &CloudwatchConfig) -> ErrorKind {
        let why = Event::new(0, packet, config, NOW).err().expect("it is refused");
        assert_eq!(why.sent(), Sent::No, "{why}");
        why.kind()
    }

    #[test]
    fn an_envelope_carries_all_and_a_payload_alone_refuses_what_it_cannot() {
        let id = PacketId::from_bytes([7; 16]);
        for (packet, message) in [
            (Packet::text("hi"), r#"{"payload":"hi"}"#.to_owned()),
            (Packet::text(""), r#"{"payload":""}"#.to_owned()),
            (Packet::binary(vec![0, 255]), r#"{"base64":"AP8="}"#.to_owned()),
            (
                Packet::text("hi").with("k", "v").with_id(id),
                format!(r#"{{"id":"{id}","metadata":{{"k":"v"}},"payload":"hi"}}"#),
            ),
        ] {
            assert_eq!(Event::new(0, &packet, &config(Format::Envelope), NOW).unwrap().message, message);
        }
        assert_eq!(Event::new(0, &Packet::text("hi"), &config(Format::Payload), NOW).unwrap().message, "hi");
        for packet in [Packet::text("hi").with("k", "v"), Packet::text(""), Packet::binary(vec![65])] {
            assert_eq!(refusal(&packet, &config(Format::Payload)), ErrorKind::Unsupported, "{packet:?}");
        }
    }

    #[test]
    fn an_event_is_as_large_as_a_request_may_be() {
        let most = "x".repeat(LIMIT - OVERHEAD);
        assert!(Event::new(0, &Packet::text(most.clone()), &config(Format::Payload), NOW).is_ok());
        assert_eq!(refusal(&Packet::text(most.clone() + "x"), &config(Format::Payload)), ErrorKind::TooLarge);
        assert_eq!(refusal(&Packet::text(most), &config(Format::Envelope)), ErrorKind::TooLarge);
    }

    #[test]
    fn the_time_is_read_and_what_the_server_would_refuse_is_refused() {
        let at = |time: String| Packet::text("x").with("at", time);
        for (text, time) in [
            (NOW.to_string(), NOW),
            ("2027-01-15T08:00:00Z".to_owned(), NOW),
            ("2027-01-15T09:00:00.250+01:00".to_owned(), NOW + 250),
            ((NOW - OLDEST).to_string(), NOW - OLDEST),
            ((NOW + NEWEST).to_string(), NOW + NEWEST),
        ] {
            assert_eq!(Event::new(0, &at(text), &timed(), NOW).unwrap().time, time);
        }
        for text in [(NOW - OLDEST - 1).to_string(), (NOW + NEWEST + 1).to_string(), "yesterday".to_owned()] {
            assert_eq!(refusal(&at(text), &timed()), ErrorKind::Rejected);
        }
        assert_eq!(refusal(&Packet::text("x"), &timed()), ErrorKind::Rejected, "it has no time");
    }

    fn shape(events: Vec<Event>) -> Vec<Vec<usize>> {
        requests(events).iter().map(|request| request.iter().map(|event| event.place).collect()).collect()
    }

    fn event(place: usize, time: i64, bytes: usize) -> Event {
        Event { place, time, message: "x".repeat(bytes) }
    }

    #[test]
    fn a_request_has_the_events_bytes_and_span_it_may_have_and_no_fewer_than_fit() {
        let half = LIMIT / 2 - OVERHEAD;
        assert_eq!(shape(vec![event(0, 0, half), event(1, 0, half), event(2, 0, 1)]), [vec![0, 1], vec![2]]);
        assert_eq!(shape(vec![event(0, 0, half), event(1, 0, half + 1)]), [[0], [1]]);
        let many: Vec<_> = (0..EVENTS + 1).map(|place| event(place, 0, 1)).collect();
        assert_eq!(shape(many).iter().map(Vec::len).collect::<Vec<_>>(), [EVENTS, 1]);
        let days =
            vec![event(0, SPAN + 1, 1), event(1, 5, 1), event(2, 0, 1), event(3, SPAN, 1), event(4, 5, 1)];
        assert_eq!(shape(days), [vec![2, 1, 4, 3], vec![0]]);
        assert_eq!(shape(Vec::new()), Vec::<Vec<usize>>::new());
    }
}
