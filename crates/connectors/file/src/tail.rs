//! Reads a file as it grows, and what it was renamed to. Everything here blocks, and runs where that is allowed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;
use haul_core::{Error, ErrorKind, Packet, Result};

use crate::active::failure;
use crate::checkpoint::{self, HEAD, Position, hash};
use crate::record::{Cut, Splitter, decode};
use crate::siblings::{self, Identity, Sibling};
use crate::{FollowConfig, Start};

/// Bytes asked for at once.
const READ: usize = 64 << 10;

/// A packet, or what was found in its place, and the position after it.
pub(crate) struct Item {
    pub(crate) found: Result<Packet>,
    pub(crate) position: Position,
}

/// What one look gave.
pub(crate) enum Step {
    Items(Vec<Item>),
    /// Nothing now; perhaps later.
    Idle,
    /// Nothing, and there will be no more.
    End,
}

pub(crate) struct Tail {
    config: Arc<FollowConfig>,
    checkpoint: Option<PathBuf>,
    begun: bool,
    /// Where to begin without a checkpoint. A file that appears after the first look is new from its first byte.
    start: Start,
    current: Option<Current>,
}

struct Current {
    file: File,
    identity: Identity,
    /// Bytes that were given; those in `buffer` come after them.
    offset: u64,
    buffer: BytesMut,
    splitter: Splitter,
    head: Vec<u8>,
    hashed: (u64, u64),
    /// It was seen renamed; it is left when there is still nothing more at the next look.
    leaving: bool,
    /// It had its rotated name already when it was opened: nobody writes to it.
    rotated: bool,
}

impl Tail {
    pub(crate) fn new(config: Arc<FollowConfig>) -> Self {
        let checkpoint = config.checkpoint_path();
        Self { checkpoint, begun: false, start: config.start, current: None, config }
    }

    /// Finds where to begin. Errors: `Gap` if the checkpoint's file is gone or was cut: reading goes on after it, and
    /// those of the operating system.
    pub(crate) fn begin(&mut self) -> Result<()> {
        if self.begun {
            return Ok(());
        }
        let saved = match &self.checkpoint {
            Some(path) => checkpoint::load(path)?,
            None => None,
        };
        let files = self.files()?;
        match saved {
            Some(position) => self.resume(&files, position),
            None => self.start(&files),
        }
    }

    /// Looks once.
    pub(crate) fn step(&mut self) -> Result<Step> {
        self.begin()?;
        let Some(current) = &mut self.current else { return Ok(Step::End) };
        loop {
            let items = current.items(&self.config);
            if !items.is_empty() {
                return Ok(Step::Items(items));
            }
            if current.fill().map_err(|why| failure("read", &self.config.path, why))? == 0 {
                return self.at_end();
            }
            current.leaving = false;
        }
    }

    /// Where it stands, once it has begun.
    pub(crate) fn position(&mut self) -> Option<Position> {
        self.current.as_mut().map(Current::position)
    }

    fn resume(&mut self, files: &[Sibling], position: Position) -> Result<()> {
        let same = files.iter().find(|file| file.identity == position.file);
        let why = match same {
            None => "its file is gone",
            Some(file) => {
                let mut current = self.open(file)?;
                if current.seek(position).map_err(|why| failure("read", &file.path, why))? {
                    (self.current, self.begun) = (Some(current), true);
                    return Ok(());
                }
                "its file was cut or replaced"
            }
        };
        // Told once: the next look begins with what there is.
        let Some(file) = same.or(files.first()) else { return Err(self.missing()) };
        let current = self.open(file)?;
        self.begin_with(current)?;
        Err(self
            .gap(&format!("the checkpoint at byte {} cannot be found again, because {why}", position.offset)))
    }

    fn start(&mut self, files: &[Sibling]) -> Result<()> {
        let file = match self.start {
            Start::Oldest => files.first(),
            Start::Active | Start::End => files.last().filter(|file| file.path == self.config.path),
        };
        let Some(file) = file else {
            self.start = if files.is_empty() { Start::Oldest } else { Start::Active };
            return Err(self.missing());
        };
        let mut current = self.open(file)?;
        if self.start == Start::End {
            current.seek_end().map_err(|why| failure("read", &file.path, why))?;
        }
        self.begin_with(current)
    }

    /// Remembers the beginning, so that a reader that comes back before its first acknowledgement misses nothing.
    fn begin_with(&mut self, mut current: Current) -> Result<()> {
        if let Some(path) = &self.checkpoint {
            checkpoint::save(path, &current.position())?;
        }
        (self.current, self.begun) = (Some(current), true);
        Ok(())
    }

    fn at_end(&mut self) -> Result<Step> {
        let current = self.current.as_mut().expect("a step has a file");
        let path = &self.config.path;
        let active = siblings::metadata(path).map_err(|why| failure("look at", path, why))?;
        if active.as_ref().is_some_and(|active| Identity::of(active) == current.identity) {
            return self.at_end_of_active();
        }
        if self.config.follow {
            // The new file is not there yet, or whoever rotated may still write to the old one: once more.
            let again = !current.rotated && !std::mem::replace(&mut current.leaving, true);
            if active.is_none() || again {
                return Ok(Step::Idle);
            }
        }
        self.leave()
    }

    fn at_end_of_active(&mut self) -> Result<Step> {
        let current = self.current.as_mut().expect("a step has a file");
        let len = current.file.metadata().map_err(|why| failure("look at", &self.config.path, why))?.len();
        let read = current.offset + current.buffer.len() as u64;
        if len < read {
            let splitter = Splitter::new(self.config.format, self.config.max_packet);
            current.restart(splitter).map_err(|why| failure("read", &self.config.path, why))?;
            return Err(self.gap(&format!("the file was cut to {len} bytes after {read} were read")));
        }
        if self.config.follow || len > read {
            return Ok(Step::Idle);
        }
        Ok(self.end())
    }

