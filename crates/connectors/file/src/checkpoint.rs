//! How far a source's packets were acknowledged, on disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use haul_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::active::{failure, sync_directory};
use crate::siblings::Identity;

/// A place in a file: which file, recognised by what it is and how it begins, and how many bytes of it are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Position {
    pub(crate) file: Identity,
    pub(crate) offset: u64,
    /// How many of the first bytes are hashed, and their hash: an inode's number is given again.
    pub(crate) head_len: u64,
    pub(crate) head_hash: u64,
}

/// Bytes of a file's beginning that tell it from others.
pub(crate) const HEAD: usize = 256;

/// FNV-1a, 64 bits: it must be the same in every version of haul.
pub(crate) fn hash(head: &[u8]) -> u64 {
    head.iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Reads a checkpoint; `None` if there is none yet. Errors: `Codec` if it is not one, rather than beginning anew.
pub(crate) fn load(path: &Path) -> Result<Option<Position>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(failure("read checkpoint", path, why)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|why| {
        let text = format!("read checkpoint {}: {why}; remove it to begin anew", path.display());
        Error::new(ErrorKind::Codec, text)
    })
}

/// Writes a checkpoint: whole or not at all, and on disk before it answers.
pub(crate) fn save(path: &Path, position: &Position) -> Result<()> {
    let bytes = serde_json::to_vec(position).expect("numbers are JSON");
    let written = write(&unique(path), path, &bytes);
    written.map_err(|why| failure("write checkpoint", path, why))
}

fn write(temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(temporary)?;
    let done =
        file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(temporary, path));
    if let Err(why) = done {
        // The first failure is the one to tell.
        let _ = fs::remove_file(temporary);
        return Err(why);
    }
    sync_directory(path)
}

fn unique(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    name.into()
}
