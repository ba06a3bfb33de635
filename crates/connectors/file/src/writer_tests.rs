use std::fs;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use haul_core::{ErrorKind, Status};

use super::*;

/// What goes wrong next.
#[derive(Default)]
struct Faults {
    /// The next write writes this many bytes, then the disk is full.
    full_after: Option<usize>,
    truncate: bool,
    sync: bool,
    syncs: usize,
}

struct Faulty(File, Arc<Mutex<Faults>>);

impl Output for Faulty {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.1.lock().unwrap().full_after.take() {
            None => self.0.append(bytes),
            Some(count) => {
                self.0.append(&bytes[..count])?;
                Err(io::ErrorKind::StorageFull.into())
            }
        }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut faults = self.1.lock().unwrap();
        if std::mem::take(&mut faults.truncate) { Err(io::Error::other("no")) } else { self.0.truncate(len) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut faults = self.1.lock().unwrap();
        faults.syncs += 1;
        if std::mem::take(&mut faults.sync) { Err(io::Error::other("no")) } else { self.0.sync() }
    }
}

struct Setup {
    directory: tempfile::TempDir,
    faults: Arc<Mutex<Faults>>,
    writer: Writer,
}

fn setup(change: impl FnOnce(&mut FileConfig)) -> Setup {
    let directory = tempfile::tempdir().unwrap();
    let mut config = FileConfig::new(directory.path().join("log"));
    change(&mut config);
    let faults = Arc::new(Mutex::new(Faults::default()));
    let inner = faults.clone();
    let wrap: Wrap = Arc::new(move |file| Box::new(Faulty(file, inner.clone())));
    Setup { directory, faults, writer: Writer::new(Arc::new(config), wrap) }
}

impl Setup {
    fn content(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}

fn records(lines: &[&str]) -> Records {
    let mut records = Records::default();
    for line in lines {
        records.bytes.extend_from_slice(line.as_bytes());
        records.ends.push(records.bytes.len());
    }
    records
}

fn levels(outcomes: Vec<Result<Level>>) -> Vec<Level> {
    outcomes.into_iter().map(|outcome| outcome.unwrap()).collect()
}

#[test]
fn a_full_disk_leaves_no_half_record_and_every_packet_of_the_group_is_told() {
    let mut it = setup(|_| {});
    assert_eq!(levels(it.writer.append(&records(&["one\n"]))), [Level::Stored]);
    it.faults.lock().unwrap().full_after = Some(6);
    for outcome in it.writer.append(&records(&["two\n", "three\n"])) {
        let error = outcome.unwrap_err();
        assert_eq!(
            (error.kind(), error.status(), error.sent()),
            (ErrorKind::Io, Status::Transient, Sent::No)
        );
        assert!(error.to_string().contains("make room"), "{error}");
    }
    assert_eq!(it.content(), "one\n");
    assert!(it.writer.append(&records(&["four\n"]))[0].is_ok());
    assert_eq!(it.content(), "one\nfour\n");
}

#[test]
fn a_cut_that_fails_is_made_up_for_before_the_next_write() {
    let mut it = setup(|_| {});
    it.writer.ready().unwrap();
    {
        let mut faults = it.faults.lock().unwrap();
        (faults.full_after, faults.truncate) = (Some(2), true);
    }
    let error = it.writer.append(&records(&["one\n"]))[0].clone().unwrap_err();
    assert_eq!(error.sent(), Sent::Maybe);
    assert_eq!(it.content(), "on");
    assert!(it.writer.append(&records(&["two\n"]))[0].is_ok());
    assert_eq!(it.content(), "two\n");
}

#[test]
fn a_failed_sync_answers_everyone_and_is_not_tried_again_on_the_same_file() {
    let mut it = setup(|_| {});
    it.faults.lock().unwrap().sync = true;
    for outcome in it.writer.append(&records(&["one\n", "two\n"])) {
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Io, Sent::Maybe));
    }
    assert!(it.writer.active.is_none());
    assert_eq!(levels(it.writer.append(&records(&["three\n"]))), [Level::Stored]);
}

#[test]
fn one_group_is_one_sync_and_an_interval_syncs_later_and_tells_its_failure() {
    let mut it = setup(|_| {});
    it.writer.append(&records(&["one\n", "two\n", "three\n"]));
    assert_eq!(it.faults.lock().unwrap().syncs, 1);

    let mut it = setup(|config| config.fsync = Fsync::Every(Duration::from_secs(1)));
    assert_eq!(it.writer.due(), None);
    assert_eq!(levels(it.writer.append(&records(&["one\n"]))), [Level::Sent]);
    assert!(it.writer.due().is_some());
    it.faults.lock().unwrap().sync = true;
    it.writer.sync_later();
    assert_eq!((it.faults.lock().unwrap().syncs, it.writer.due()), (1, None));
    let told = it.writer.append(&records(&["two\n"]))[0].clone().unwrap_err();
    assert!(told.to_string().contains("sync"), "{told}");
    assert_eq!(levels(it.writer.append(&records(&["two\n"]))), [Level::Sent]);

    let mut it = setup(|config| config.fsync = Fsync::Never);
    assert_eq!(levels(it.writer.append(&records(&["one\n"]))), [Level::Sent]);
    it.writer.finish().unwrap();
    assert_eq!((it.faults.lock().unwrap().syncs, it.writer.due()), (0, None));
}

#[test]
fn a_group_is_spread_over_as_many_files_as_the_size_asks_for_each_synced() {
    let mut it = setup(|config| config.max_size = Some(8));
    let outcomes = it.writer.append(&records(&["aaa\n", "bbb\n", "ccc\n", "longer than eight\n", "ddd\n"]));
    assert_eq!(levels(outcomes), [Level::Stored; 5]);
    assert_eq!(it.faults.lock().unwrap().syncs, 4);
    let path = it.directory.path().join("log");
    let files = siblings::all(&path, None, None).unwrap();
    let contents: Vec<_> = files.iter().map(|file| fs::read_to_string(&file.path).unwrap()).collect();
    assert_eq!(contents, ["aaa\nbbb\n", "ccc\n", "longer than eight\n", "ddd\n"]);
}

#[test]
fn a_file_of_an_earlier_period_is_rotated_and_surplus_ones_removed() {
    let mut it = setup(|config| (config.rotate, config.keep) = (Some(Duration::from_secs(3_600)), Some(1)));
    let path = it.directory.path().join("log");
    for content in ["first\n", "second\n"] {
        fs::write(&path, content).unwrap();
        let file = File::options().append(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(7_200)).unwrap();
        // A new process: what it knows is when the file was written last.
        it.writer = Writer::new(it.writer.config.clone(), it.writer.wrap.clone());
        assert!(it.writer.append(&records(&["now\n"]))[0].is_ok());
        assert_eq!(it.content(), "now\n");
    }
    let rotated = siblings::rotated(&path, None).unwrap();
    assert_eq!(rotated.len(), 1, "{rotated:?}");
}
