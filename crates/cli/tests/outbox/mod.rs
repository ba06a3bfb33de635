//! `haul outbox`, on outboxes that this process makes.

use std::path::Path;
use std::time::Duration;

use haul::outbox::{Outbox, OutboxOptions, OutboxView};
use haul::{AnySink, Backoff, Batch, Deliver, Error, ErrorKind, Packet, Receipt, Result, Service, Sink};

use crate::run::{Ended, haul};

/// Refuses for good what begins with `bad`, and is away for everything else.
struct Picky;

impl Service<Batch> for Picky {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let one = |packet: &Packet| match packet.as_text() {
            Some(text) if text.starts_with("bad") => Err(Error::new(ErrorKind::Rejected, "it is bad")),
            _ => Err(Error::new(ErrorKind::Connect, "it is away")),
        };
        Ok(batch.packets().iter().map(one).collect())
    }
}

impl Sink for Picky {}

fn options(dir: &Path) -> OutboxOptions {
    let mut options = OutboxOptions::new(dir);
    let wait = Duration::from_secs(3600);
    options.delivery.backoff = Backoff { base: wait, factor: 1.0, cap: wait };
    options
}

fn block_on<T>(doing: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(doing)
}

/// An outbox with two dead letters, and two packets of key `a` that wait.
async fn filled(dir: &Path) -> Outbox {
    let outbox = Outbox::open(AnySink::new(Picky), options(dir)).await.unwrap();
    for (at, text) in ["bad 1", "bad 2"].into_iter().enumerate() {
        outbox.deliver(Packet::text(text)).await.unwrap();
        let buried = async {
            while outbox.status().sink.dead <= at as u64 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), buried).await.expect("waited 60 s for the dead letter");
    }
    // Who looks from outside sees the position on disk.
    let noted = async {
        while OutboxView::open(dir, None).unwrap().left().unwrap().packets > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), noted).await.expect("waited 60 s for the position");
    for text in ["one", "two"] {
        outbox.deliver(Packet::text(text).with("session_id", "a")).await.unwrap();
    }
    outbox
}

fn on(dir: &Path, args: &[&str]) -> Ended {
    let mut all = vec!["outbox", args[0], dir.to_str().unwrap()];
    all.extend(&args[1..]);
    haul(&all)
}

#[test]
fn an_outbox_that_is_open_is_listed_and_exported_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let outbox = filled(dir.path()).await;
        let listed = on(dir.path(), &["ls", "--json"]).json();
        assert_eq!((&listed[0]["key"], &listed[0]["packets"]), (&"a".into(), &2.into()));
        assert_eq!((&listed[1]["packets"], &listed[1]["dead"]), (&2.into(), &2.into()));
        assert!(listed[1]["oldest"].is_string());
        let text = on(dir.path(), &["ls"]).stdout;
        assert!(text.contains("2 packets waiting") && text.contains("2 dead letters"), "{text}");
        let waiting = on(dir.path(), &["export"]).json();
        assert_eq!(waiting.iter().map(|line| &line["text"]).collect::<Vec<_>>(), ["one", "two"]);
        let dead = on(dir.path(), &["export", "--dead"]).json();
        assert_eq!((&dead[1]["letter"], &dead[1]["message"]), (&2.into(), &"it is bad".into()));
        assert_eq!(on(dir.path(), &["fsck"]).code, 0);
        for args in [&["replay"][..], &["purge", "--yes"]] {
            let refused = on(dir.path(), args);
            assert_eq!(refused.code, 1, "{}", refused.stderr);
            let process = std::process::id().to_string();
            assert!(refused.stderr.contains(&process) && refused.stderr.contains("stop the program"));
        }
        outbox.close(Duration::from_secs(60)).await.unwrap();
    });
}

#[test]
fn dead_letters_are_put_back_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async { filled(dir.path()).await.close(Duration::from_secs(60)).await.unwrap() });
    assert_eq!(on(dir.path(), &["replay", "--id", "7"]).code, 1);
    let replayed = on(dir.path(), &["replay", "--id", "2"]);
    assert!(
        replayed.code == 0 && replayed.stdout.starts_with("1 dead letter put back"),
        "{}",
        replayed.stderr
    );
    let waiting = on(dir.path(), &["export"]).json();
    assert_eq!(waiting.iter().map(|line| &line["text"]).collect::<Vec<_>>(), ["one", "two", "bad 2"]);
    let unsure = on(dir.path(), &["purge"]);
    assert!(unsure.code == 2 && unsure.stderr.contains("--yes"), "{}", unsure.stderr);
    assert_eq!(on(dir.path(), &["purge", "--yes", "--json"]).json()[0]["count"], 1);
    assert_eq!(on(dir.path(), &["purge", "--pending", "--yes", "--json"]).json()[0]["count"], 3);
    let left = on(dir.path(), &["ls", "--json"]).json();
    assert_eq!((&left[0]["packets"], &left[0]["dead"]), (&0.into(), &0.into()));
}

#[test]
fn an_export_to_a_file_replaces_none() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = dir.path().join("outbox");
    block_on(async { filled(&outbox).await.close(Duration::from_secs(60)).await.unwrap() });
    let file = dir.path().join("lines");
    assert_eq!(on(&outbox, &["export", "--out", file.to_str().unwrap()]).code, 0);
    let lines = std::fs::read_to_string(&file).unwrap();
    assert_eq!(lines.lines().count(), 2);
    assert_eq!(on(&outbox, &["export", "--dead", "--out", file.to_str().unwrap()]).code, 1);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), lines);
}

#[test]
fn damage_and_what_is_no_outbox_are_told() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async { filled(dir.path()).await.close(Duration::from_secs(60)).await.unwrap() });
    let files = std::fs::read_dir(dir.path().join("packets")).unwrap().map(|file| file.unwrap().path());
    let file = files.max_by_key(|file| file.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(3).position(|window| window == b"one").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let checked = on(dir.path(), &["fsck", "--json"]);
    assert_eq!((checked.code, checked.json()[0]["wrong"].as_array().map(Vec::len)), (1, Some(1)));
    let none = on(&dir.path().join("none"), &["ls"]);
    assert!(none.code == 1 && none.stderr.contains("try: name the folder"), "{}", none.stderr);
}

#[test]
fn a_sealed_outbox_is_read_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = dir.path().join("outbox");
    let key = dir.path().join("key");
    std::fs::write(&key, "5".repeat(64)).unwrap();
    block_on(async {
        let encryption = Some(haul::outbox::SecretKey::read(&key).unwrap());
        let options = OutboxOptions { encryption, ..options(&outbox) };
        let outbox = Outbox::open(AnySink::new(Picky), options).await.unwrap();
        outbox.deliver(Packet::text("secret")).await.unwrap();
        outbox.close(Duration::from_secs(60)).await.unwrap();
    });
    let without = on(&outbox, &["export"]);
    assert!(without.code == 1 && without.stderr.contains("--key-file"), "{}", without.stderr);
    assert_eq!(on(&outbox, &["ls", "--json"]).json()[0]["other_keys"], 1);
    let with = on(&outbox, &["export", "--key-file", key.to_str().unwrap()]).json();
    assert_eq!(with[0]["text"], "secret");
}
