//! What the writer makes of a change of a cursor.

use haul_core::{Error, ErrorKind, Result};

use crate::format::{self, Kind};
use crate::queue::Change;
use crate::seq::Seq;
use crate::writer::Writer;

impl Writer {
    /// Changes a cursor in memory; answers its position and the record to write, if any.
    #[allow(clippy::type_complexity)]
    pub(crate) fn change(&mut self, name: &str, change: Change) -> Result<(Seq, Option<(Kind, Vec<u8>)>)> {
        let current = self.cursors.get(name).copied();
        let missing = || {
            Error::new(
                ErrorKind::NotFound,
                format!("commit cursor {name:?}: there is no such cursor; it was removed"),
            )
        };
        let to = match (change, current) {
            (Change::Make(_), Some(position)) => return Ok((position, None)),
            (Change::Make(at), None) => at.unwrap_or_else(|| self.shared.first()),
            (_, None) => return Err(missing()),
            (Change::Remove, Some(position)) => {
                self.cursors.remove(name);
                self.cursors_changed = true;
                return Ok((position, Some((Kind::Forget, name.as_bytes().to_vec()))));
            }
            (Change::Advance(to), Some(position)) if to <= position => return Ok((position, None)),
            (Change::Advance(to) | Change::Move(to), Some(_)) => to,
        };
        if to > self.next {
            return Err(Error::new(
                ErrorKind::Config,
                format!("commit cursor {name:?} at {to}: the journal ends before record {}", self.next),
            ));
        }
        if current.is_none() && self.cursors.len() >= format::MAX_CURSORS {
            return Err(Error::new(
                ErrorKind::Overloaded,
                format!(
                    "make cursor {name:?}: there are {} cursors, the most a journal has: remove one",
                    format::MAX_CURSORS
                ),
            ));
        }
        self.cursors.insert(name.to_owned(), to);
        self.cursors_changed = true;
        Ok((to, Some((Kind::Cursor, format::encode_cursor(name, to)))))
    }
}
