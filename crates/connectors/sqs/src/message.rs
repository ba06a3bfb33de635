//! A packet as a message, and back.

use std::collections::BTreeMap;

use aws_sdk_sqs::types::{Message, MessageAttributeValue, SendMessageBatchRequestEntry};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use haul_core::{Error, ErrorKind, Metadata, Packet, PacketId, Result, Sent};

use crate::config::{MetadataAs, SqsConfig};

/// Attributes of a message ("Amazon SQS message quotas").
const ATTRIBUTES: usize = 10;

/// What stands before the names of haul's own attributes.
const OWN: &str = "haul.";
const ID: &str = "haul.id";
/// The body is bytes in base64: of a `text` or of a `binary` packet.
const BODY: &str = "haul.body";
const METADATA: &str = "haul.metadata";

/// The body of no bytes at all, which the server does not take.
const EMPTY: &str = "=";

/// A message to send.
pub(crate) struct Draft {
    body: String,
    attributes: Vec<(String, String)>,
    group: Option<String>,
    /// Known to a FIFO queue: a message with the same one within five minutes is the same message.
    dedupe: Option<String>,
}

impl Draft {
    /// Errors: `TooLarge`; `Unsupported` for metadata that no attribute carries; what the template of the group says.
    pub(crate) fn new(packet: &Packet, config: &SqsConfig) -> Result<Self> {
        let too_large = |what: String, option, most| {
            Err(Error::new(ErrorKind::TooLarge, what).with(option, most).with_sent(Sent::No))
        };
        if packet.len() > config.max_packet {
            return too_large(format!("a packet of {} bytes", packet.len()), "max_packet", config.max_packet);
        }
        let mut attributes = metadata(packet.metadata(), config.metadata)?;
        attributes.extend(packet.id().map(|id| (ID.to_owned(), id.to_string())));
        let body = match packet.as_text().filter(|text| !text.is_empty() && is_carried(text)) {
            Some(text) => text.to_owned(),
            None => {
                attributes.push((BODY.to_owned(), packet.kind().as_str().to_owned()));
                if packet.is_empty() { EMPTY.to_owned() } else { BASE64.encode(packet.payload()) }
            }
        };
        if attributes.len() > ATTRIBUTES {
            let why = format!(
                "a message has at most {ATTRIBUTES} attributes, and this one would have {}; metadata=json needs one",
                attributes.len()
            );
            return Err(unsupported(why));
        }
        // Without an id each packet is one of its own: equal payloads are not the same message.
        let dedupe = config.fifo().then(|| packet.id().unwrap_or_else(PacketId::random).to_string());
        let draft = Self { body, attributes, group: group(packet, config)?, dedupe };
        match draft.bytes() {
            bytes if bytes > config.max_request => {
                too_large(format!("a message of {bytes} bytes"), "max_request", config.max_request)
            }
            _ => Ok(draft),
        }
    }

    /// As the server counts them: the body, and names, types and values of attributes.
    pub(crate) fn bytes(&self) -> usize {
        let attributes =
            self.attributes.iter().map(|(name, value)| name.len() + "String".len() + value.len());
        self.body.len() + attributes.sum::<usize>()
    }

    /// As a part of a request in which it is the only one with this number.
    pub(crate) fn entry(self, number: usize) -> SendMessageBatchRequestEntry {
        let attribute = |value| {
            let attribute = MessageAttributeValue::builder().data_type("String").string_value(value);
            attribute.build().expect("it has a type")
        };
        let mut entry =
            SendMessageBatchRequestEntry::builder().id(number.to_string()).message_body(self.body);
        for (name, value) in self.attributes {
            entry = entry.message_attributes(name, attribute(value));
        }
        let entry = entry.set_message_group_id(self.group).set_message_deduplication_id(self.dedupe);
        entry.build().expect("it has an id and a body")
    }
}

fn metadata(metadata: &Metadata, carried: MetadataAs) -> Result<Vec<(String, String)>> {
    match carried {
        _ if metadata.is_empty() => Ok(Vec::new()),
        MetadataAs::Attributes => metadata.iter().map(|(name, value)| attribute(name, value)).collect(),
        MetadataAs::Json => {
            let json = serde_json::to_string(metadata);
            let json =
                json.map_err(|why| Error::new(ErrorKind::Codec, why.to_string()).with_sent(Sent::No))?;
            match is_carried(&json) {
                true => Ok(vec![(METADATA.to_owned(), json)]),
                false => Err(unsupported("the metadata has characters that XML 1.0 has not".to_owned())),
            }
        }
    }
}