    /// Goes on with the file after this one; what is left of this one comes first.
    fn leave(&mut self) -> Result<Step> {
        let files = self.files()?;
        let current = self.current.as_mut().expect("a step has a file");
        let at = files.iter().position(|file| file.identity == current.identity);
        let Some(next) = files.get(at.map_or(0, |at| at + 1)) else {
            return Ok(if self.config.follow { Step::Idle } else { self.end() });
        };
        let mut next = self.open(next)?;
        let current = self.current.as_mut().expect("a step has a file");
        let mut items: Vec<Item> = current.last_item(&self.config).into_iter().collect();
        if at.is_none() {
            let why = "the file that was read was removed, and others may have been with it";
            items.push(Item { found: Err(self.gap(why)), position: next.position() });
        }
        self.current = Some(next);
        Ok(Step::Items(items))
    }

    /// Without `follow`: a last line without its line feed, then the end.
    fn end(&mut self) -> Step {
        let current = self.current.as_mut().expect("a step has a file");
        current.last_item(&self.config).map_or(Step::End, |item| Step::Items(vec![item]))
    }

    fn files(&self) -> Result<Vec<Sibling>> {
        let path = &self.config.path;
        let current = self.current.as_ref().map(|current| current.identity);
        siblings::all(path, self.checkpoint.as_deref(), current)
            .map_err(|why| failure("list the directory of", path, why))
    }

    fn open(&self, sibling: &Sibling) -> Result<Current> {
        let failed = |why| failure("open", &sibling.path, why);
        let mut file = File::open(&sibling.path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            let text = format!("open {}: it is not a regular file", sibling.path.display());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        if Identity::of(&metadata) != sibling.identity {
            return Err(failed(io::Error::other("it was rotated at this moment; look again")));
        }
        let mut head = Vec::new();
        (&mut file).take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
        file.rewind().map_err(failed)?;
        Ok(Current {
            file,
            identity: sibling.identity,
            offset: 0,
            buffer: BytesMut::new(),
            splitter: Splitter::new(self.config.format, self.config.max_packet),
            head,
            hashed: (0, hash(&[])),
            leaving: false,
            rotated: sibling.path != self.config.path,
        })
    }

    fn missing(&self) -> Error {
        let text = format!("read {}: there is no such file", self.config.path.display());
        Error::new(ErrorKind::NotFound, text)
    }

    fn gap(&self, why: &str) -> Error {
        gap(&self.config, why)
    }
}

fn gap(config: &FollowConfig, why: &str) -> Error {
    Error::new(ErrorKind::Gap, format!("read {}: {why}; records may be missing", config.path.display()))
}

impl Current {
    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ);
        let start = self.buffer.len();
        self.buffer.resize(start + READ, 0);
        let read = self.file.read(&mut self.buffer[start..]);
        let count = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(start + count);
        let at = self.offset + start as u64;
        if at == self.head.len() as u64 && self.head.len() < HEAD {
            let more = (HEAD - self.head.len()).min(count);
            self.head.extend_from_slice(&self.buffer[start..start + more]);
        }
        read
    }

    fn items(&mut self, config: &FollowConfig) -> Vec<Item> {
        let mut items = Vec::new();
        loop {
            let mut passed = 0;
            let cut = self.splitter.next(&mut self.buffer, &mut passed);
            self.offset += passed;
            match cut {
                Some(cut) => items.push(self.item(config, cut)),
                None => return items,
            }
        }
    }

    fn last_item(&mut self, config: &FollowConfig) -> Option<Item> {
        let cut = self.splitter.finish(&mut self.buffer)?;
        Some(self.item(config, cut))
    }

    fn item(&mut self, config: &FollowConfig, (found, taken): Cut) -> Item {
        let at = self.offset;
        self.offset += taken;
        let found = found.and_then(|record| decode(config.format, record));
        let found =
            found.map_err(|why| why.while_doing(format!("read {} at byte {at}", config.path.display())));
        Item { found, position: self.position() }
    }

    fn position(&mut self) -> Position {
        let head_len = self.offset.min(self.head.len() as u64);
        if self.hashed.0 != head_len {
            // At most 256, so it fits.
            self.hashed = (head_len, hash(&self.head[..head_len as usize]));
        }
        Position { file: self.identity, offset: self.offset, head_len, head_hash: self.hashed.1 }
    }

    /// Goes to `position`; `false` if this is not the file that it was taken from.
    fn seek(&mut self, position: Position) -> io::Result<bool> {
        let head = usize::try_from(position.head_len).ok().and_then(|len| self.head.get(..len));
        let same = head.is_some_and(|head| hash(head) == position.head_hash);
        if !same || self.file.metadata()?.len() < position.offset {
            return Ok(false);
        }
        self.offset = self.file.seek(SeekFrom::Start(position.offset))?;
        Ok(true)
    }

    fn seek_end(&mut self) -> io::Result<()> {
        self.offset = self.file.seek(SeekFrom::End(0))?;
        Ok(())
    }

    /// Begins at the first byte again.
    fn restart(&mut self, splitter: Splitter) -> io::Result<()> {
        self.file.rewind()?;
        self.offset = 0;
        self.buffer.clear();
        self.head.clear();
        self.hashed = (0, hash(&[]));
        self.splitter = splitter;
        Ok(())
    }
}
