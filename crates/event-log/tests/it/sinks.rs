use std::time::Duration;

use haul_core::{Backoff, ErrorKind, Packet, PacketId};
use haul_event_log::{EventLog, Filter, LogView, Options, Order, Query, SinkOptions};

use crate::support::{Next, Told, quick, refusal, status, transient, within};

const SOON: Duration = Duration::from_secs(20);

async fn open(dir: &tempfile::TempDir) -> EventLog {
    EventLog::open(dir.path(), Options::default()).await.unwrap()
}

async fn append(log: &EventLog, texts: &[&str]) {
    for text in texts {
        log.append("s", Packet::text(*text)).await.unwrap();
    }
}

#[tokio::test]
async fn a_receipt_has_the_number_and_the_sink_gets_the_packet_with_its_session_and_an_id() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    let sink = Told::new();
    log.attach("a", sink.sink(), SinkOptions::default()).await.unwrap();
    let id = PacketId::random();
    let receipt = log.append("seven", Packet::text("x").with_id(id)).await.unwrap();
    assert_eq!((receipt.reference.as_deref(), receipt.id), (Some("1"), Some(id)));
    let second = log.append("", Packet::text("y")).await.unwrap();
    sink.has("two packets", |got| got.len() == 2).await;
    let got = sink.packets();
    assert_eq!((got[0].metadata().get("session_id"), got[0].id()), (Some("seven"), Some(id)));
    assert_eq!((got[1].metadata().get("session_id"), got[1].id()), (None, second.id));
    assert!(second.id.is_some());
}

/// Waits until the first sink's status says that a delivery is under way, or that none is.
async fn delivering(log: &EventLog, yes: bool) {
    let seen = async {
        while log.status().sinks[0].delivering_since.is_some() != yes {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within("the delivery to begin or end", seen).await;
}

#[tokio::test]
async fn a_sink_that_hangs_holds_up_neither_appends_nor_the_other_sink() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    let (stuck, well) = (Told::new().hold(), Told::new());
    log.attach("stuck", stuck.sink(), quick()).await.unwrap();
    log.attach("well", well.sink(), quick()).await.unwrap();
    within("the appends", append(&log, &["1", "2", "3"])).await;
    well.has("the three", |got| got.len() == 3).await;
    assert!(stuck.packets().is_empty());
    delivering(&log, true).await;
    stuck.let_go();
    stuck.has("the three, late", |got| got.len() == 3).await;
    delivering(&log, false).await;
}

#[tokio::test]
async fn a_sink_that_fails_for_a_while_gets_all_in_order_and_its_status_tells() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    let mut sink = Told::new();
    for _ in 0..5 {
        sink = sink.then(Next::Fail(transient()));
    }
    append(&log, &["1", "2", "3"]).await;
    log.attach("a", sink.sink(), quick()).await.unwrap();
    sink.has("the three", |got| got.len() == 3).await;
    assert_eq!(sink.texts(), ["1", "2", "3"]);
    let status = status(&log, "no lag", |status| status.lag == 0).await;
    assert_eq!((status.retries, status.delivered, status.dead), (5, 3, 0));
    assert!(status.stuck.is_none());
    assert!(status.last_failure.unwrap().message.contains("told to fail"));
}

async fn two_sessions(log: &EventLog) {
    for (session, text) in [("a", "a1"), ("b", "b1"), ("a", "a2"), ("b", "b2"), ("a", "a3")] {
        log.append(session, Packet::text(text)).await.unwrap();
    }
}

#[tokio::test]
async fn behind_a_failed_event_its_session_waits_and_the_other_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    two_sessions(&log).await;
    // Two minutes: of `a` nothing comes here any more.
    let waits = quick().backoff(Backoff { base: SOON * 6, factor: 1.0, cap: SOON * 6 });
    let sink = Told::new().then(Next::Refuse("a1", transient().with_retry_after(SOON * 6)));
    log.attach("x", sink.sink(), waits).await.unwrap();
    let held = status(&log, "all of b", |status| status.delivered == 2).await;
    assert_eq!((held.lag, held.position), (3, 1), "{held:?}");
    assert!(held.stuck.is_some());
    assert_eq!(sink.texts(), ["b1", "b2"]);
    log.detach("x", SOON).await.unwrap();
    log.attach("x", sink.sink(), quick()).await.unwrap();
    status(&log, "no lag", |status| status.lag == 0).await;
    let of_a: Vec<_> = sink.texts().into_iter().filter(|text| text.starts_with('a')).collect();
    assert_eq!(of_a, ["a1", "a2", "a3"]);
}

