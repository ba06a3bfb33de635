//! The file that is being written.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use haul_core::{Error, ErrorKind, Result, Sent, Status};

use crate::siblings::{Identity, directory};
use crate::{FileConfig, Format};

/// What is done to an open file; tests put one that fails in between.
pub(crate) trait Output: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
}

impl Output for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

pub(crate) struct Active {
    pub(crate) output: Box<dyn Output>,
    /// Kept for its metadata, and for the lock that says that nobody else writes.
    file: File,
    pub(crate) identity: Identity,
    pub(crate) len: u64,
    /// Which period of rotation its last record belongs to.
    pub(crate) period: Option<u64>,
    /// Where the file must be cut before the next write: a write failed, and so did the cut.
    pub(crate) cut: Option<u64>,
    pub(crate) dirty: bool,
}

/// Which period `time` falls into.
pub(crate) fn period(rotate: Option<Duration>, time: SystemTime) -> Option<u64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Some(since.as_secs() / rotate?.as_secs())
}

impl Active {
    /// Opens or makes the file, locks it, and mends its end. Answers whether it was made.
    pub(crate) fn open(
        config: &FileConfig,
        wrap: impl FnOnce(File) -> Box<dyn Output>,
    ) -> Result<(Self, bool)> {
        let path = &config.path;
        let failed = |why: io::Error| failure("open", path, why);
        if config.create_dirs {
            fs::create_dir_all(directory(path)).map_err(failed)?;
        }
        let known = crate::siblings::metadata(path).map_err(failed)?;
        if known.as_ref().is_some_and(|known| !known.is_file()) {
            let text = format!("open {}: it is not a regular file", path.display());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("open {}: another sink is writing to it", path.display());
                return Err(Error::new(ErrorKind::Io, text).with_sent(Sent::No));
            }
            Err(TryLockError::Error(why)) => return Err(failure("lock", path, why)),
        }
        let metadata = file.metadata().map_err(failed)?;
        let last =
            if metadata.len() == 0 { SystemTime::now() } else { metadata.modified().map_err(failed)? };
        let len = mend(&file, config.format).map_err(|why| failure("mend the end of", path, why))?;
        let active = Self {
            output: wrap(file.try_clone().map_err(failed)?),
            file,
            identity: Identity::of(&metadata),
            len,
            period: period(config.rotate, last),
            cut: None,
            dirty: false,
        };
        Ok((active, known.is_none()))
    }

    /// Takes notice of what others did to the file, and makes up for a cut that failed.
    pub(crate) fn refresh(&mut self) -> io::Result<()> {
        self.len = self.file.metadata()?.len();
        if let Some(cut) = self.cut {
            // Somebody may have emptied it meanwhile; a cut must not make it longer.
            self.len = self.len.min(cut);
            self.output.truncate(self.len)?;
            self.cut = None;
        }
        Ok(())
    }
}

/// Sees to it that the next record begins a record: after a crash the last one may be torn. A torn line is ended with
/// a line feed; a torn length-prefixed record cannot be read past, and is cut off. Answers the length of the file.
fn mend(mut file: &File, format: Format) -> io::Result<u64> {
    let len = file.metadata()?.len();
    if len == 0 {
        return Ok(0);
    }
    if format == Format::Length {
        let whole = whole_records(file, len)?;
        if whole < len {
            file.set_len(whole)?;
        }
        return Ok(whole);
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(len - 1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(len);
    }
    file.write_all(b"\n")?;
    Ok(len + 1)
}

fn whole_records(file: &File, len: u64) -> io::Result<u64> {
    let mut read = BufReader::new(file);
    read.seek(SeekFrom::Start(0))?;
    let mut at = 0;
    while len - at >= 4 {
        let mut header = [0; 4];
        read.read_exact(&mut header)?;
        let record = u64::from(u32::from_be_bytes(header));
        if len - at - 4 < record {
            break;
        }
        read.seek_relative(i64::from(u32::from_be_bytes(header)))?;
        at += 4 + record;
    }
    Ok(at)
}

/// Forces the names in the directory of `path` to the disk.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    // Elsewhere a directory cannot be opened, and its names are synced with the file.
    if cfg!(unix) { File::open(directory(path))?.sync_all() } else { Ok(()) }
}

/// An error of the operating system, with what to do about it.
pub(crate) fn failure(doing: &str, path: &Path, why: io::Error) -> Error {
    let (kind, hint) = match why.kind() {
        io::ErrorKind::NotFound => {
            (ErrorKind::NotFound, "; make its directory, or let create_dirs=true do so")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (ErrorKind::Io, "; let this user write to the directory and the file")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Io, "; make room on the disk, or rotate with max_size and keep")
        }
        _ => (ErrorKind::Io, ""),
    };
    Error::new(kind, format!("{doing} {}: {why}{hint}", path.display()))
        .with_sent(Sent::No)
        .with_status(Status::Transient)
}
