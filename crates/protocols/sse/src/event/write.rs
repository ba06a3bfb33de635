//! Writing events.

use haul_core::{Error, ErrorKind, Result};

/// Appends `name: value`. The value has no line end.
pub(crate) fn put_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Appends `data` with a field for each line.
///
/// Errors: `Codec` for what would not arrive as it is: bytes that are no UTF-8, and carriage returns, which end lines as
/// line feeds do.
pub(crate) fn put_payload(out: &mut Vec<u8>, payload: &[u8]) -> Result<()> {
    std::str::from_utf8(payload).map_err(|why| {
        let why = format!("an event is text, and byte {} of the payload is not UTF-8", why.valid_up_to());
        Error::new(ErrorKind::Codec, why)
    })?;
    if let Some(at) = memchr::memchr(b'\r', payload) {
        let why = format!("a carriage return cannot stand in an event: byte {at} of the payload");
        return Err(Error::new(ErrorKind::Codec, why));
    }
    payload.split(|byte| *byte == b'\n').for_each(|line| put_field(out, "data", line));
    Ok(())
}

/// Errors: `Codec` for a name or an id that has a line end or NUL, which no field can carry.
pub(crate) fn check(what: &str, value: &str) -> Result<()> {
    if value.contains(['\r', '\n', '\0']) {
        let why = format!("{what} {value:?} cannot stand in an event: it has a line end or NUL");
        return Err(Error::new(ErrorKind::Codec, why));
    }
    Ok(())
}
