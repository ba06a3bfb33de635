//! Reading the head of an HTTP message: bounded, and nothing after it is lost.

use bytes::{Bytes, BytesMut};
use haul_core::{Error, ErrorKind, Result};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Largest head in bytes.
pub(crate) const MAX_HEAD: usize = 16 << 10;

/// Most headers in a head.
pub(crate) const MAX_HEADERS: usize = 100;

/// Reads up to the empty line. Answers the head and what was read after it.
///
/// What may not begin like `bytes` is refused at once: [`a_request`], [`a_response`].
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    may_begin: fn(&[u8]) -> bool,
) -> Result<(Bytes, BytesMut)> {
    let mut bytes = BytesMut::with_capacity(1024);
    loop {
        let searched = bytes.len().saturating_sub(3);
        if stream.read_buf(&mut bytes).await? == 0 {
            let read = bytes.len();
            return Err(Error::new(
                ErrorKind::Closed,
                format!("the peer closed {read} bytes into its handshake"),
            ));
        }
        if let Some(at) = memmem::find(&bytes[searched..], b"\r\n\r\n") {
            let head = bytes.split_to(searched + at + 4).freeze();
            return Ok((head, bytes));
        }
        if bytes.len() > MAX_HEAD {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("a handshake of more than {MAX_HEAD} bytes"),
            ));
        }
        if !may_begin(&bytes) {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).into_owned();
            return Err(Error::new(
                ErrorKind::Protocol,
                format!("the peer does not speak HTTP: it began with {shown:?}"),
            ));
        }
    }
}

/// A request begins with its method; a TLS greeting, say, does not.
pub(crate) fn a_request(bytes: &[u8]) -> bool {
    bytes[0].is_ascii_uppercase()
}

/// A response begins with its version.
pub(crate) fn a_response(bytes: &[u8]) -> bool {
    bytes.iter().zip(b"HTTP/").all(|(byte, wanted)| byte == wanted)
}

/// The value of a header, if it is text.
pub(crate) fn text<'h>(headers: &'h [httparse::Header<'_>], name: &str) -> Option<&'h str> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok()
}

/// Whether a comma-separated header has `token`, whatever its case.
pub(crate) fn has_token(headers: &[httparse::Header<'_>], name: &str, token: &str) -> bool {
    let headers = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    let mut values = headers.filter_map(|header| std::str::from_utf8(header.value).ok());
    values.any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
}
