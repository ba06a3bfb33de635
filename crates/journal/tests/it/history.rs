//! Random histories on a disk that loses, tears and fails, against a model of what must be found afterwards.
//!
//! What they found stands as a test of its own: `faults::a_read_that_fails_is_not_damage` and
//! `retention::a_removal_that_was_not_synced_is_synced_by_the_next_retention`.

use bytes::Bytes;
use haul_journal::sim::{Op, Random, SimDisk};
use haul_journal::{Journal, Keep, Options, Retention, Seq};

use crate::model::{Checked, Model, Removable, must};
use crate::soon;

struct History {
    random: Random,
    disk: SimDisk,
    options: Options,
    model: Model,
    appended: u64,
    concurrent: bool,
}

impl History {
    fn new(seed: u64, concurrent: bool) -> Self {
        let mut random = Random::new(seed);
        let mut model = Model::default();
        let mut options = Options::default().segment_bytes(1024 + random.below(6000));
        if random.chance(3) {
            options = options.retention(Retention::default().max_bytes(random.below(20_000)));
            model.removable = Removable::Passed;
        }
        Self { disk: SimDisk::new(random.any()), random, options, model, appended: 0, concurrent }
    }

    async fn run(mut self, boots: u64) -> Checked {
        for _ in 0..boots {
            if self.random.chance(3) {
                self.arm();
            }
            let Ok(journal) = Journal::open_on(self.disk.mount(), self.options.clone()) else {
                // Only what was armed may keep it from opening; without it the next boot opens.
                self.disk.crash();
                let opened = Journal::open_on(self.disk.mount(), self.options.clone());
                let journal = opened.map_err(|error| format!("open after a crash: {error}"))?;
                self.boot(journal).await?;
                continue;
            };
            self.boot(journal).await?;
        }
        Ok(())
    }

    /// One life of the journal: what is there is checked, work is done, and it ends in one way or another.
    async fn boot(&mut self, journal: Journal) -> Checked {
        // Retention at the start of the writer has happened behind this.
        let _ = journal.append_all(Vec::new()).await;
        match self.model.check(&journal).await {
            Err(wrong) if wrong.contains("the power is off") => {
                self.disk.crash();
                return Ok(());
            }
            checked => checked?,
        }
        if self.random.chance(2) {
            self.arm();
        }
        for _ in 0..self.random.below(20) {
            self.step(&journal).await?;
            if journal.failure().is_some() {
                break;
            }
        }
        match self.random.below(4) {
            0 => drop(journal.close().await),
            1 => self.disk.kill(),
            _ => self.disk.crash(),
        }
        drop(journal);
        Ok(())
    }

    /// Prepares a failure.
    fn arm(&mut self) {
        let nth = 1 + self.random.below(12);
        match self.random.below(6) {
            0 => self.disk.power_off_at(nth),
            1 => self.disk.fail(Op::Write, nth),
            2 => self.disk.fail(Op::Sync, nth),
            3 => self.disk.fail(Op::SyncDir, 1 + nth / 3),
            4 => self.disk.fail(Op::Rename, 1 + nth / 3),
            _ => self.disk.fail(Op::Remove, 1 + nth / 3),
        }
    }

    fn payload(&mut self) -> Bytes {
        self.appended += 1;
        let longest = if self.random.chance(10) { 5000 } else { 300 };
        let len = self.random.below(longest) as usize;
        let mut bytes = self.appended.to_be_bytes().to_vec();
        bytes.extend(self.random.bytes(len));
        bytes.into()
    }

    fn payloads(&mut self, most: u64) -> Vec<Bytes> {
        let count = 1 + self.random.below(most);
        let payloads: Vec<Bytes> = (0..count).map(|_| self.payload()).collect();
        self.model.log.extend(payloads.iter().cloned());
        payloads
    }

