//! What packets become in streams, and what is asked of the server.

use std::sync::atomic::{AtomicUsize, Ordering};

use haul_cloudwatch::{CloudwatchConfig, CloudwatchSink};
use haul_core::{Deliver, DeliverAll, Endpoint, ErrorKind, Level, Packet, PacketId, Sent, Sink, Status};
use serde_json::{Value, json};

use crate::double::Double;
use crate::support::{Moto, endpoint, sink};

#[tokio::test]
async fn another_client_reads_envelopes_and_payloads_in_streams_that_were_made_for_them() {
    let Some(moto) = Moto::start() else { return };
    let id = PacketId::from_bytes([7; 16]);
    let packet = |host: &str| Packet::text("{\"a\":1}").with("host", host.to_owned()).with_id(id);
    let all = sink(moto.port, "my/group", "stream=on-{host}&create=true");
    let outcomes = all.deliver_all(vec![packet("a"), packet("b"), packet("a")]).await.unwrap();
    for outcome in outcomes {
        let receipt = outcome.unwrap();
        assert_eq!((receipt.level, receipt.id), (Level::Stored, Some(id)));
    }
    for (stream, host, count) in [("on-a", "a", 2), ("on-b", "b", 1)] {
        let events = moto.read_all("my/group", stream).await;
        assert_eq!(events.len(), count, "{stream}");
        let envelope: Value = serde_json::from_str(&events[0].message).unwrap();
        let want = json!({ "id": id.to_string(), "metadata": { "host": host }, "payload": "{\"a\":1}" });
        assert_eq!(envelope, want);
    }
    let plain = sink(moto.port, "/slash/group", "as=payload&create=true");
    plain.deliver(Packet::text("alone")).await.unwrap();
    assert_eq!(moto.read_all("/slash/group", "haul").await[0].message, "alone");
}

#[tokio::test]
async fn events_are_where_their_time_is_and_those_of_one_moment_stay_in_order() {
    let Some(moto) = Moto::start() else { return };
    let sink = sink(moto.port, "g", "time={at}&create=true&as=envelope");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let day = 86_400_000;
    let at = |text: &str, time: i64| Packet::text(text.to_owned()).with("at", time.to_string());
    let batch = vec![
        at("2", now - 2 * day),
        at("1", now - 5 * day),
        at("old", now - 15 * day),
        at("5", now),
        at("3", now - day),
        at("4", now - day),
        at("new", now + day),
    ];
    let outcomes = sink.deliver_all(batch).await.unwrap();
    let kinds: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(haul_core::Error::kind)).collect();
    let refused = Some(ErrorKind::Rejected);
    assert_eq!(kinds, [None, None, refused, None, None, None, refused]);
    let events = moto.read_all("g", "haul").await;
    let payloads: Vec<_> = events.iter().map(|event| event.payload()).collect();
    assert_eq!(payloads, ["1", "2", "3", "4", "5"]);
    assert_eq!(events[0].time, now - 5 * day);
}

#[tokio::test]
async fn a_group_that_is_missing_is_not_found_unless_it_may_be_made() {
    let Some(moto) = Moto::start() else { return };
    let missing = sink(moto.port, "g", "");
    for why in [missing.ready().await.unwrap_err(), missing.deliver(Packet::text("x")).await.unwrap_err()] {
        let facts = (why.kind(), why.status(), why.sent());
        assert_eq!(facts, (ErrorKind::NotFound, Status::Permanent, Sent::No), "{why}");
        assert!(why.to_string().contains("cloudwatch g"), "{why}");
    }
    sink(moto.port, "g", "create=true").ready().await.unwrap();
    missing.ready().await.unwrap();
    // The stream is missing still.
    assert_eq!(missing.deliver(Packet::text("x")).await.unwrap_err().kind(), ErrorKind::NotFound);
    sink(moto.port, "g", "create=true").deliver(Packet::text("x")).await.unwrap();
    missing.deliver(Packet::text("x")).await.unwrap();
}

