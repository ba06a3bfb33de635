//! A packet as a publishing with properties, and back.

use std::fmt::Write;

use bytes::Bytes;
use haul_core::{Error, ErrorKind, Kind, Metadata, Packet, Result, Sent};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};

use crate::config::{MqttConfig, Qos, seconds};

/// The user property of the id.
const ID: &str = "haul-id";

/// The metadata that is a property of its own.
const CONTENT_TYPE: &str = "content_type";

/// What a payload is (section 3.3.2.3.2).
const BINARY: u8 = 0;
const TEXT: u8 = 1;

/// The largest text (section 1.5.4).
const LONGEST: usize = 65_535;

/// Payloads up to this size are copied out of what was read, which they would keep.
const COPIED: usize = 4096;

/// Errors: `TooLarge`; `Unsupported` for metadata that would not arrive as it is; `Rejected` for a packet without what the topic
/// needs, or whose topic is none to publish to.
pub(crate) fn publish(packet: &Packet, config: &MqttConfig) -> Result<Publish> {
    if packet.len() > config.max_packet {
        let error = Error::new(ErrorKind::TooLarge, format!("a packet of {} bytes", packet.len()));
        return Err(error.with("max_packet", config.max_packet).with_sent(Sent::No));
    }
    let topic = config.topic.render(packet)?;
    check_topic(&topic, config.topic.as_str())?;
    let mut properties = properties(packet)?;
    properties.message_expiry_interval = config.expiry.and_then(seconds);
    let payload = packet.payload().clone();
    let publish = Publish::new(topic, qos(config.qos), payload, Some(properties));
    Ok(Publish { retain: config.retain, ..publish })
}

pub(crate) fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

/// The metadata as user properties, `haul-id` for the id, and the payload format for the kind.
fn properties(packet: &Packet) -> Result<PublishProperties> {
    let mut properties = PublishProperties {
        payload_format_indicator: Some(if packet.kind() == Kind::Text { TEXT } else { BINARY }),
        user_properties: Vec::with_capacity(packet.metadata().len() + 1),
        ..PublishProperties::default()
    };
    for (name, value) in packet.metadata().iter() {
        if name == ID || !is_carried(name) || !is_carried(value) {
            let why = match name {
                ID => "that name is taken",
                _ => "it is longer than 65535 bytes, or has control characters, for which brokers hang up",
            };
            let message = format!("metadata {name:?} cannot be a user property: {why}");
            return Err(Error::new(ErrorKind::Unsupported, message).with_sent(Sent::No));
        }
        match name {
            CONTENT_TYPE => properties.content_type = Some(value.to_owned()),
            _ => properties.user_properties.push((name.to_owned(), value.to_owned())),
        }
    }
    properties.user_properties.extend(packet.id().map(|id| (ID.to_owned(), id.to_string())));
    Ok(properties)
}

/// Whether brokers take it as a text: some end the connection for what none should send (section 1.5.4).
fn is_carried(text: &str) -> bool {
    let non_character =
        |letter: char| matches!(letter, '\u{fdd0}'..='\u{fdef}') || u32::from(letter) & 0xfffe == 0xfffe;
    text.len() <= LONGEST && !text.contains(|letter: char| letter.is_control() || non_character(letter))
}

