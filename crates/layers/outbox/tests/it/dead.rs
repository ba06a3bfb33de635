use haul_core::{ErrorKind, Packet};
use haul_outbox::{Offline, Outbox, OutboxOptions, OutboxView, Which};

use crate::support::{LONG, Next, Told, away, open, patient, pending, quick, refusal, status, store};

fn letters(dir: &tempfile::TempDir) -> Vec<(u64, String)> {
    let mut letters = OutboxView::open(dir, None).unwrap().dead().unwrap();
    let mut all = Vec::new();
    while let Some(letter) = letters.read().unwrap() {
        all.push((letter.id, letter.packet.as_text().unwrap().to_owned()));
    }
    all
}

/// An outbox with three dead letters, and nothing that waits.
async fn three(dir: &tempfile::TempDir) {
    let mut sink = Told::new();
    for text in ["1", "2", "3"] {
        sink = sink.then(Next::Refuse(text, refusal()));
    }
    let outbox = open(dir, &sink).await;
    for (at, text) in ["1", "2", "3"].into_iter().enumerate() {
        store(&outbox, "s", &[text]).await;
        status(&outbox, "the letter", |status| status.sink.dead == at as u64 + 1).await;
    }
    outbox.close(LONG).await.unwrap();
}

fn these(ids: &[u64]) -> Which {
    Which::These(ids.iter().copied().collect())
}

#[tokio::test]
async fn what_is_refused_for_good_is_kept_with_the_reason_and_the_next_goes() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Told::new().then(Next::Refuse("1", refusal()));
    let outbox = open(&dir, &sink).await;
    store(&outbox, "s", &["1", "2"]).await;
    sink.has("the next", |got| got.len() == 1).await;
    let letter = OutboxView::open(&dir, None).unwrap().dead().unwrap().read().unwrap().unwrap();
    assert_eq!((letter.id, letter.seq, letter.tries, letter.key.as_str()), (1, 1, 1, "s"));
    assert_eq!((letter.kind.as_str(), letter.message.as_str()), ("rejected", "told to refuse"));
    assert_eq!(letter.packet.as_text(), Some("1"));
    assert!(letter.stored <= letter.at);
}

#[tokio::test]
async fn a_replayed_letter_waits_again_and_is_a_letter_no_more() {
    let dir = tempfile::tempdir().unwrap();
    three(&dir).await;
    let before = OutboxView::open(&dir, None).unwrap().dead().unwrap().read().unwrap().unwrap();
    let offline = Offline::open(&dir, None).await.unwrap();
    assert_eq!(offline.replay(&these(&[2])).await.unwrap(), 1);
    assert_eq!((letters(&dir), pending(&dir)), (vec![(1, "1".into()), (3, "3".into())], vec!["2".into()]));
    assert_eq!(offline.replay(&Which::All).await.unwrap(), 2);
    assert_eq!((letters(&dir), pending(&dir)), (vec![], vec!["2".into(), "1".into(), "3".into()]));
    assert_eq!(offline.replay(&Which::All).await.unwrap(), 0);
    offline.close().await.unwrap();
    let sink = Told::new();
    let outbox = open(&dir, &sink).await;
    sink.has("all three", |got| got.len() == 3).await;
    assert_eq!(sink.packets()[1], before.packet, "with its id and its metadata");
    outbox.close(LONG).await.unwrap();
}

#[tokio::test]
async fn purged_letters_are_gone_from_the_disk_too() {
    let dir = tempfile::tempdir().unwrap();
    three(&dir).await;
    let offline = Offline::open(&dir, None).await.unwrap();
    assert_eq!(offline.purge_dead(&these(&[1, 3])).await.unwrap(), 2);
    assert_eq!(letters(&dir), [(2, "2".into())]);
    assert_eq!(offline.purge_dead(&Which::All).await.unwrap(), 1);
    offline.close().await.unwrap();
    assert!(letters(&dir).is_empty());
    let bytes: u64 = std::fs::read_dir(dir.path().join("dead"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes < 300, "{bytes} bytes of dead letters are left");
    assert!(OutboxView::open(&dir, None).unwrap().verify().unwrap().wrong.is_empty());
}

#[tokio::test]
async fn what_waits_can_be_purged_and_the_outbox_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(away(), patient(&dir)).await.unwrap();
    store(&outbox, "s", &["1", "2"]).await;
    outbox.close(LONG).await.unwrap();
    let offline = Offline::open(&dir, None).await.unwrap();
    assert_eq!(offline.purge_pending().await.unwrap(), 2);
    offline.close().await.unwrap();
    assert!(pending(&dir).is_empty());
    let sink = Told::new();
    let outbox = open(&dir, &sink).await;
    store(&outbox, "s", &["3"]).await;
    sink.has("the new one", |got| got.len() == 1).await;
    assert_eq!(sink.texts(), ["3"]);
}

#[tokio::test]
async fn a_letter_that_is_not_there_is_named_and_nothing_is_done() {
    let dir = tempfile::tempdir().unwrap();
    three(&dir).await;
    let offline = Offline::open(&dir, None).await.unwrap();
    let error = offline.replay(&these(&[1, 9])).await.unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains('9'), "{error}");
    assert_eq!((letters(&dir).len(), pending(&dir).len()), (3, 0));
}

#[tokio::test]
async fn a_running_outbox_is_read_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(away(), patient(&dir)).await.unwrap();
    store(&outbox, "a", &["1", "22"]).await;
    store(&outbox, "b", &["3"]).await;
    let error = Offline::open(&dir, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    let left = OutboxView::open(&dir, None).unwrap().left().unwrap();
    let keys: Vec<_> = left.keys.iter().map(|info| (info.key.as_str(), info.packets, info.first)).collect();
    assert_eq!((left.packets, left.dead, keys), (3, 0, vec![("a", 2, 1), ("b", 1, 3)]));
    assert_eq!(left.oldest, Some(left.keys[0].oldest));
    assert_eq!(Offline::open(dir.path().join("none"), None).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn dead_letters_stay_however_many_files_they_fill() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = Told::new();
    for _ in 0..200 {
        sink = sink.then(Next::Fail(refusal()));
    }
    let options = OutboxOptions { max_dead_bytes: 1 << 19, ..quick(&dir) };
    let outbox = Outbox::open(sink.sink(), options).await.unwrap();
    for number in 0..200 {
        haul_core::Deliver::deliver(&outbox, Packet::text(format!("{number:0>1000}"))).await.unwrap();
    }
    status(&outbox, "200 letters", |status| status.sink.dead == 200).await;
    outbox.close(LONG).await.unwrap();
    assert!(std::fs::read_dir(dir.path().join("dead")).unwrap().count() > 3, "they fill one file");
    assert_eq!(letters(&dir).len(), 200);
}

#[tokio::test]
async fn damage_is_found_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(away(), patient(&dir)).await.unwrap();
    store(&outbox, "s", &["first", "damaged", "last"]).await;
    outbox.close(LONG).await.unwrap();
    assert!(OutboxView::open(&dir, None).unwrap().verify().unwrap().wrong.is_empty());
    let files = std::fs::read_dir(dir.path().join("packets")).unwrap().map(|entry| entry.unwrap().path());
    let file = files.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(7).position(|window| window == b"damaged").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let verified = OutboxView::open(&dir, None).unwrap().verify().unwrap();
    assert!(verified.wrong.len() == 1 && verified.wrong[0].starts_with("packets: "), "{:?}", verified.wrong);
}
