//! Packets of MQTT 5.0 in bytes, as `rumqttc` encodes them. Answers are read here: it knows not every reason code that brokers
//! give, and wants properties that may be left out (sections 3.4.2.2.1 and 3.14.2.2.1).

use bytes::{Buf, Bytes, BytesMut};
use haul_core::{Error, ErrorKind, Result, Sent};
use rumqttc::v5::mqttbytes::Error as Malformed;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, PacketType, Publish, check};

use crate::failure::{FAILURE, broken, refused};

/// What a broker sends once it has let us in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Publish(Box<Publish>),
    /// The last answer to the packet of this number, and its reason: PUBACK, PUBCOMP, SUBACK.
    Answer(u16, u8),
    /// PUBREC: half of the answer at QoS 2.
    Received(u16, u8),
    /// PUBREL: it knows that we have a packet of QoS 2.
    Release(u16),
    Pong,
    Disconnect(u8),
}

/// Takes the next packet off `bytes`, once all of it is there. Errors: `TooLarge` above `most` bytes; `Protocol`.
pub(crate) fn next(bytes: &mut BytesMut, most: usize) -> Result<Option<Incoming>> {
    let Some((kind, mut frame)) = frame(bytes, most)? else { return Ok(None) };
    let packet = match kind {
        PacketType::Publish => match Packet::read(&mut frame, None) {
            Ok(Packet::Publish(publish)) => Incoming::Publish(Box::new(publish)),
            Ok(other) => return Err(broken(format_args!("{other:?}"))),
            Err(why) => return Err(broken(why)),
        },
        PacketType::PingResp => Incoming::Pong,
        PacketType::Disconnect => Incoming::Disconnect(body(frame).first().copied().unwrap_or(0)),
        PacketType::PubAck | PacketType::PubComp => {
            let (number, rest) = number(frame)?;
            Incoming::Answer(number, rest.first().copied().unwrap_or(0))
        }
        PacketType::PubRec => {
            let (number, rest) = number(frame)?;
            Incoming::Received(number, rest.first().copied().unwrap_or(0))
        }
        PacketType::PubRel => Incoming::Release(number(frame)?.0),
        PacketType::SubAck => {
            let (number, rest) = number(frame)?;
            // Reasons come last; we ask for one filter at a time.
            Incoming::Answer(number, rest.last().copied().unwrap_or(FAILURE))
        }
        other => return Err(broken(format_args!("{other:?} is not for clients"))),
    };
    Ok(Some(packet))
}

/// Takes the answer to a CONNECT off `bytes`, once all of it is there. Errors: the broker's refusal; `Protocol`.
pub(crate) fn connack(bytes: &mut BytesMut, most: usize) -> Result<Option<ConnAck>> {
    let Some((kind, mut frame)) = frame(bytes, most)? else { return Ok(None) };
    if kind != PacketType::ConnAck {
        return Err(broken(format_args!("it answered a CONNECT with {kind:?}")));
    }
    match body(frame.clone()).get(1) {
        Some(&reason) if reason >= FAILURE => return Err(refused(reason)),
        // A code of MQTT 3.
        Some(&reason) if reason > 0 => return Err(refused(0x84)),
        _ => {}
    }
    match Packet::read(&mut frame, None) {
        Ok(Packet::ConnAck(answer)) => Ok(Some(answer)),
        Ok(other) => Err(broken(format_args!("{other:?}"))),
        Err(why) => Err(broken(why)),
    }
}

fn frame(bytes: &mut BytesMut, most: usize) -> Result<Option<(PacketType, BytesMut)>> {
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    let header = match check(bytes.iter(), Some(most)) {
        Ok(header) => header,
        Err(Malformed::InsufficientBytes(_)) => return Ok(None),
        Err(Malformed::PayloadSizeLimitExceeded { pkt_size, .. }) => {
            let why = format!("the broker sent a packet of {pkt_size} bytes");
            return Err(Error::new(ErrorKind::TooLarge, why).with("max_packet", most).with_sent(Sent::No));
        }
        Err(why) => return Err(broken(why)),
    };
    let kind = header.packet_type().map_err(broken)?;
    Ok(Some((kind, bytes.split_to(header.frame_length()))))
}