#[tokio::test]
async fn what_was_made_a_moment_ago_and_is_not_known_yet_is_tried_again_later() {
    let missing = (400, json!({ "__type": "ResourceNotFoundException", "message": "no such stream" }));
    let answers = AtomicUsize::new(0);
    let server = Double::start(move |operation, _| match operation {
        // Before it is made, just after, and when all know of it.
        "PutLogEvents" if answers.fetch_add(1, Ordering::Relaxed) < 2 => missing.clone(),
        _ => (200, json!({})),
    })
    .await;
    let sink = sink(server.port, "g", "create=true");
    let why = sink.deliver(Packet::text("x")).await.unwrap_err();
    let facts = (why.kind(), why.status(), why.sent());
    assert_eq!(facts, (ErrorKind::NotFound, Status::Transient, Sent::No), "{why}");
    sink.deliver(Packet::text("x")).await.unwrap();
    let asked: Vec<_> = server.asked().into_iter().map(|(operation, _)| operation).collect();
    assert_eq!(asked, ["PutLogEvents", "CreateLogStream", "PutLogEvents", "PutLogEvents"]);
}

fn texts(body: &Value) -> Vec<&str> {
    let events = body["logEvents"].as_array().unwrap();
    events.iter().map(|event| event["message"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn events_that_the_server_refuses_fail_alone() {
    let server = Double::start(|_, _| {
        let rejected = json!({ "tooOldLogEventEndIndex": 2, "tooNewLogEventStartIndex": 5 });
        (200, json!({ "rejectedLogEventsInfo": rejected }))
    })
    .await;
    let packets: Vec<_> = (0..7).map(|n| Packet::text(n.to_string())).collect();
    let outcomes = sink(server.port, "g", "as=payload").deliver_all(packets.clone()).await.unwrap();
    let refused: Vec<_> = outcomes.iter().map(Result::is_err).collect();
    assert_eq!(refused, [true, true, false, false, false, true, true]);
    for why in outcomes.into_iter().filter_map(Result::err) {
        let facts = (why.kind(), why.status(), why.sent());
        assert_eq!(facts, (ErrorKind::Rejected, Status::Permanent, Sent::No), "{why}");
    }
    let server =
        Double::start(|_, _| (200, json!({ "rejectedLogEventsInfo": { "expiredLogEventEndIndex": 1 } })))
            .await;
    let outcomes = sink(server.port, "g", "as=payload").deliver_all(packets).await.unwrap();
    let refused: Vec<_> = outcomes.iter().map(Result::is_err).collect();
    assert_eq!(refused, [true, true, false, false, false, false, false]);
}

#[tokio::test]
async fn behind_a_failure_that_may_pass_nothing_is_tried_in_its_stream_and_other_streams_go_on() {
    let refusal = json!({ "__type": "ThrottlingException", "message": "slow down" });
    let server = Double::start(move |_, body| match body["logStreamName"].as_str() {
        Some("bad") => (400, refusal.clone()),
        _ => (200, json!({})),
    })
    .await;
    // Three requests each, by their size.
    let packets: Vec<_> = (0..6)
        .map(|n| {
            let stream = if n % 2 == 0 { "bad" } else { "good" };
            Packet::text("x".repeat(1_000_000)).with("to", stream)
        })
        .collect();
    let outcomes = sink(server.port, "g", "stream={to}").deliver_all(packets).await.unwrap();
    for (n, outcome) in outcomes.iter().enumerate() {
        match (n % 2, outcome) {
            (0, Err(why)) => {
                let facts = (why.kind(), why.status(), why.sent());
                assert_eq!(facts, (ErrorKind::RateLimited, Status::Transient, Sent::No), "{why}");
                assert_eq!(why.to_string().contains("not tried"), n > 0, "{why}");
            }
            (1, Ok(_)) => {}
            _ => panic!("packet {n}: {outcome:?}"),
        }
    }
    let asked = server.asked();
    let to = |stream| asked.iter().filter(|(_, body)| body["logStreamName"] == stream).count();
    assert_eq!((to("bad"), to("good")), (1, 3));
    assert!(
        asked
            .iter()
            .all(|(_, body)| texts(body).iter().map(|text| text.len() + 26).sum::<usize>() <= 1_048_576)
    );
}

#[tokio::test]
async fn a_request_that_fails_is_classified_and_tried_once() {
    use Status::{Permanent, Transient};
    let said = |status: u16, code: &str| (status, json!({ "__type": code, "message": "it says so" }));
    for (answer, kind, status, sent) in [
        (said(400, "ThrottlingException"), ErrorKind::RateLimited, Transient, Sent::No),
        (said(400, "UnrecognizedClientException"), ErrorKind::Unauthorized, Permanent, Sent::No),
        (said(403, "Whatever"), ErrorKind::Unauthorized, Permanent, Sent::No),
        (said(400, "ResourceNotFoundException"), ErrorKind::NotFound, Permanent, Sent::No),
        (said(400, "InvalidParameterException"), ErrorKind::Rejected, Permanent, Sent::No),
        (said(503, "ServiceUnavailableException"), ErrorKind::Overloaded, Transient, Sent::No),
        (said(500, "InternalFailure"), ErrorKind::Overloaded, Transient, Sent::Maybe),
        ((200, json!("what?")), ErrorKind::Protocol, Transient, Sent::Maybe),
    ] {
        let server = Double::start({
            let answer = answer.clone();
            move |_, _| answer.clone()
        })
        .await;
        let why = sink(server.port, "g", "").deliver(Packet::text("x")).await.unwrap_err();
        assert_eq!((why.kind(), why.status(), why.sent()), (kind, status, sent), "{answer:?}: {why}");
        assert_eq!(server.asked().len(), 1, "requests for {answer:?}");
    }
}

#[tokio::test]
async fn names_that_no_stream_has_are_refused_for_their_packets_alone() {
    let server = Double::start(|_, _| (200, json!({}))).await;
    let to = |stream: String| Packet::text("x").with("to", stream);
    let names = ["good".to_owned(), String::new(), "a:b".to_owned(), "a*".to_owned(), "n".repeat(513)];
    let outcomes = sink(server.port, "g", "stream={to}").deliver_all(names.map(to).to_vec()).await.unwrap();
    let kinds: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(haul_core::Error::kind)).collect();
    let refused = Some(ErrorKind::Rejected);
    assert_eq!(kinds, [None, refused, refused, refused, refused]);
}

#[test]
fn options_that_make_no_sense_are_refused_and_a_table_says_what_a_url_says() {
    let sink = |url: &str| CloudwatchSink::new(CloudwatchConfig::from_endpoint(&Endpoint::parse(url)?)?);
    for url in [
        "cloudwatch://r",
        "cloudwatch://r/",
        "cloudwatch://r/g?streams=0",
        "cloudwatch://r/g?as=xml",
        "cloudwatch://r/g?stream={",
        "cloudwatch://key@r/g",
        "cloudwatch://r/g?endpoint=http://192.0.2.1:1",
    ] {
        assert_eq!(sink(url).unwrap_err().kind(), ErrorKind::Config, "{url}");
    }
    let url = endpoint(5000, "/aws/app", "stream={host}&create=true&as=payload&time={/at}");
    let table = r#"
        group = "/aws/app"
        stream = "{host}"
        create = true
        as = "payload"
        time = "{/at}"
        [account]
        region = "us-east-1"
        access_key = "key"
        secret_key = "secret"
        endpoint = "http://127.0.0.1:5000"
    "#;
    assert_eq!(CloudwatchConfig::from_endpoint(&url).unwrap(), toml::from_str(table).unwrap());
}
