use std::fmt;

use haul_core::{Error, ErrorKind};

use crate::seq::Seq;

/// A place where a segment does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub segment: String,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// The record that should stand there.
    pub expected: Seq,
    /// The next record that can be read, if the file has one.
    pub next: Option<Seq>,
    /// What is wrong.
    pub what: String,
}

impl Damage {
    pub(crate) fn error(&self, dir: &str) -> Error {
        Error::new(
            ErrorKind::Codec,
            format!(
                "read record {} in {dir}: segment {} is damaged at byte {}: {}: restore the file from a copy, or \
                 have the reader skip the damage",
                self.expected, self.segment, self.offset, self.what
            ),
        )
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at byte {}: record {} expected: {}; ",
            self.segment, self.offset, self.expected, self.what
        )?;
        match self.next {
            Some(next) => write!(f, "reading goes on at record {next}"),
            None => f.write_str("nothing behind it in this file can be read"),
        }
    }
}