/// Names and values that the server takes ("Amazon SQS message metadata").
fn attribute(name: &str, value: &str) -> Result<(String, String)> {
    let lower = name.to_ascii_lowercase();
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let dots = name.starts_with('.') || name.ends_with('.') || name.contains("..");
    let theirs = lower.starts_with("aws.") || lower.starts_with("amazon.");
    let why = match name {
        _ if !plain || dots || name.is_empty() || name.len() > 256 || theirs => {
            "no attribute may be called so"
        }
        _ if lower.starts_with(OWN) => "such names are haul's own",
        _ if value.is_empty() => "an attribute cannot be empty",
        _ if !is_carried(value) => "its value has characters that XML 1.0 has not",
        _ => return Ok((name.to_owned(), value.to_owned())),
    };
    Err(unsupported(format!("metadata {name:?}: {why}; metadata=json carries it")))
}

/// Letters, digits and punctuation, as the server takes them.
fn group(packet: &Packet, config: &SqsConfig) -> Result<Option<String>> {
    let Some(template) = &config.group else { return Ok(None) };
    let group = template.render(packet)?.into_owned();
    if !(1..=128).contains(&group.len()) || !group.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why =
            format!("the group {group:?} is not 1 to 128 letters, digits and punctuation marks of ASCII");
        return Err(Error::new(ErrorKind::Rejected, why).with_sent(Sent::No));
    }
    Ok(Some(group))
}

/// Whether a message may have all its characters (XML 1.0, section 2.2).
fn is_carried(text: &str) -> bool {
    text.chars().all(|char| matches!(char, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..))
}

fn unsupported(why: String) -> Error {
    Error::new(ErrorKind::Unsupported, why).with_sent(Sent::No)
}

