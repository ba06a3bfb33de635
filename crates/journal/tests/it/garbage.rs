//! Rubbish in the directory: nothing panics, nothing is invented.

use haul_journal::sim::{Random, SimDisk};
use haul_journal::{Seq, View};

use crate::{fill, open, payload, segments};

/// Does all that reading can do; what is read must have been written.
async fn survey(disk: &SimDisk, genuine: u64, what: &str) {
    let view = View::open_on(disk.mount());
    let _ = (view.first(), view.segments(), view.cursors(), view.verify());
    let mut reader = view.reader(Seq(0));
    for _ in 0..200 {
        match reader.read() {
            Ok(None) => break,
            Ok(Some(record)) => {
                let number = record.seq.0;
                assert!((1..=genuine).contains(&number), "{what}: record {number} was invented");
                assert_eq!(record.payload, payload(number), "{what}: record {number} has other bytes");
            }
            Err(_) => reader.skip(),
        }
    }
    let Ok(journal) = open(disk) else { return };
    let _ = journal.verify().await;
    let _ = journal.segments().await;
    let mut reader = journal.reader(Seq(0)).expect("a reader");
    for _ in 0..200 {
        match reader.next().await {
            Ok(None) => break,
            Ok(Some(record)) => {
                let number = record.seq.0;
                assert!((1..=genuine).contains(&number), "{what}: record {number} was invented");
                assert_eq!(record.payload, payload(number), "{what}: record {number} has other bytes");
            }
            Err(_) => reader.skip(),
        }
    }
    let next = journal.next();
    if let Ok(seq) = journal.append("new").await {
        assert_eq!(seq, next, "{what}");
    }
}

#[tokio::test]
async fn any_rubbish_in_any_file_is_survived() {
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(seed);
        for _ in 0..1 + random.below(4) {
            let name = match random.below(6) {
                0 => "lock".into(),
                1 => "segment.tmp".into(),
                2 => "notes.log".into(),
                3 => format!("{:08}-{:020}.log", random.below(3), random.below(3)),
                4 => format!("{}-{:020}.log", u64::MAX - random.below(2), u64::MAX - random.below(3)),
                _ => format!("{:08}-{:020}.log", random.any(), random.any()),
            };
            let len = random.below(3000) as usize;
            let mut content = random.bytes(len);
            if random.chance(2) {
                content.splice(0..8.min(len), *b"haul.jnl\0\0\0\x01");
            }
            disk.write(&name, content);
        }
        survey(&disk, 0, &format!("seed {seed}")).await;
    }
}

#[tokio::test]
async fn any_change_to_genuine_files_is_survived() {
    let original = SimDisk::new(0);
    let journal = open(&original).expect("open");
    let cursor = journal.cursor("c").await.expect("cursor");
    fill(&journal, 1, 50).await;
    cursor.commit(Seq(20)).await.expect("commit");
    fill(&journal, 51, 10).await;
    journal.close().await.expect("close");
    let names = segments(&original);
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(seed);
        for name in &names {
            disk.write(name, original.read(name).expect("a segment"));
        }
        for _ in 0..1 + random.below(3) {
            let name = &names[random.below(names.len() as u64) as usize];
            let Some(mut content) = disk.read(name).filter(|content| !content.is_empty()) else {
                continue;
            };
            let at = random.below(content.len() as u64) as usize;
            let len = (random.below(300) as usize).min(content.len() - at);
            match random.below(7) {
                0 => content.truncate(at),
                1 => content[at] ^= 1 << random.below(8),
                2 => content[at..at + len].fill(0),
                3 => content[at..at + len].copy_from_slice(&random.bytes(len)),
                4 => drop(content.drain(at..at + len)),
                5 => {
                    let again = content[at..at + len].to_vec();
                    drop(content.splice(at..at, again));
                }
                _ => content = original.read(&names[random.below(names.len() as u64) as usize]).expect("it"),
            }
            match random.chance(20) {
                true => disk.erase(name),
                false => disk.write(name, content),
            }
        }
        survey(&disk, 60, &format!("seed {seed}")).await;
    }
}
