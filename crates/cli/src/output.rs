//! What is printed: results on stdout, everything else on stderr; JSON lines, colour and terminals.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use base64::Engine;
use haul::{Kind, Metadata, Packet};
use serde_json::{Value, json};

use crate::args::{Binary, ColorChoice, Global};
use crate::exit::Failure;

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    /// Stdout is a terminal.
    pub(crate) terminal: bool,
    color: bool,
    color_err: bool,
}

/// The colours that are used, by what they mean.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Paint {
    Good,
    Bad,
    Faint,
    Name,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Faint => "2",
            Self::Name => "36",
        }
    }
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let wanted = |terminal: bool| match global.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
        };
        let terminal = io::stdout().is_terminal();
        Self {
            json: global.json,
            quiet: global.quiet,
            terminal,
            color: wanted(terminal) && !global.json,
            color_err: wanted(io::stderr().is_terminal()),
        }
    }

    /// Whether progress may be drawn on stderr.
    pub(crate) fn progress(&self) -> bool {
        !self.quiet && !self.json && io::stderr().is_terminal()
    }

    pub(crate) fn color_err(&self) -> bool {
        self.color_err
    }

    /// Rows of columns on stdout: aligned on a terminal, with tabs between them elsewhere. The first is a name.
    pub(crate) fn table(&self, rows: &[Vec<String>]) -> Result<(), Failure> {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| {
            rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for row in rows {
            let mut line = String::new();
            for (at, cell) in row.iter().enumerate() {
                let name = if at == 0 { self.paint(Paint::Name, cell) } else { cell.clone() };
                line.push_str(&name);
                if at + 1 < row.len() {
                    match self.terminal {
                        true => line.push_str(&" ".repeat(widths[at] - cell.chars().count() + 2)),
                        false => line.push('\t'),
                    }
                }
            }
            self.line(&line)?;
        }
        Ok(())
    }

    /// `text` in colour, for stdout.
    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        painted(self.color, paint, text)
    }

    /// A line on stdout.
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        self.bytes(&[line.as_bytes(), b"\n"].concat())
    }

    /// An object on stdout, on a line of its own.
    pub(crate) fn object(&self, object: &Value) -> Result<(), Failure> {
        self.line(&object.to_string())
    }

    /// Bytes on stdout, at once.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// A remark on stderr, unless quiet or JSON is asked for.
    pub(crate) fn remark(&self, remark: &str) {
        if !self.quiet && !self.json {
            self.tell(&painted(self.color_err, Paint::Faint, &format!("* {}", said(remark))));
        }
    }

    /// Something that went wrong without ending the program, on stderr.
    pub(crate) fn warn(&self, warning: &str) {
        self.tell(&format!("{} {}", painted(self.color_err, Paint::Bad, "warning:"), said(warning)));
    }

    /// Why the program fails: on stderr for people, and on stdout when JSON is asked for.
    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.message.is_empty() {
            return;
        }
        self.tell(&format!("{} {}", painted(self.color_err, Paint::Bad, "error:"), said(&failure.message)));
        if let Some(hint) = &failure.hint {
            self.tell(&format!("{} {hint}", painted(self.color_err, Paint::Name, "try:")));
        }
        if self.json {
            // If nobody reads stdout any more, stderr has said it all.
            let _ = self.object(&json!({
                "event": "error",
                "kind": failure.kind.map(|kind| kind.as_str()),
                "message": failure.message,
                "hint": failure.hint,
                "exit": failure.code as u8,
            }));
        }
    }

    fn tell(&self, line: &str) {
        // A stderr that nobody reads is no reason to stop.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

fn painted(color: bool, paint: Paint, text: &str) -> String {
    match color {
        true => format!("\x1b[{}m{text}\x1b[0m", paint.code()),
        false => text.to_owned(),
    }
}

/// A packet as JSON: `text`, or `base64` where it is not text.
pub(crate) fn packet_json(event: &str, packet: &Packet) -> Value {
    let mut object = json!({ "event": event, "bytes": packet.len() });
    match packet.as_text() {
        Some(text) => object["text"] = text.into(),
        None => object["base64"] = base64::engine::general_purpose::STANDARD.encode(packet.payload()).into(),
    }
    if let Some(id) = packet.id() {
        object["id"] = id.to_string().into();
    }
    if !packet.metadata().is_empty() {
        object["metadata"] =
            packet.metadata().iter().map(|(name, value)| (name, Value::from(value))).collect();
    }
    object
}

/// A payload as it is shown: on a terminal nothing that would move its cursor.
pub(crate) fn shown(packet: &Packet, binary: Option<Binary>, terminal: bool) -> Vec<u8> {
    match (packet.kind(), binary) {
        (Kind::Binary, Some(Binary::Hex)) => hex(packet.payload()).into_bytes(),
        (Kind::Binary, Some(Binary::Base64)) => {
            base64::engine::general_purpose::STANDARD.encode(packet.payload()).into_bytes()
        }
        (Kind::Binary, None) if terminal => match std::str::from_utf8(packet.payload()) {
            Ok(text) => printable(text).into_bytes(),
            Err(_) => format!("[{} bytes] {}", packet.len(), hex(packet.payload())).into_bytes(),
        },
        (Kind::Text, _) if terminal => printable(packet.as_text().unwrap_or_default()).into_bytes(),
        _ => packet.payload().to_vec(),
    }
}

/// Metadata behind a payload: ` a=1 b="two words"`; nothing if there is none.
pub(crate) fn noted(metadata: &Metadata) -> String {
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control());
    let note = |(name, value): (&str, &str)| match plain(name) && plain(value) {
        true => format!(" {name}={value}"),
        false => format!(" {name:?}={value:?}"),
    };
    metadata.iter().map(note).collect()
}

/// What may quote a peer, so that it cannot steer the terminal; lines stay lines.
pub(crate) fn said(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// `text` with control characters, tab excepted, escaped.
fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c.is_control() && c != '\t' {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
        out
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `1.2 ms`, `340 us`, `2.5 s`.
pub(crate) fn time(of: Duration) -> String {
    let seconds = of.as_secs_f64();
    match seconds {
        ..0.001 => format!("{:.0} us", seconds * 1e6),
        ..1.0 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}

/// `1 packet`, `2 packets`.
pub(crate) fn count(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// `text` as one word of a shell.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// `512 B`, `1.5 KiB`, `3.2 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_shown_so_that_names_and_values_can_be_told_apart() {
        let packet = Packet::text("").with("a", "1").with("b", "two words");
        assert_eq!(noted(packet.metadata()), r#" a=1 "b"="two words""#);
        assert_eq!(noted(Packet::text("").metadata()), "");
    }

    #[test]
    fn what_is_to_be_pasted_into_a_shell_is_one_word_there() {
        assert_eq!(quoted("tcp://127.0.0.1:1"), "tcp://127.0.0.1:1");
        assert_eq!(quoted("tcp://h:1?a=b&c"), "'tcp://h:1?a=b&c'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_payload_cannot_steer_the_terminal_but_leaves_a_file_as_it_came() {
        let packet = Packet::text("a\x1b[2Jb\t");
        assert_eq!(shown(&packet, None, true), b"a\\u{1b}[2Jb\t");
        assert_eq!(shown(&packet, None, false), b"a\x1b[2Jb\t");
        assert_eq!(shown(&Packet::binary(&b"\xff\x00"[..]), Some(Binary::Hex), false), b"ff00");
        assert_eq!(shown(&Packet::binary(&b"\xff\x00"[..]), None, true), b"[2 bytes] ff00");
    }
}
