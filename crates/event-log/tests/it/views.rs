use std::time::Duration;

use haul_core::{ErrorKind, Packet};
use haul_event_log::{Event, EventLog, LogView, Options, Query};

#[tokio::test]
async fn a_view_reads_while_the_log_is_written_by_number_session_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = EventLog::open(dir.path(), Options::default()).await.unwrap();
    let mut times = Vec::new();
    for (session, text) in [("a", "1"), ("b", "22"), ("a", "333")] {
        let mut event = Event::new(Packet::text(text)).in_session(session);
        event.received = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(times.len() as u64 + 1);
        times.push(event.received);
        log.submit(event).await.unwrap().await.unwrap();
    }
    let view = LogView::open(dir.path()).unwrap();
    let texts = |query: Query| {
        let mut events = view.read(query).unwrap();
        let mut texts = Vec::new();
        while let Some(recorded) = events.read().unwrap() {
            texts.push((recorded.seq, recorded.event.packet.as_text().unwrap().to_owned()));
        }
        texts.into_iter().map(|(seq, text)| format!("{seq}:{text}")).collect::<Vec<_>>().join(" ")
    };
    let all = Query::default;
    assert_eq!(texts(all()), "1:1 2:22 3:333");
    assert_eq!(texts(Query { from: 2, ..all() }), "2:22 3:333");
    assert_eq!(texts(Query { to: Some(2), ..all() }), "1:1 2:22");
    assert_eq!(texts(Query { session: Some("a".into()), ..all() }), "1:1 3:333");
    assert_eq!(texts(Query { since: Some(times[1]), until: Some(times[2]), ..all() }), "2:22");
    let sessions = view.sessions().unwrap();
    let listed: Vec<_> =
        sessions.iter().map(|s| (s.session.as_str(), s.events, s.bytes, s.first, s.last)).collect();
    assert_eq!(listed, [("a", 2, 4, 1, 3), ("b", 1, 2, 2, 2)]);
    let verified = view.verify().unwrap();
    assert!(verified.is_sound());
    assert_eq!(verified.events.records, 3);
}

#[tokio::test]
async fn following_sees_what_is_appended_later() {
    let dir = tempfile::tempdir().unwrap();
    let log = EventLog::open(dir.path(), Options::default()).await.unwrap();
    let mut events = LogView::open(dir.path()).unwrap().read(Query::default()).unwrap();
    assert!(events.read().unwrap().is_none());
    log.append("s", Packet::text("later")).await.unwrap();
    assert_eq!(events.read().unwrap().unwrap().event.packet.as_text(), Some("later"));
}

#[tokio::test]
async fn a_damaged_record_is_found_and_what_stands_around_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = EventLog::open(dir.path(), Options::default()).await.unwrap();
    for text in ["first", "damaged", "last"] {
        log.append("s", Packet::text(text)).await.unwrap();
    }
    log.close(Duration::from_secs(5)).await.unwrap();
    let segment = std::fs::read_dir(dir.path().join("events"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(7).position(|window| window == b"damaged").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    let view = LogView::open(dir.path()).unwrap();
    let verified = view.verify().unwrap();
    assert!(!verified.is_sound());
    assert_eq!((verified.events.records, verified.events.damage.len()), (2, 1));
    let mut events = view.read(Query::default()).unwrap();
    assert_eq!(events.read().unwrap().unwrap().seq, 1);
    assert_eq!(events.read().unwrap_err().kind(), ErrorKind::Codec);
    events.skip();
    assert_eq!(events.read().unwrap_err().kind(), ErrorKind::Gap);
    assert_eq!(events.gap(), Some(2..=2));
    assert_eq!(events.read().unwrap().unwrap().seq, 3);
}

#[tokio::test]
async fn a_second_opening_is_refused_with_the_process_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let _log = EventLog::open(dir.path(), Options::default()).await.unwrap();
    let error = EventLog::open(dir.path(), Options::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
}

#[tokio::test]
async fn a_packet_above_the_bound_is_refused_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.max_packet = 1000;
    let log = EventLog::open(dir.path(), options).await.unwrap();
    log.append("s", Packet::binary(vec![0; 1000])).await.unwrap();
    let error = log.append("s", Packet::binary(vec![0; 1001])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    log.append("s", Packet::text("x")).await.unwrap();
}