/// What stands behind type and length.
fn body(mut frame: BytesMut) -> Bytes {
    let length = frame[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    frame.advance(1 + length);
    frame.freeze()
}

fn number(frame: BytesMut) -> Result<(u16, Bytes)> {
    let mut body = body(frame);
    match body.try_get_u16() {
        Ok(number) => Ok((number, body)),
        Err(_) => Err(broken("an answer without the number of its packet")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::QoS;

    const MOST: usize = 1000;

    fn all(bytes: &[u8]) -> Result<Vec<Incoming>> {
        let mut bytes = BytesMut::from(bytes);
        let mut all = Vec::new();
        while let Some(packet) = next(&mut bytes, MOST)? {
            all.push(packet);
        }
        assert_eq!(bytes.len(), 0, "bytes left");
        Ok(all)
    }

    #[test]
    fn answers_are_read_with_and_without_reasons_and_properties() {
        let bytes = [
            &[0x40, 2, 0, 7][..],
            &[0x40, 3, 0, 7, 0x95],
            &[0x40, 4, 1, 0, 0x10, 0],
            &[0x50, 2, 0, 7],
            &[0x62, 2, 0, 7],
            &[0x70, 3, 0, 7, 0x92],
            &[0x90, 4, 0, 9, 0, 2],
            &[0xd0, 0],
            &[0xe0, 0],
            &[0xe0, 1, 0x8e],
            &[0xe0, 0x82, 0, 0x8b, 0],
        ];
        let expected = [
            Incoming::Answer(7, 0),
            Incoming::Answer(7, 0x95),
            Incoming::Answer(256, 0x10),
            Incoming::Received(7, 0),
            Incoming::Release(7),
            Incoming::Answer(7, 0x92),
            Incoming::Answer(9, 2),
            Incoming::Pong,
            Incoming::Disconnect(0),
            Incoming::Disconnect(0x8e),
            Incoming::Disconnect(0x8b),
        ];
        assert_eq!(all(&bytes.concat()).unwrap(), expected);
    }

    #[test]
    fn a_packet_is_read_when_the_last_of_its_bytes_is_there() {
        let mut publish = Publish::new("a/b", QoS::AtLeastOnce, "hi", None);
        publish.pkid = 3;
        let mut whole = BytesMut::new();
        publish.write(&mut whole).unwrap();
        let mut bytes = BytesMut::new();
        for byte in &whole[..whole.len() - 1] {
            bytes.extend_from_slice(&[*byte]);
            assert_eq!(next(&mut bytes, MOST).unwrap(), None);
        }
        bytes.extend_from_slice(&whole[whole.len() - 1..]);
        assert_eq!(next(&mut bytes, MOST).unwrap(), Some(Incoming::Publish(Box::new(publish))));
    }

    #[test]
    fn what_is_too_large_or_no_mqtt_is_an_error_and_never_a_panic() {
        let kind = |bytes: &[u8]| all(bytes).unwrap_err().kind();
        assert_eq!(kind(&[0x30, 0xe9, 7]), ErrorKind::TooLarge);
        for bytes in [
            &[0x00, 0][..],
            &[0xf0, 0],
            &[0x40, 0],
            &[0x40, 1, 0],
            &[0x10, 0],
            &[0x30, 0],
            &[0x32, 3, 0, 1, b'a'],
            &[0x30, 4, 0, 1, b'a', 0xff],
            &[0x30, 5, 0, 1, b'a', 1, 11],
            &[0x30, 6, 0, 1, b'a', 2, 11, 0xff],
            &[0x40, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(kind(bytes), ErrorKind::Protocol, "{bytes:?}");
        }
    }

    #[test]
    fn a_broker_that_does_not_let_us_in_says_why() {
        let refusal = |bytes: &[u8]| connack(&mut BytesMut::from(bytes), MOST).unwrap_err().kind();
        assert_eq!(refusal(&[0x20, 3, 0, 0x86, 0]), ErrorKind::Unauthorized);
        assert_eq!(refusal(&[0x20, 2, 0, 1]), ErrorKind::Unsupported);
        assert_eq!(refusal(&[0x20, 2, 0, 0]), ErrorKind::Protocol);
        assert_eq!(refusal(&[0xd0, 0]), ErrorKind::Protocol);
        assert_eq!(connack(&mut BytesMut::from(&[0x20, 3, 0][..]), MOST).unwrap(), None);
        let answer = connack(&mut BytesMut::from(&[0x20, 3, 1, 0, 0][..]), MOST).unwrap().unwrap();
        assert!(answer.session_present);
    }
}
