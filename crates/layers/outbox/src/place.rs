//! How an outbox stands in its journals.

use std::path::Path;

use haul_core::{Error, ErrorKind, Result};
use haul_journal::{Cursor, Journal};

use crate::seal::KeyId;

/// The folder of the packets.
pub(crate) const PACKETS: &str = "packets";

/// The folder of the dead letters.
pub(crate) const DEAD: &str = "dead";

/// The cursor of the packets is called so, and `sink:KEY` where they are sealed: so a wrong key is known at once.
const CURSOR: &str = "sink";

/// The cursor of the dead letters: those before it are settled.
pub(crate) const SETTLED: &str = "settled";

pub(crate) fn cursor_name(key: Option<KeyId>) -> String {
    key.map_or_else(|| CURSOR.to_owned(), |id| format!("{CURSOR}:{id}"))
}

/// Whether this is the name of a cursor of packets, and with which key they are sealed.
pub(crate) fn key_of_cursor(name: &str) -> Option<Option<&str>> {
    let rest = name.strip_prefix(CURSOR)?;
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some(None),
        None => None,
        some => Some(some),
    }
}

/// The cursor of the packets. Another key takes over where the one before has nothing left, or was none.
///
/// Errors: `Config` if packets wait that another key sealed.
pub(crate) async fn cursor(journal: &Journal, dir: &Path, key: Option<KeyId>) -> Result<Cursor> {
    let name = cursor_name(key);
    let of_packets = |name: &str| key_of_cursor(name).is_some();
    let known: Vec<_> = journal.cursors().into_iter().filter(|(name, _)| of_packets(name)).collect();
    let cursor = match known.iter().find(|(known, _)| *known == name).or(known.first()) {
        None => return journal.cursor(name).await,
        Some((known, _)) if *known == name => journal.cursor(name.clone()).await?,
        Some((before, position)) => {
            let sealed = key_of_cursor(before).flatten();
            if let Some(sealed) = sealed.filter(|_| *position < journal.next()) {
                let given = key.map_or("no key is given".to_owned(), |id| format!("the key given is {id}"));
                let message = format!(
                    "open outbox {}: packets wait that are sealed with key {sealed}, and {given}: give that key",
                    dir.display()
                );
                return Err(Error::new(ErrorKind::Config, message));
            }
            journal.cursor_at(name.clone(), *position).await?
        }
    };
    for (other, _) in known.into_iter().filter(|(other, _)| *other != name) {
        journal.cursor(other).await?.remove().await?;
    }
    Ok(cursor)
}
