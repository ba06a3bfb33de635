//! The file, and the files that it was renamed to when it was rotated.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// What stays the same when a file is renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

#[cfg(unix)]
impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

#[cfg(not(unix))]
impl Identity {
    /// Where there are no inodes: the time at which it was made.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let made = metadata.created().unwrap_or(SystemTime::UNIX_EPOCH);
        let since = made.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { device: since.as_secs(), inode: u64::from(since.subsec_nanos()) }
    }
}

/// One of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sibling {
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    len: u64,
    modified: SystemTime,
    name: Name,
}

/// What the end of a rotated file's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    /// `<time>.<n>`, as haul names them.
    Haul(String, u64),
    /// `<n>`, as logrotate names them: the larger, the older.
    Number(u64),
    Other,
}

impl Name {
    fn parse(end: &str) -> Self {
        let haul = end.split_once('.').and_then(|(time, n)| {
            let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
            let timely = time.len() == 16 && time.as_bytes()[8] == b'T' && time.ends_with('Z');
            let timely = timely && time.is_char_boundary(8) && digits(&time[..8]) && digits(&time[9..15]);
            timely.then_some(())?;
            Some(Self::Haul(time.to_owned(), n.parse().ok()?))
        });
        haul.or_else(|| end.parse().ok().map(Self::Number)).unwrap_or(Self::Other)
    }
}

/// The directory of `path`.
pub(crate) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The rotated files of `path`, oldest first, without `path` itself, the file `but`, and compressed ones.
pub(crate) fn rotated(path: &Path, but: Option<&Path>) -> io::Result<Vec<Sibling>> {
    let mut found = Vec::new();
    let prefix = path.file_name().unwrap_or_default();
    for entry in fs::read_dir(directory(path))? {
        let entry = entry?;
        let Some(name) = end_of_name(&entry.file_name(), prefix) else { continue };
        if but.and_then(Path::file_name) == Some(&entry.file_name()) {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => found.push(Sibling {
                path: entry.path(),
                identity: Identity::of(&metadata),
                len: metadata.len(),
                modified: metadata.modified()?,
                name,
            }),
            Ok(_) => {}
            // Gone since it was listed.
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => return Err(why),
        }
    }
    sort(&mut found);
    Ok(found)
}

fn end_of_name(name: &OsStr, prefix: &OsStr) -> Option<Name> {
    let end = name.to_str()?.strip_prefix(prefix.to_str()?)?.strip_prefix('.')?;
    let foreign = [".gz", ".zst", ".xz", ".bz2", ".tmp", ".checkpoint"];
    let foreign = end == "checkpoint"
        || foreign.iter().any(|ending| name.to_str().is_some_and(|n| n.ends_with(ending)));
    (!foreign).then(|| Name::parse(end))
}

/// By haul's names, by logrotate's numbers, or, where names are mixed, by when they were written last.
fn sort(files: &mut [Sibling]) {
    let haul = files.iter().all(|file| matches!(file.name, Name::Haul(..)));
    let numbered = files.iter().all(|file| matches!(file.name, Name::Number(_)));
    files.sort_by(|a, b| match (&a.name, &b.name) {
        (Name::Haul(a, n), Name::Haul(b, m)) if haul => (a, n).cmp(&(b, m)),
        (Name::Number(a), Name::Number(b)) if numbered => b.cmp(a),
        _ => a.modified.cmp(&b.modified).then_with(|| a.path.cmp(&b.path)),
    });
}

/// The rotated files of `path`, then `path` itself if it is there; as they stood at one moment. Empty ones among the
/// rotated are left out, since a rotation makes the name first, but never `kept`.
pub(crate) fn all(path: &Path, but: Option<&Path>, kept: Option<Identity>) -> io::Result<Vec<Sibling>> {
    let mut before = all_once(path, but, kept)?;
    // A rotation in the middle of a listing shows twice or not at all: the same twice is one moment.
    for _ in 0..16 {
        let again = all_once(path, but, kept)?;
        let same = again.iter().map(|file| file.identity).eq(before.iter().map(|file| file.identity));
        if same {
            return Ok(again);
        }
        before = again;
    }
    Err(io::Error::other("the directory changed at each of 16 looks"))
}

fn all_once(path: &Path, but: Option<&Path>, kept: Option<Identity>) -> io::Result<Vec<Sibling>> {
    let mut files = rotated(path, but)?;
    files.retain(|file| file.len > 0 || Some(file.identity) == kept);
    if let Some(metadata) = metadata(path)? {
        let active = Sibling {
            path: path.to_owned(),
            identity: Identity::of(&metadata),
            len: metadata.len(),
            modified: metadata.modified()?,
            name: Name::Other,
        };
        files.retain(|file| file.identity != active.identity);
        files.push(active);
    }
    Ok(files)
}

/// The metadata of `path`; `None` if it does not exist.
pub(crate) fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(why),
    }
}

/// Renames `path` to a name of `now` that no file has; answers the name. Never earlier than those that are there.
pub(crate) fn rotate(path: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let now = jiff::Timestamp::try_from(now).map_err(io::Error::other)?;
    let mut time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut n = 0;
    for file in rotated(path, None)? {
        if let Name::Haul(other, m) = file.name {
            match other.cmp(&time) {
                Ordering::Less => {}
                Ordering::Equal => n = n.max(m + 1),
                Ordering::Greater => (time, n) = (other, m + 1),
            }
        }
    }
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{time}.{n}"));
        // Making the name first means that the rename replaces nothing but our own empty file.
        match File::create_new(&name) {
            Ok(_) => {
                return fs::rename(path, &name).map(|()| PathBuf::from(&name)).inspect_err(|_| {
                    // The failed rename is what there is to tell.
                    let _ = fs::remove_file(&name);
                });
            }
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => n += 1,
            Err(why) => return Err(why),
        }
    }
}

/// Removes the oldest files that haul rotated until `keep` are left.
pub(crate) fn retain(path: &Path, keep: usize) -> io::Result<()> {
    let mut files = rotated(path, None)?;
    files.retain(|file| matches!(file.name, Name::Haul(..)));
    let surplus = files.len().saturating_sub(keep);
    files[..surplus].iter().try_for_each(|file| fs::remove_file(&file.path))
}

#[cfg(test)]
#[path = "siblings_tests.rs"]
mod tests;
