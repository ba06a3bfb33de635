//! What packets become, and what the server makes of them.

use haul_core::{Deliver, DeliverAll, Endpoint, ErrorKind, Level, Packet, PacketId, Sent, Sink, Status};
use haul_gcp_logging::{GcpLoggingConfig, GcpLoggingSink};
use haul_tls::{SelfSigned, ServerTls};
use serde_json::{Value, json};

use crate::double::Double;
use crate::sink_with;

#[tokio::test]
async fn an_entry_has_severity_labels_payload_and_is_known_by_id_and_its_time() {
    let server = Double::taking_all().await;
    let options = "severity={level|INFO}&resource=k8s_container&resource_labels=cluster_name:c;pod_name:p";
    let sink = sink_with(server.port, options).unwrap();
    // 2027-01-15T08:00:00.000Z in a UUID of version 7.
    let id: PacketId = "01a3185c-5000-7000-8000-000000000000".parse().unwrap();
    let packets = vec![
        Packet::text("hi").with("level", "warning").with("who", "a").with_id(id),
        Packet::binary(vec![0, 255]),
        Packet::text("old").with_id(PacketId::from_bytes([1; 16])),
    ];
    for outcome in sink.deliver_all(packets).await.unwrap() {
        assert_eq!(outcome.unwrap().level, Level::Stored);
    }
    let asked = server.asked();
    let [asked] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((asked.path.as_str(), asked.shown.as_str()), ("/v2/entries:write", "Bearer secret"));
    let body = asked.json();
    assert_eq!(body["logName"], "projects/p/logs/l");
    assert_eq!(body["partialSuccess"], true);
    let labels = json!({ "cluster_name": "c", "pod_name": "p" });
    assert_eq!(body["resource"], json!({ "type": "k8s_container", "labels": labels }));
    let want = [
        json!({ "severity": "WARNING", "insertId": id.to_string(), "timestamp": "2027-01-15T08:00:00Z",
            "labels": { "level": "warning", "who": "a" }, "textPayload": "hi" }),
        json!({ "severity": "INFO", "labels": { "haul.kind": "binary" }, "textPayload": "AP8=" }),
        json!({ "severity": "INFO", "insertId": PacketId::from_bytes([1; 16]).to_string(), "textPayload": "old" }),
    ];
    assert_eq!(asked.entries(), want);
}

#[tokio::test]
async fn json_objects_go_as_they_are_and_what_an_entry_cannot_carry_is_refused_alone() {
    let server = Double::taking_all().await;
    let sink = sink_with(server.port, "as=json&max_packet=1000").unwrap();
    let many = (0..65).fold(Packet::text("{}"), |packet, n| packet.with(format!("n{n}"), "v"));
    let packets = vec![
        Packet::text(r#"{"b": 1.50, "a": [null]}"#),
        Packet::text("[1]"),
        Packet::text("no json"),
        Packet::binary(b"{}".to_vec()),
        many,
        Packet::text("{}").with("haul.kind", "mine"),
        Packet::text("{}").with("", "nameless"),
        Packet::text("{}").with("severity", "loud"),
        Packet::text("x".repeat(1001)),
        Packet::text("{}").with("severity", "error"),
    ];
    let outcomes = sink.deliver_all(packets).await.unwrap();
    use ErrorKind::{Rejected, TooLarge, Unsupported};
    let unsupported = Some(Unsupported);
    let kinds: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(haul_core::Error::kind)).collect();
    let last = [unsupported, Some(Rejected), Some(TooLarge), None];
    let first = [None, unsupported, unsupported, unsupported, unsupported, unsupported];
    assert_eq!(kinds, [&first[..], &last].concat());
    assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(|why| why.sent() == Sent::No));
    let body = &server.asked()[0].body;
    assert!(body.contains(r#""jsonPayload":{"b": 1.50, "a": [null]}"#), "{body}");
}

#[tokio::test]
async fn an_entry_is_as_large_as_the_server_takes_it_whatever_max_packet_says() {
    let server = Double::taking_all().await;
    let sink = sink_with(server.port, "max_packet=1MiB").unwrap();
    let around = r#"{"severity":"DEFAULT","textPayload":""}"#.len();
    let most = "x".repeat((256 << 10) - around);
    let packets = vec![Packet::text(most.clone() + "x"), Packet::text(most.clone())];
    let outcomes = sink.deliver_all(packets).await.unwrap();
    let why = outcomes[0].as_ref().unwrap_err();
    let facts = (why.kind(), why.status(), why.sent());
    assert_eq!(facts, (ErrorKind::TooLarge, Status::Permanent, Sent::No), "{why}");
    assert!(outcomes[1].is_ok());
    assert_eq!(server.payloads(), [most]);
}

#[tokio::test]
async fn the_ca_that_is_named_is_trusted_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let ca = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.display().to_string()
    };
    let [right, wrong] = [(); 2].map(|()| SelfSigned::new(["127.0.0.1"]).unwrap());
    let tls = ServerTls::builder().identity_pem(&right.certificate_pem, &right.key_pem).build().unwrap();
    let server = Double::behind(tls).await;
    let sink = |ca: String| {
        let url = format!("gcp-logging://:t@p/l?endpoint=https://127.0.0.1:{}&ca={ca}", server.port);
        GcpLoggingSink::new(GcpLoggingConfig::from_endpoint(&Endpoint::parse(&url).unwrap()).unwrap())
            .unwrap()
    };
    sink(ca("right.pem", &right.certificate_pem)).deliver(Packet::text("x")).await.unwrap();
    let other = sink(ca("wrong.pem", &wrong.certificate_pem));
    let why = other.deliver(Packet::text("x")).await.unwrap_err();
    let facts = (why.kind(), why.status(), why.sent());
    assert_eq!(facts, (ErrorKind::Tls, Status::Permanent, Sent::No), "{why}");
    assert_eq!(server.payloads(), ["x"]);
}