    async fn step(&mut self, journal: &Journal) -> Checked {
        match self.random.below(10) {
            0..=5 if self.concurrent => self.append_many(journal).await,
            0..=5 => {
                let payloads = self.payloads(8);
                let expected = self.model.log.len() as u64 + 1;
                if let Ok(range) = soon("an append", journal.append_all(payloads)).await {
                    must!(range.end.0 == expected, "appended up to {}, expected {expected}", range.end);
                    self.model.acknowledged = self.model.log.len();
                }
                Ok(())
            }
            6..=8 => self.cursor(journal).await,
            _ => {
                let keep = if self.random.chance(4) { Keep::Nothing } else { Keep::Unread };
                let policy = Retention::default().max_bytes(self.random.below(15_000)).keep(keep);
                self.model.removable = match (keep, &self.model.removable) {
                    (Keep::Unread, Removable::Nothing | Removable::Passed) => Removable::Passed,
                    _ => Removable::Anything,
                };
                if let Ok(removed) = soon("retention", journal.retain(policy)).await {
                    self.model.removed = removed.first.0;
                }
                Ok(())
            }
        }
    }

    /// Many appends at once, each with its own answer: groups form as they happen to.
    async fn append_many(&mut self, journal: &Journal) -> Checked {
        let mut pending = Vec::new();
        for payload in self.payloads(12) {
            match journal.submit(payload).await {
                Ok(one) => pending.push(one),
                Err(_) => break,
            }
        }
        for one in pending {
            if let Ok(range) = soon("an append", one).await {
                let found = range.start.0 as usize;
                must!(found > self.model.acknowledged, "record {found} was acknowledged twice");
                self.model.acknowledged = found;
            }
        }
        Ok(())
    }

    async fn cursor(&mut self, journal: &Journal) -> Checked {
        // A new cursor is made at the oldest record: what retention still has to remove must be gone.
        let _ = soon("the writer", journal.append_all(Vec::new())).await;
        let name = format!("cursor-{}", self.random.below(3));
        let next = journal.next().0;
        let to = 1 + self.random.below(next);
        let new = self.model.cursors.entry(name.clone()).or_insert_with(|| [None].into());
        let current = new.iter().next_back().copied().flatten();
        new.insert(Some(current.unwrap_or_else(|| journal.first().0)));
        let Ok(cursor) = soon("a cursor", journal.cursor(&name)).await else {
            return Ok(());
        };
        let at = cursor.position().map(|position| position.0);
        self.settled(&name, at);
        if to < journal.first().0 {
            // A cursor that is moved back there comes too late.
            self.model.removable = Removable::Anything;
        }
        let (tried, outcome) = match self.random.below(8) {
            0 => (None, cursor.remove().await.map(|()| None)),
            1 => (Some(to), cursor.rewind(Seq(to)).await.map(Some)),
            _ => (Some(to).max(at), cursor.commit(Seq(to)).await.map(Some)),
        };
        match outcome {
            Ok(position) => {
                let position = position.map(|position| position.0);
                must!(position == tried, "cursor {name} went to {position:?}, not {tried:?}");
                self.settled(&name, position);
            }
            Err(_) => {
                self.model.cursors.entry(name).or_default().insert(tried);
            }
        }
        Ok(())
    }

    fn settled(&mut self, name: &str, position: Option<u64>) {
        self.model.cursors.insert(name.to_owned(), [position].into());
    }
}

fn run(seed: u64, concurrent: bool, lying: bool) -> Checked {
    let history = History::new(seed, concurrent);
    history.disk.ignore_sync(lying);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(history.run(12))
}

/// The seeds to try: from the one that the run names on, as many as it asks for.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let first = haul_services::seed(0);
    first..first + haul_services::histories(usual)
}

#[test]
fn whatever_the_disk_does_the_acknowledged_is_found_and_nothing_is_invented() {
    for seed in seeds(250) {
        if let Err(wrong) = run(seed, false, false) {
            panic!("seed {seed}: {wrong}");
        }
    }
}

#[test]
fn groups_of_many_producers_keep_the_same_promise() {
    for seed in seeds(100) {
        if let Err(wrong) = run(seed, true, false) {
            panic!("seed {seed}: {wrong}");
        }
    }
}

#[test]
fn without_syncs_the_same_histories_lose_and_the_model_notices() {
    let caught: Vec<String> = (0..60).filter_map(|seed| run(seed, false, true).err()).collect();
    assert!(caught.len() > 40, "{} of 60 histories noticed a disk that ignores syncs", caught.len());
    let losses = caught.iter().filter(|wrong| wrong.contains("were acknowledged")).count();
    assert!(losses > 5, "only {losses} histories noticed by the number of records: {caught:#?}");
}
