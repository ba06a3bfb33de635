//! Packets as the events of strangers.

use haul_core::wire::{Frame, WriteBuf};
use haul_core::{Encoder, Error, ErrorKind, Result};

use crate::event::{check, put_field, put_payload};
use crate::words;

/// Before each event in the send buffer: its length, and whether it has an id of its own.
pub(super) const HEAD: usize = 5;

/// `event` and `id` of the metadata become fields, the payload `data`.
pub(crate) struct EventEncoder;

impl Encoder for EventEncoder {
    fn encode(&mut self, frame: &Frame, out: &mut WriteBuf) -> Result<()> {
        let tail = out.tail();
        let start = tail.len();
        tail.extend_from_slice(&[0; HEAD]);
        match put(frame, tail) {
            Ok(Some(has_id)) => {
                let len = tail.len() - start - HEAD;
                let Ok(len) = u32::try_from(len) else {
                    tail.truncate(start);
                    return Err(Error::new(ErrorKind::TooLarge, format!("an event of {len} bytes")));
                };
                tail[start..start + 4].copy_from_slice(&len.to_be_bytes());
                tail[start + 4] = has_id.into();
                Ok(())
            }
            Ok(None) => {
                tail.truncate(start);
                Ok(())
            }
            Err(why) => {
                tail.truncate(start);
                Err(why)
            }
        }
    }
}

/// Appends the fields of `frame` and answers whether an id is among them; `None` if there is nothing to say.
fn put(frame: &Frame, out: &mut Vec<u8>) -> Result<Option<bool>> {
    let packet = match frame {
        Frame::Packet { packet, .. } => packet,
        Frame::Close(reason) => {
            put_field(out, "event", words::CLOSE.as_bytes());
            put_payload(out, format!("{} {}", reason.code, reason.message).replace('\r', " ").as_bytes())?;
            return Ok(Some(false));
        }
        Frame::Finish => return Ok(None),
        _ => return Err(Error::new(ErrorKind::Unsupported, "an event stream has no receipts or pings")),
    };
    let own = packet.id().map(|id| id.to_string());
    let mut id = own.as_deref();
    for (name, value) in packet.metadata().iter() {
        match name {
            "id" => id = Some(value),
            "event" => {
                check("event", value)?;
                put_field(out, "event", value.as_bytes());
            }
            other => {
                let why = format!("an event stream carries no metadata but event and id, and not {other:?}");
                return Err(Error::new(ErrorKind::Unsupported, why));
            }
        }
    }
    if let Some(id) = id {
        check("id", id)?;
        put_field(out, "id", id.as_bytes());
    }
    put_payload(out, packet.payload())?;
    Ok(Some(id.is_some()))
}