#[tokio::test]
async fn other_sessions_go_no_further_ahead_than_they_may() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    log.append("a", Packet::text("a1")).await.unwrap();
    for number in 2..=20 {
        log.append(format!("{number}"), Packet::text(number.to_string())).await.unwrap();
    }
    let sink = Told::new().then(Next::Refuse("a1", transient().with_retry_after(SOON * 6)));
    log.attach("x", sink.sink(), quick().batch(3).ahead(8)).await.unwrap();
    let held = status(&log, "as many as may", |status| status.delivered == 7).await;
    assert_eq!((held.position, held.lag), (1, 13));
    let ends = log.close(SOON).await.unwrap();
    assert_eq!((ends[0].0.delivered, ends[0].0.lag), (7, 13), "it went on, further than it may");
}

#[tokio::test]
async fn with_batches_of_a_session_what_comes_behind_a_failed_event_is_delivered_again_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    two_sessions(&log).await;
    let sink = Told::new().then(Next::Refuse("a2", transient()));
    log.attach("x", sink.sink(), quick().order(Order::Batch)).await.unwrap();
    status(&log, "no lag", |status| status.lag == 0).await;
    assert_eq!(sink.texts(), ["a1", "b1", "b2", "a3", "a2", "a3"]);
}

#[tokio::test]
async fn a_delivery_is_full_at_its_count_and_at_its_bytes() {
    let full_at = |options: SinkOptions| async move {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir).await;
        append(&log, &["1234"; 12]).await;
        let sink = Told::new();
        log.attach("x", sink.sink(), options.order(Order::Batch)).await.unwrap();
        status(&log, "no lag", |status| status.lag == 0).await;
        sink.calls()
    };
    assert_eq!(full_at(quick().batch(5)).await, [5, 5, 2]);
    assert_eq!(full_at(quick().batch_bytes(13)).await, [4, 4, 4]);
    assert_eq!(full_at(quick()).await, [12]);
}

#[tokio::test]
async fn what_a_sink_refuses_for_good_is_kept_with_the_reason_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    append(&log, &["1", "2", "3"]).await;
    let sink = Told::new().then(Next::Refuse("1", refusal()));
    log.attach("x", sink.sink(), quick()).await.unwrap();
    let status = status(&log, "no lag", |status| status.lag == 0).await;
    assert_eq!((status.dead, status.delivered), (1, 2));
    assert_eq!(sink.texts(), ["2", "3"]);
    let mut dead = LogView::open(dir.path()).unwrap().dead().unwrap();
    let letter = dead.read().unwrap().unwrap();
    assert_eq!((letter.seq, letter.sink.as_str(), letter.kind.as_str()), (1, "x", "rejected"));
    assert_eq!((letter.message.as_str(), letter.event.packet.as_text()), ("told to refuse", Some("1")));
    assert!(dead.read().unwrap().is_none());
}

#[tokio::test]
async fn a_call_that_fails_for_good_or_panics_is_tried_one_by_one() {
    for next in [|| Next::Fail(refusal()), || Next::Panic] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir).await;
        append(&log, &["1", "2", "3"]).await;
        // All three fail together, then the first alone.
        let sink = Told::new().then(next()).then(next());
        log.attach("x", sink.sink(), quick().order(Order::Batch)).await.unwrap();
        let status = status(&log, "no lag", |status| status.lag == 0).await;
        assert_eq!((status.dead, sink.texts()), (1, vec!["2".to_owned(), "3".to_owned()]));
    }
}

#[tokio::test]
async fn a_failure_of_the_sinks_own_setup_makes_no_dead_letters() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    append(&log, &["1"]).await;
    let wrong = haul_core::Error::new(ErrorKind::Unauthorized, "wrong password");
    let sink = Told::new().then(Next::Fail(wrong));
    log.attach("x", sink.sink(), quick()).await.unwrap();
    let status = status(&log, "no lag", |status| status.lag == 0).await;
    assert_eq!((status.dead, sink.texts()), (0, vec!["1".to_owned()]));
}

#[tokio::test]
async fn a_sink_goes_on_where_it_was_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    let first = Told::new();
    log.attach("x", first.sink(), quick()).await.unwrap();
    append(&log, &["1", "2"]).await;
    let ends = log.close(SOON).await.unwrap();
    assert_eq!((ends[0].0.lag, first.texts().len()), (0, 2));
    assert!(ends[0].1.is_ok());

    let log = open(&dir).await;
    append(&log, &["3"]).await;
    let second = Told::new();
    log.attach("x", second.sink(), quick()).await.unwrap();
    second.has("the third", |got| !got.is_empty()).await;
    assert_eq!(second.texts(), ["3"]);
}

#[tokio::test]
async fn closing_reports_what_a_stuck_sink_has_not_got_and_it_gets_it_next_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    append(&log, &["1", "2"]).await;
    log.attach("x", Told::new().hold().sink(), quick()).await.unwrap();
    let ends = log.close(Duration::from_millis(50)).await.unwrap();
    assert_eq!(ends[0].0.lag, 2);

    let log = open(&dir).await;
    assert_eq!(log.status().absent.len(), 1);
    let sink = Told::new();
    log.attach("x", sink.sink(), quick()).await.unwrap();
    sink.has("both", |got| got.len() == 2).await;
}