fn packets(count: usize) -> Vec<Packet> {
    (0..count).map(|n| Packet::text(n.to_string())).collect()
}

#[tokio::test]
async fn requests_have_the_entries_and_bytes_they_may_have() {
    let server = Double::taking_all().await;
    let sink = sink_with(server.port, "").unwrap();
    let large = (0..50).map(|_| Packet::text("x".repeat(200_000))).collect();
    let outcomes = sink.deliver_all([packets(1001), large].concat()).await.unwrap();
    assert!(outcomes.iter().all(Result::is_ok));
    let counts: Vec<_> = server.asked().iter().map(|asked| asked.entries().len()).collect();
    assert_eq!(counts, [1000, 42, 9]);
    assert!(server.asked().iter().all(|asked| asked.body.len() < 10_000_000));
}

fn partial(errors: &Value) -> Value {
    let kind = "type.googleapis.com/google.logging.v2.WriteLogEntriesPartialErrors";
    json!({ "error": { "code": 400, "status": "INVALID_ARGUMENT", "message": "some",
        "details": [{ "@type": kind, "logEntryErrors": errors }] } })
}

#[tokio::test]
async fn entries_that_are_refused_fail_alone_and_nothing_is_tried_behind_a_failure_that_may_pass() {
    let answer =
        partial(&json!({ "1": { "code": 3, "message": "too old" }, "3": { "code": 7, "message": "no" } }));
    let server = Double::start(move |_| (400, answer.clone())).await;
    let outcomes = sink_with(server.port, "").unwrap().deliver_all(packets(5)).await.unwrap();
    let facts: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().map(|_| ()).map_err(|why| (why.kind(), why.status(), why.sent())))
        .collect();
    let refused = |kind| Err((kind, Status::Permanent, Sent::No));
    let want = [Ok(()), refused(ErrorKind::Rejected), Ok(()), refused(ErrorKind::Unauthorized), Ok(())];
    assert_eq!(facts, want);
    assert!(outcomes[1].as_ref().unwrap_err().to_string().contains("too old"));

    let answer = partial(&json!({ "0": { "code": 13, "message": "it stumbled" } }));
    let server = Double::start(move |_| (500, answer.clone())).await;
    let outcomes = sink_with(server.port, "").unwrap().deliver_all(packets(2)).await.unwrap();
    let why = outcomes[0].as_ref().unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Overloaded, Sent::Maybe), "{why}");
    assert!(outcomes[1].is_ok());

    let answer = partial(&json!({ "0": { "code": 8, "message": "slow down" } }));
    let server = Double::start(move |_| (400, answer.clone())).await;
    let outcomes = sink_with(server.port, "").unwrap().deliver_all(packets(1001)).await.unwrap();
    assert_eq!(outcomes[0].as_ref().unwrap_err().kind(), ErrorKind::RateLimited);
    assert!(outcomes[1..1000].iter().all(Result::is_ok));
    let behind = outcomes[1000].as_ref().unwrap_err();
    assert!(behind.to_string().contains("not tried"), "{behind}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_request_that_fails_is_classified_and_tried_once() {
    use Status::{Permanent, Transient};
    for (status, kind, passing, sent) in [
        (400, ErrorKind::Rejected, Permanent, Sent::No),
        (401, ErrorKind::Unauthorized, Permanent, Sent::No),
        (403, ErrorKind::Unauthorized, Permanent, Sent::No),
        (404, ErrorKind::NotFound, Permanent, Sent::No),
        (408, ErrorKind::Timeout, Transient, Sent::Maybe),
        (413, ErrorKind::TooLarge, Permanent, Sent::No),
        (429, ErrorKind::RateLimited, Transient, Sent::No),
        (500, ErrorKind::Overloaded, Transient, Sent::Maybe),
        (503, ErrorKind::Overloaded, Transient, Sent::No),
        (302, ErrorKind::Protocol, Transient, Sent::Maybe),
    ] {
        let said = json!({ "error": { "code": status, "message": "it says so" } });
        let server = Double::start(move |_| (status, said.clone())).await;
        let sink = sink_with(server.port, "").unwrap();
        let why = sink.deliver(Packet::text("x")).await.unwrap_err();
        assert_eq!((why.kind(), why.status(), why.sent()), (kind, passing, sent), "{status}: {why}");
        assert!(why.to_string().contains("it says so"), "{why}");
        assert_eq!(server.asked().len(), 1, "requests for {status}");
        assert_eq!(sink.ready().await.unwrap_err().kind(), kind);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_or_silent_is_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sink = sink_with(port, "timeout=300ms").unwrap();
    let why = sink.deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Timeout, Sent::Maybe), "{why}");
    drop(listener);
    let why = sink_with(port, "").unwrap().ready().await.unwrap_err();
    assert_eq!(
        (why.kind(), why.status(), why.sent()),
        (ErrorKind::Connect, Status::Transient, Sent::No),
        "{why}"
    );
}