/// The packet of a message: one of haul's as it was delivered; of any other, its body as text, and its attributes as
/// metadata, sorted by name, binary ones in base64.
pub(crate) fn packet(message: &Message) -> Result<Packet> {
    let failed = |why: String| Error::new(ErrorKind::Codec, format!("read a message: {why}"));
    let mut attributes: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in message.message_attributes().into_iter().flatten() {
        let text = value.string_value().map(str::to_owned);
        let text = text.or_else(|| value.binary_value().map(|bytes| BASE64.encode(bytes)));
        attributes.insert(name, text.unwrap_or_default());
    }
    let body = message.body().unwrap_or_default();
    let bytes = || match body {
        EMPTY => Ok(Vec::new()),
        body => BASE64.decode(body).map_err(|why| failed(format!("its body is no base64: {why}"))),
    };
    let packet = match attributes.remove(BODY).as_deref() {
        None => Packet::text(body),
        Some("binary") => Packet::binary(bytes()?),
        Some("text") => Packet::text_from_utf8(bytes()?)?,
        Some(other) => return Err(failed(format!("{BODY} is {other:?}, not text or binary"))),
    };
    let id = attributes.remove(ID);
    let metadata = match attributes.remove(METADATA) {
        Some(json) => serde_json::from_str(&json).map_err(|why| failed(format!("{METADATA}: {why}")))?,
        None => attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    };
    let packet = packet.with_metadata(metadata);
    match id {
        Some(id) => Ok(packet.with_id(id.parse().map_err(|_| failed(format!("{ID} {id:?} is no UUID")))?)),
        None => Ok(packet),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::primitives::Blob;
    use haul_aws::Account;
    use haul_core::Template;

    use super::*;

    fn config(queue: &str) -> SqsConfig {
        SqsConfig::new(Account::new("eu-west-1"), queue)
    }

    /// As the server gives what was sent.
    fn received(entry: &SendMessageBatchRequestEntry) -> Message {
        let message = Message::builder().body(entry.message_body());
        message.set_message_attributes(entry.message_attributes().cloned()).build()
    }

    fn refusal(packet: &Packet, config: &SqsConfig) -> ErrorKind {
        let why = Draft::new(packet, config).err().expect("it is refused");
        assert_eq!(why.sent(), Sent::No, "{why}");
        why.kind()
    }

    #[test]
    fn a_packet_comes_back_as_it_was_and_text_that_can_be_read_stays_text() {
        let json = SqsConfig { metadata: MetadataAs::Json, ..config("q") };
        for (packet, body) in [
            (Packet::text("hi \u{e4}\u{1f600}\t\r\n").with("a", "1").with("b.c-d_E", "2").identified(), "hi"),
            (Packet::text("=").with("a", "1"), "="),
            (Packet::text(""), "="),
            (Packet::text("nul \0"), "bnVsIAA="),
            (Packet::binary(vec![0, 255, 10]).with("k", "v"), "AP8K"),
            (Packet::binary(Vec::new()), "="),
            (Packet::text("\u{ffff}"), "77+/"),
        ] {
            for config in [&config("q"), &json] {
                let entry = Draft::new(&packet, config).unwrap().entry(0);
                assert!(entry.message_body().starts_with(body), "{packet:?} became {entry:?}");
                assert_eq!(super::packet(&received(&entry)).unwrap(), packet);
            }
        }
    }

    #[test]
    fn what_attributes_cannot_carry_is_refused_and_json_carries_it() {
        let many = |count| (0..count).fold(Packet::text("x"), |packet, n| packet.with(format!("m{n}"), "v"));
        let named = |name: &str, value: &str| Packet::text("x").with(name.to_owned(), value.to_owned());
        assert!(Draft::new(&many(10), &config("q")).is_ok());
        let json = SqsConfig { metadata: MetadataAs::Json, ..config("q") };
        let long = "n".repeat(257);
        let names =
            ["a b", ".a", "a.", "a..b", "AWS.x", "amazon.x", "haul.id", "Haul.x", "\u{e4}", &long, ""];
        for packet in names.iter().map(|name| named(name, "v")).chain([
            named("a", ""),
            named("a", "\0"),
            many(11),
            many(10).identified(),
        ]) {
            assert_eq!(refusal(&packet, &config("q")), ErrorKind::Unsupported, "{packet:?}");
            let entry = Draft::new(&packet, &json).unwrap().entry(0);
            assert_eq!(super::packet(&received(&entry)).unwrap(), packet);
        }
        // JSON escapes all that XML has not but this.
        assert_eq!(refusal(&named("a", "\u{fffe}"), &json), ErrorKind::Unsupported);
    }

    #[test]
    fn a_message_counts_as_the_server_counts() {
        let packet = Packet::text("12345").with("ab", "789");
        assert_eq!(Draft::new(&packet, &config("q")).unwrap().bytes(), 5 + 2 + 6 + 3);
        let small = SqsConfig { max_request: 16, ..config("q") };
        assert!(Draft::new(&packet, &small).is_ok());
        assert_eq!(refusal(&Packet::text("123456").with("ab", "789"), &small), ErrorKind::TooLarge);
    }

    #[test]
    fn a_fifo_queue_knows_a_packet_by_its_id_and_takes_equal_ones_for_two() {
        let fifo = SqsConfig { group: Some(Template::parse("{who}").unwrap()), ..config("q.fifo") };
        let entry = |packet: &Packet| Draft::new(packet, &fifo).unwrap().entry(0);
        let known = Packet::text("x").with("who", "a").identified();
        let id = known.id().map(|id| id.to_string());
        assert_eq!(entry(&known).message_deduplication_id(), id.as_deref());
        assert_eq!(entry(&known).message_group_id(), Some("a"));
        let plain = Packet::text("x").with("who", "a");
        let dedupe = |packet| entry(packet).message_deduplication_id().map(str::to_owned);
        assert!(dedupe(&plain).is_some() && dedupe(&plain) != dedupe(&plain));
        let fifo = SqsConfig { metadata: MetadataAs::Json, ..fifo };
        for group in [String::new(), "a b".to_owned(), "\u{e4}".to_owned(), "g".repeat(129)] {
            assert_eq!(refusal(&Packet::text("x").with("who", group), &fifo), ErrorKind::Rejected);
        }
        assert_eq!(refusal(&Packet::text("x"), &fifo), ErrorKind::Rejected);
        let standard = Draft::new(&known, &config("q")).unwrap().entry(0);
        assert_eq!((standard.message_deduplication_id(), standard.message_group_id()), (None, None));
    }

    #[test]
    fn messages_of_others_are_text_with_their_attributes() {
        let attribute = MessageAttributeValue::builder();
        let number = attribute.clone().data_type("Number").string_value("21.5").build().unwrap();
        let bytes = attribute.data_type("Binary").binary_value(Blob::new([0, 255])).build().unwrap();
        let message = Message::builder().body("hello").message_attributes("t", number);
        let packet = super::packet(&message.message_attributes("b", bytes).build()).unwrap();
        assert_eq!(packet, Packet::text("hello").with("b", "AP8=").with("t", "21.5"));
    }

    #[test]
    fn a_message_that_is_not_what_it_says_cannot_be_read() {
        for (name, value) in
            [(BODY, "binary"), (BODY, "picture"), (ID, "seven"), (METADATA, "[]"), (METADATA, "{")]
        {
            let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
            let message = Message::builder().body("!").message_attributes(name, value.unwrap()).build();
            assert_eq!(super::packet(&message).unwrap_err().kind(), ErrorKind::Codec, "{name}");
        }
    }
}
