use super::Random;

const BLOCK: usize = 512;

/// The content of a file: as it is seen, as it is on disk, and what leads from the one to the other.
#[derive(Default)]
pub(super) struct Inode {
    pub(super) seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

pub(super) enum Pending {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

impl Pending {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => put(content, *offset as usize, data),
            Self::Truncate(len) => content.resize(*len as usize, 0),
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(data);
}

impl Inode {
    pub(super) fn durable(content: Vec<u8>) -> Self {
        Self { seen: content.clone(), durable: content, pending: Vec::new() }
    }

    pub(super) fn change(&mut self, pending: Pending) {
        pending.apply(&mut self.seen);
        self.pending.push(pending);
    }

    pub(super) fn sync(&mut self) {
        for pending in self.pending.drain(..) {
            pending.apply(&mut self.durable);
        }
    }

    /// A failed sync: something came to disk, and the rest counts as written although it did not.
    pub(super) fn lose(&mut self, random: &mut Random) {
        for pending in std::mem::take(&mut self.pending) {
            tear(&mut self.durable, &pending, random);
        }
    }

    /// The power goes: of what was not synced something is on disk.
    pub(super) fn crash(&mut self, random: &mut Random) {
        let pending = std::mem::take(&mut self.pending);
        match random.below(4) {
            0 => {}
            1 => pending.iter().for_each(|pending| pending.apply(&mut self.durable)),
            _ => pending.iter().for_each(|pending| tear(&mut self.durable, pending, random)),
        }
        self.seen = self.durable.clone();
    }
}

/// Does a part of a change.
fn tear(content: &mut Vec<u8>, pending: &Pending, random: &mut Random) {
    let Pending::Write(offset, data) = pending else {
        if random.chance(2) {
            pending.apply(content);
        }
        return;
    };
    let grown = content.len();
    let offset = *offset as usize;
    for (at, block) in data.chunks(BLOCK).enumerate() {
        let at = offset + at * BLOCK;
        match random.below(8) {
            // Lost.
            0..=2 => {}
            // Torn within the block.
            3 => put(content, at, &block[..random.below(block.len() as u64 + 1) as usize]),
            // Lost, but the file has grown over it and shows what the disk held there before.
            4 if at >= grown => put(content, at, &random.bytes(block.len())),
            4 => {}
            _ => put(content, at, block),
        }
    }
}