#[test]
fn options_that_make_no_sense_are_refused_and_a_table_says_what_a_url_says() {
    let sink = |url: &str| GcpLoggingSink::new(GcpLoggingConfig::from_endpoint(&Endpoint::parse(url)?)?);
    for url in [
        "gcp-logging://p",
        "gcp-logging:///l",
        "gcp-logging://p/l?as=xml",
        "gcp-logging://p/l?timeout=0s",
        "gcp-logging://p/l?resource_labels=a",
        "gcp-logging://p/l?endpoint=http://192.0.2.1",
        "gcp-logging://p/l?endpoint=ftp://127.0.0.1",
        "gcp-logging://p/l?credentials=/nowhere/key.json",
        "gcp-logging://:t@p/l?credentials=/nowhere/key.json",
        "gcp-logging://:t@p/l?ca=/nowhere/ca.pem",
    ] {
        assert_eq!(sink(url).unwrap_err().kind(), ErrorKind::Config, "{url}");
    }
    let url = "gcp-logging://:secret@p/a/b?severity={level|INFO}&resource_labels=a:1&as=json&max_packet=1KiB";
    let table = r#"
        project = "p"
        log = "a/b"
        severity = "{level|INFO}"
        resource_labels = [["a", "1"]]
        as = "json"
        max_packet = "1KiB"
        token = "secret"
    "#;
    let config = GcpLoggingConfig::from_endpoint(&Endpoint::parse(url).unwrap()).unwrap();
    assert_eq!(config, toml::from_str(table).unwrap());
    assert!(!format!("{config:?}").contains("secret"), "{config:?}");
}