#[tokio::test]
async fn closing_waits_for_a_sink_that_takes_events_and_not_for_one_that_fails_them() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    append(&log, &["1", "2"]).await;
    let (slow, away) = (Told::new().hold(), Told::new().then(Next::Fail(transient())));
    let waits = quick().backoff(Backoff { base: SOON * 600, factor: 1.0, cap: SOON * 600 });
    log.attach("away", away.sink(), waits).await.unwrap();
    log.attach("slow", slow.sink(), quick()).await.unwrap();
    let stuck = async {
        while log.status().sinks[0].stuck.is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within("the sink that is away to fail", stuck).await;
    let closing = tokio::spawn(async move { log.close(SOON * 600).await });
    slow.let_go();
    let ends = within("the log to close", closing).await.unwrap().unwrap();
    let lags: Vec<_> = ends.iter().map(|(sink, _)| (sink.name.as_str(), sink.lag)).collect();
    assert_eq!(lags, [("away", 2), ("slow", 0)]);
    assert_eq!(slow.texts(), ["1", "2"]);
}

#[tokio::test]
async fn closing_gives_a_sink_that_failed_before_little_time_for_a_last_try() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    append(&log, &["1"]).await;
    // It fails, and then hangs.
    let away = Told::new().then(Next::Fail(transient())).then(Next::Hang);
    log.attach("away", away.sink(), quick()).await.unwrap();
    let trying =
        |status: &haul_event_log::SinkStatus| status.retries == 1 && status.delivering_since.is_some();
    status(&log, "the second try", trying).await;
    let ends = within("the log to close", log.close(SOON * 600)).await.unwrap();
    assert_eq!(ends[0].0.lag, 1);
}

#[tokio::test]
async fn a_filter_holds_back_and_bare_takes_the_metadata_off() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    log.append("s", Packet::text("1").with("type", "a")).await.unwrap();
    log.append("s", Packet::text("2").with("type", "b")).await.unwrap();
    let sink = Told::new();
    let options = quick().filter(Filter::new().with("type", "b").unwrap()).bare();
    log.attach("x", sink.sink(), options).await.unwrap();
    let status = status(&log, "no lag", |status| status.lag == 0).await;
    assert_eq!((status.filtered, sink.texts()), (1, vec!["2".to_owned()]));
    assert!(sink.packets()[0].metadata().is_empty());
}

#[tokio::test]
async fn a_name_is_taken_once_and_a_detached_sink_is_absent_until_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    log.attach("x", Told::new().sink(), quick()).await.unwrap();
    let error = log.attach("x", Told::new().sink(), quick()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(log.forget("x").await.unwrap_err().kind(), ErrorKind::Config);
    log.detach("x", SOON).await.unwrap();
    append(&log, &["1", "2"]).await;
    let absent = log.status().absent.remove(0);
    assert_eq!((absent.name.as_str(), absent.position, absent.events), ("x", 1, 2));
    let listed = LogView::open(dir.path()).unwrap().routes().unwrap().remove(0);
    assert_eq!((listed.name.as_str(), listed.position, listed.events), ("x", 1, 2));
    assert!(listed.bytes > 0);
    log.forget("x").await.unwrap();
    assert!(log.status().absent.is_empty());
    assert!(LogView::open(dir.path()).unwrap().routes().unwrap().is_empty());
    assert_eq!(log.forget("x").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn options_that_would_deliver_nothing_or_never_wait_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    let backoff = |base, factor, cap| quick().backoff(Backoff { base, factor, cap });
    for options in [
        quick().batch(0),
        quick().batch_bytes(0),
        quick().ahead(0),
        backoff(SOON, 0.5, SOON),
        backoff(SOON, f64::NAN, SOON),
        backoff(Duration::ZERO, 1.0, SOON),
        backoff(SOON, 1.0, Duration::ZERO),
    ] {
        let error = log.attach("x", Told::new().sink(), options).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains("sink x"), "{error}");
    }
}

#[tokio::test]
async fn a_path_as_session_id_makes_no_file_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("log");
    let log = EventLog::open(&inner, Options::default()).await.unwrap();
    for session in ["../../x", "/etc/x", "a\0b"] {
        log.append(session, Packet::text("p")).await.unwrap();
    }
    log.close(SOON).await.unwrap();
    let outside: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(outside, ["log"]);
    let view = LogView::open(&inner).unwrap();
    let sessions: Vec<_> = view.sessions().unwrap().into_iter().map(|info| info.session).collect();
    assert_eq!(sessions, ["../../x", "/etc/x", "a\0b"]);
    let query = Query { session: Some("../../x".into()), ..Query::default() };
    let mut events = view.read(query).unwrap();
    assert_eq!(events.read().unwrap().unwrap().event.session, "../../x");
    assert!(events.read().unwrap().is_none());
}
