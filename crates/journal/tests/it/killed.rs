//! kill -9 of a process that appends: this test program, started once more.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use haul_core::Result;
use haul_journal::sim::Random;
use haul_journal::{Journal, Options, Seq};

use crate::read;

/// Tells the started process where its journal is, and which round this is.
const DIRECTORY: &str = "HAUL_JOURNAL_KILLED";
const ROUND: &str = "HAUL_JOURNAL_ROUND";

const LANES: u64 = 4;

fn options() -> Options {
    Options::default().segment_bytes(16 << 10)
}

/// What record `number` of a lane holds: its name, and as much again as it says.
fn content(round: u64, lane: u64, number: u64) -> Bytes {
    let name = format!("{round}-{lane}-{number} ");
    let longest = if number.is_multiple_of(50) { 40_000 } else { 300 };
    let len = Random::new(lane << 32 | number).below(longest) as usize;
    [name.as_bytes(), &vec![b'x'; len]].concat().into()
}

fn name(record: &[u8]) -> &str {
    let text = std::str::from_utf8(record).expect("text");
    text.split_once(' ').expect("a name").0
}

/// The part of the process that is killed; as a test of its own it has nothing to do.
#[test]
fn a_process_appends_and_tells_what_was_acknowledged_until_it_is_killed() -> Result<()> {
    let (Ok(directory), Ok(round)) = (std::env::var(DIRECTORY), std::env::var(ROUND)) else { return Ok(()) };
    let round = round.parse().expect("a number");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    runtime.block_on(async {
        let journal = Journal::open(directory, options())?;
        for lane in 0..LANES {
            tokio::spawn(append(journal.clone(), round, lane));
        }
        let cursor = journal.cursor("done").await?;
        loop {
            let position = cursor.commit(journal.next()).await?;
            tell(&format!("done {position}"));
        }
    })
}

async fn append(journal: Journal, round: u64, lane: u64) -> Result<()> {
    let mut number = 0;
    loop {
        let count = 1 + number % 3;
        let records: Vec<Bytes> = (number..number + count).map(|at| content(round, lane, at)).collect();
        let names: Vec<String> = records.iter().map(|record| name(record).to_owned()).collect();
        let first = journal.append_all(records).await?.start;
        for (at, name) in names.iter().enumerate() {
            tell(&format!("record {} {name}", first.plus(at as u64)));
        }
        number += count;
    }
}

/// One line in one write: a process that is killed tells it whole or, at its end, in part.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).expect("somebody reads");
}

fn start(directory: &Path, round: u64) -> Child {
    let this = "killed::a_process_appends_and_tells_what_was_acknowledged_until_it_is_killed";
    let mut command = Command::new(std::env::current_exe().expect("a test knows its own path"));
    command.args(["--exact", this, "--nocapture"]);
    command.env(DIRECTORY, directory).env(ROUND, round.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().expect("it starts")
}

/// What was acknowledged, in all rounds.
#[derive(Default)]
struct Told {
    records: BTreeMap<u64, String>,
    done: u64,
}

impl Told {
    fn take(&mut self, line: &str) {
        let mut words = line.split(' ');
        match (words.next(), words.next().and_then(|number| number.parse().ok()), words.next()) {
            (Some("record"), Some(number), Some(name)) => {
                let before = self.records.insert(number, name.to_owned());
                assert_eq!(before, None, "record {number} was acknowledged twice");
            }
            (Some("done"), Some(position), None) => self.done = self.done.max(position),
            // The test runner of the process says things too.
            _ => {}
        }
    }
}

/// Lets a process append, kills it after `moment`, and takes what it told.
fn live_and_die(directory: &Path, round: u64, moment: Duration, told: &mut Told) {
    let mut child = start(directory, round);
    let out = BufReader::new(child.stdout.take().expect("it is piped"));
    let (send, lines) = mpsc::sync_channel(1024);
    let reading = thread::spawn(move || {
        for line in out.split(b'\n') {
            let Ok(line) = line else { return };
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    // Half the processes are killed on their way to the first record.
    if round.is_multiple_of(2) {
        let first = lines.iter().find(|line| line.starts_with("record "));
        told.take(&first.expect("a process that lives acknowledges something"));
    }
    // The moment is what is random here; nothing depends on how far it came.
    let killing = thread::spawn(move || {
        thread::sleep(moment);
        child.kill().expect("it is killed");
        child.wait().expect("it ends")
    });
    let mut last = None;
    for line in lines {
        // The last line may be a part of one.
        if let Some(line) = last.replace(line) {
            told.take(&line);
        }
    }
    assert!(killing.join().expect("no panic").code().is_none(), "it ended before it was killed");
    reading.join().expect("no panic");
}

#[tokio::test]
async fn kill_9_at_any_moment_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let seed = haul_services::seed(5);
    let (mut random, mut told) = (Random::new(seed), Told::default());
    let kills = haul_services::kills();
    for round in 0..kills {
        let moment = Duration::from_micros(random.below(60_000));
        live_and_die(directory.path(), round, moment, &mut told);
        check(directory.path(), &told).await;
    }
    assert!(!told.records.is_empty(), "seed {seed}: nothing was acknowledged before any kill");
    println!("{kills} kills with seed {seed}: all {} acknowledged records are there", told.records.len());
}

async fn check(directory: &Path, told: &Told) {
    let journal = Journal::open(directory, options()).expect("it opens after a kill");
    assert_eq!(journal.recovery().damage, []);
    let records = read(&journal, Seq(1)).await;
    assert_eq!(records.len() as u64, journal.next().0 - 1);
    for (at, record) in records.iter().enumerate() {
        assert_eq!(record.seq.0, at as u64 + 1, "a hole");
        let name = name(&record.payload);
        let parts: Vec<u64> = name.split('-').map(|part| part.parse().expect("a number")).collect();
        assert!(record.payload == content(parts[0], parts[1], parts[2]), "record {name} has other bytes");
    }
    for (number, name_told) in &told.records {
        let found = records.get(*number as usize - 1).map(|record| name(&record.payload));
        assert_eq!(found, Some(name_told.as_str()), "record {number} was acknowledged");
    }
    let done = journal.cursors().first().map_or(0, |(_, position)| position.0);
    assert!(done >= told.done, "cursor is at {done}; {} was acknowledged", told.done);
    journal.close().await.expect("it closes");
}
