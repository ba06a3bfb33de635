use haul_core::ErrorKind;
use haul_outbox::{Offline, Outbox, OutboxOptions, OutboxView, SecretKey, Which};

use crate::support::{LONG, Next, Told, away, patient, refusal, status, store};

fn key(digit: &str) -> SecretKey {
    SecretKey::parse(&digit.repeat(64)).unwrap()
}

fn sealed(dir: &tempfile::TempDir, digit: &str) -> OutboxOptions {
    OutboxOptions { encryption: Some(key(digit)), ..patient(dir) }
}

/// All bytes on disk.
fn on_disk(dir: &tempfile::TempDir) -> Vec<u8> {
    let folders = ["packets", "dead"].map(|folder| dir.path().join(folder));
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

#[tokio::test]
async fn neither_key_nor_metadata_nor_payload_nor_reason_is_on_disk_and_all_is_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Told::new().then(Next::Refuse("first-text", refusal()));
    let outbox = Outbox::open(sink.sink(), sealed(&dir, "a")).await.unwrap();
    store(&outbox, "some-session", &["first-text"]).await;
    status(&outbox, "the letter", |status| status.sink.dead == 1).await;
    let sink = sink.then(Next::Fail(crate::support::transient()));
    store(&outbox, "some-session", &["second-text"]).await;
    outbox.close(LONG).await.unwrap();
    let bytes = on_disk(&dir);
    for word in ["first-text", "second-text", "some-session", "session_id", "told to"] {
        assert!(!contains(&bytes, word), "{word} is on disk");
    }
    let view = OutboxView::open(&dir, Some(&key("a"))).unwrap();
    assert_eq!(view.dead().unwrap().read().unwrap().unwrap().message, "told to refuse");
    let offline = Offline::open(&dir, Some(&key("a"))).await.unwrap();
    assert_eq!(offline.replay(&Which::All).await.unwrap(), 1);
    offline.close().await.unwrap();
    let outbox = Outbox::open(sink.sink(), sealed(&dir, "a")).await.unwrap();
    sink.has("both", |got| got.len() == 2).await;
    assert_eq!(sink.texts(), ["second-text", "first-text"]);
    outbox.close(LONG).await.unwrap();
}

#[tokio::test]
async fn a_wrong_key_or_none_is_an_error_at_open_while_packets_wait() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(away(), sealed(&dir, "a")).await.unwrap();
    store(&outbox, "s", &["1"]).await;
    outbox.close(LONG).await.unwrap();
    for wrong in [sealed(&dir, "b"), patient(&dir)] {
        let error = Outbox::open(away(), wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("sealed with key"), "{error}");
    }
    let view = OutboxView::open(&dir, None).unwrap();
    let left = view.left().unwrap();
    assert_eq!((left.packets, left.others, left.keys.len()), (1, 1, 0));
    let verified = view.verify().unwrap();
    assert_eq!((verified.wrong.len(), verified.unread), (0, 1));
    let wrong = OutboxView::open(&dir, Some(&key("b"))).unwrap();
    assert_eq!(wrong.pending().unwrap().read().unwrap_err().kind(), ErrorKind::Unauthorized);
    assert_eq!(wrong.verify().unwrap().wrong.len(), 1);
    let sink = Told::new();
    let outbox = Outbox::open(sink.sink(), sealed(&dir, "a")).await.unwrap();
    outbox.close(LONG).await.unwrap();
    // Nothing waits: another key may take over.
    let outbox = Outbox::open(sink.sink(), sealed(&dir, "b")).await.unwrap();
    store(&outbox, "s", &["2"]).await;
    outbox.close(LONG).await.unwrap();
    assert_eq!(sink.texts(), ["1", "2"]);
}

#[tokio::test]
async fn what_waits_unsealed_is_delivered_when_there_is_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(away(), patient(&dir)).await.unwrap();
    store(&outbox, "s", &["1"]).await;
    outbox.close(LONG).await.unwrap();
    let sink = Told::new();
    let outbox = Outbox::open(sink.sink(), sealed(&dir, "a")).await.unwrap();
    store(&outbox, "s", &["2"]).await;
    sink.has("both", |got| got.len() == 2).await;
    outbox.close(LONG).await.unwrap();
    assert_eq!(sink.texts(), ["1", "2"]);
}

#[test]
fn a_key_is_read_from_a_file_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "AB".repeat(32) + "\n").unwrap();
    let text = format!("dir = 'd'\nencryption = {{ key_file = '{}' }}", file.display());
    let read: OutboxOptions = toml::from_str(&text).unwrap();
    assert_eq!(read.encryption, Some(SecretKey::parse(&"ab".repeat(32)).unwrap()));
    for wrong in ["", "ab", &"g".repeat(64), &"ü".repeat(32)] {
        let error = SecretKey::parse(wrong).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Config && (wrong.is_empty() || !error.to_string().contains(wrong))
        );
    }
    assert_eq!(SecretKey::read(dir.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
}