/// The packet of a publishing; `topic_as` takes its topic. Where its sender did not say whether it is text, what is UTF-8 is.
pub(crate) fn packet(publish: Publish, topic_as: Option<&str>) -> Packet {
    let Publish { topic, payload, properties, .. } = publish;
    let properties = properties.unwrap_or_default();
    let payload = if payload.len() > COPIED { payload } else { Bytes::copy_from_slice(&payload) };
    let text = match properties.payload_format_indicator {
        Some(BINARY) => None,
        _ => Packet::text_from_utf8(payload.clone()).ok(),
    };
    let (mut metadata, mut id) = (Metadata::new(), None);
    for (name, value) in properties.user_properties {
        if let (ID, Ok(known)) = (name.as_str(), value.parse()) {
            id = Some(known);
            continue;
        }
        let value = match metadata.get(&name) {
            Some(before) => format!("{before}, {value}"),
            None => value,
        };
        metadata.set(name, value);
    }
    let correlation = properties.correlation_data.map(|bytes| hex(&bytes));
    let others = [
        (CONTENT_TYPE, properties.content_type),
        ("response_topic", properties.response_topic),
        ("correlation_data", correlation),
    ];
    for (name, value) in others {
        if let Some(value) = value
            && metadata.get(name).is_none()
        {
            metadata.set(name, value);
        }
    }
    if let Some(name) = topic_as {
        metadata.set(name.to_owned(), String::from_utf8_lossy(&topic).into_owned());
    }
    let packet = text.unwrap_or_else(|| Packet::binary(payload)).with_metadata(metadata);
    match id {
        Some(id) => packet.with_id(id),
        None => packet,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The topic as it may be published to (section 4.7).
fn check_topic(topic: &str, template: &str) -> Result<()> {
    let refused = |why: &str| {
        let why = format!("{topic:?} is no topic to publish to: {why}");
        Err(Error::new(ErrorKind::Rejected, why).with_sent(Sent::No))
    };
    if topic.is_empty() || !is_carried(topic) {
        return refused("it is empty, longer than 65535 bytes, or has control characters");
    }
    if topic.contains(['+', '#']) {
        return refused("it has a wildcard");
    }
    if topic.starts_with('$') && !template.starts_with('$') {
        return refused("it is the broker's own");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use haul_core::PacketId;

    fn there_and_back(packet: &Packet) -> Packet {
        let properties = properties(packet).unwrap();
        let publish = Publish::new("t", QoS::AtLeastOnce, packet.payload().clone(), Some(properties));
        super::packet(publish, None)
    }

    #[test]
    fn a_packet_comes_back_as_it_was() {
        let packet =
            Packet::text("hi").with("b", "1").with("a", " \u{e4} ").with("", "").with("content_type", "x/y");
        for packet in [
            packet.clone(),
            packet.with_id(PacketId::from_bytes([7; 16])),
            Packet::binary("could be text"),
            Packet::binary(vec![0, 255]),
            Packet::text("x".repeat(COPIED + 1)),
            Packet::text("a\r\nb\0"),
        ] {
            assert_eq!(there_and_back(&packet), packet);
        }
    }

    #[test]
    fn metadata_for_which_brokers_hang_up_is_refused() {
        let long = "x".repeat(LONGEST + 1);
        for (name, value) in [
            (ID, "7"),
            ("a", "\0"),
            ("a", "x\ny"),
            ("\u{7f}", "a"),
            ("a", "\u{9f}"),
            ("a", "\u{ffff}"),
            ("a", "\u{1fffe}"),
            ("a", "\u{fdd0}"),
            ("a", long.as_str()),
            ("content_type", "\t"),
        ] {
            let packet = Packet::text("").with(name.to_owned(), value.to_owned());
            let why = properties(&packet).unwrap_err();
            assert_eq!((why.kind(), why.sent()), (ErrorKind::Unsupported, Sent::No), "{name:?}: {value:?}");
        }
    }

    #[test]
    fn the_properties_of_others_become_metadata() {
        let user = [("a", "1"), ("a", "2"), ("haul-id", "no id")];
        let properties = PublishProperties {
            user_properties: user.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            content_type: Some("x/y".to_owned()),
            response_topic: Some("back".to_owned()),
            correlation_data: Some(Bytes::from_static(&[0, 255])),
            ..PublishProperties::default()
        };
        let publish = Publish::new("a/b", QoS::AtMostOnce, vec![0xff], Some(properties));
        let expected = Packet::binary(vec![0xff])
            .with("a", "1, 2")
            .with("haul-id", "no id")
            .with("content_type", "x/y")
            .with("response_topic", "back")
            .with("correlation_data", "00ff")
            .with("topic", "a/b");
        assert_eq!(packet(publish, Some("topic")), expected);
    }

    #[test]
    fn topics_are_plain_and_not_the_brokers() {
        for topic in ["", "a/+", "#", "a\0", "a\nb", "$SYS/x"] {
            let why = check_topic(topic, "{to}").unwrap_err();
            assert_eq!((why.kind(), why.sent()), (ErrorKind::Rejected, Sent::No), "{topic}");
        }
        for (topic, template) in [("a/b c", "{to}"), ("/", "{to}"), ("$own/x", "$own/{to}")] {
            check_topic(topic, template).unwrap();
        }
    }
}
