//! From bytes to lines and blocks: bounds, UTF-8, and all that the parser loses (ids of blocks without data, `retry`,
//! comments).

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use haul_core::{Error, ErrorKind, Result};

use super::{Event, Item, parse};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Fewer bytes at one time are little.
const LITTLE: usize = 4 << 10;

/// The bounds of an event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Bytes of a line, without its end.
    pub(crate) line: usize,
    /// Bytes of the lines of an event that count for it (`event`, `data`).
    pub(crate) event: usize,
}

/// Takes what an event stream says out of its bytes, however they are cut.
#[derive(Debug)]
pub(crate) struct Scanner {
    bounds: Bounds,
    bytes: BytesMut,
    /// Bytes that came since nothing did, and whether that was much at one time.
    came: usize,
    grown: bool,
    /// Bytes of an unfinished line that were searched already.
    searched: usize,
    /// Where `bytes` begins in the stream.
    at: u64,
    /// The last line ended with CR: an LF belongs to it.
    after_cr: bool,
    /// The lines of the block that has begun.
    block: BytesMut,
    has_data: bool,
    /// The id that the block sets when it is whole.
    id: Option<String>,
    last_id: String,
}

impl Scanner {
    /// For a stream that begins; `last_id` is the id that was seen last on the one before.
    pub(crate) fn new(bounds: Bounds, last_id: String) -> Self {
        Self {
            bounds,
            bytes: BytesMut::new(),
            came: 0,
            grown: false,
            searched: 0,
            at: 0,
            after_cr: false,
            block: BytesMut::new(),
            has_data: false,
            id: None,
            last_id,
        }
    }

    /// The last event id: that of the last whole block that set one, empty for none.
    pub(crate) fn last_id(&self) -> &str {
        &self.last_id
    }

    /// What has come.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.came += bytes.len();
        self.grown |= self.came >= LITTLE;
        self.bytes.extend_from_slice(bytes);
    }

    /// Nothing more comes for now. Once little has come since the last time, memory that much took before is given back.
    pub(crate) fn rest(&mut self) {
        let little = std::mem::take(&mut self.came) < LITTLE;
        if little && self.grown && self.bytes.is_empty() && self.block.is_empty() {
            (self.bytes, self.block, self.grown) = (BytesMut::new(), BytesMut::new(), false);
        }
    }

    /// What the stream says next; `None` if more must come. What is not whole when the stream ends was not said.
    ///
    /// Errors: `Codec` with the position of what is not UTF-8; `TooLarge` for a line or an event above its bound, as
    /// soon as that is known.
    pub(crate) fn next(&mut self) -> Result<Option<Item>> {
        while let Some((line, end)) = self.line()? {
            let item = match line {
                0 => self.dispatch(),
                _ => self.field(line)?,
            };
            self.bytes.advance(line + end);
            self.at += (line + end) as u64;
            self.searched = 0;
            if item.is_some() {
                return Ok(item);
            }
        }
        Ok(None)
    }

    /// The length of the next line, and that of its end.
    fn line(&mut self) -> Result<Option<(usize, usize)>> {
        if self.after_cr && !self.bytes.is_empty() {
            self.after_cr = false;
            if self.bytes[0] == b'\n' {
                self.bytes.advance(1);
                self.at += 1;
            }
        }
        if self.at == 0 && self.bytes.len() >= BOM.len() && self.bytes.starts_with(BOM) {
            self.bytes.advance(BOM.len());
            self.at += BOM.len() as u64;
            self.searched = 0;
        }
        let found = memchr::memchr2(b'\n', b'\r', &self.bytes[self.searched..]);
        let len = found.map_or(self.bytes.len(), |at| self.searched + at);
        if len > self.bounds.line {
            return Err(too_large("a line", self.bounds.line));
        }
        if found.is_none() {
            self.searched = len;
            return Ok(None);
        }
        self.after_cr = self.bytes[len] == b'\r';
        Ok(Some((len, 1)))
    }

    fn field(&mut self, len: usize) -> Result<Option<Item>> {
        let line = std::str::from_utf8(&self.bytes[..len]).map_err(|why| {
            let at = self.at + why.valid_up_to() as u64;
            Error::new(ErrorKind::Codec, format!("the event stream is not UTF-8 at byte {at}"))
        })?;
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" => return Ok(Some(Item::Comment)),
            "data" | "event" => {
                if self.block.len() + len + 1 > self.bounds.event {
                    return Err(too_large("an event", self.bounds.event));
                }
                // Most blocks are one line of data, and need no parser; the empty line behind it ends nothing then.
                if name == "data" && self.block.is_empty() && self.bytes[len..].starts_with(b"\n\n") {
                    let data = Bytes::copy_from_slice(value.as_bytes());
                    self.settle_id();
                    return Ok(Some(Item::Event(Event { name: None, data })));
                }
                self.has_data |= name == "data";
                self.block.extend_from_slice(line.as_bytes());
                self.block.extend_from_slice(b"\n");
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Ok(value.parse().ok().map(Duration::from_millis).map(Item::Retry));
            }
            _ => {}
        }
        Ok(None)
    }

    /// The end of a block.
    fn dispatch(&mut self) -> Option<Item> {
        self.settle_id();
        if !std::mem::take(&mut self.has_data) {
            self.block.clear();
            return None;
        }
        self.block.extend_from_slice(b"\n");
        parse::event(self.block.split().freeze()).map(Item::Event)
    }

    /// The id of a block that is whole is the last one.
    fn settle_id(&mut self) {
        if let Some(id) = self.id.take() {
            self.last_id = id;
        }
    }
}

fn too_large(what: &str, bound: usize) -> Error {
    Error::new(ErrorKind::TooLarge, format!("{what} of the event stream is larger than {bound} bytes"))
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
