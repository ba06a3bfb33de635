use haul_core::{Connection, Deliver, Packet};
use haul_serve::{Gateway, tap_endpoint};

use crate::support::{Kept, dial, options, registry, start, within};

async fn control(data: &tempfile::TempDir, request: &str) -> Connection {
    let endpoint = tap_endpoint(data.path()).unwrap();
    let connection = registry().connect(endpoint).await.unwrap();
    connection.send(Packet::text(request)).await.unwrap();
    connection
}

#[tokio::test]
async fn a_tap_sees_what_is_stored_with_where_it_came_from() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &["tcp://127.0.0.1:0"]).await;
    let mut tap = control(&data, r#"{"do":"tap","session":"a"}"#).await;
    let open = within("the tap", tap.recv()).await.unwrap().unwrap();
    assert_eq!(open.metadata().get("haul.tap"), Some("open"));
    let client = dial(&gateway, "").await;
    for session in ["b", "a"] {
        client.deliver(Packet::text(session).with("session_id", session)).await.unwrap();
    }
    let seen = within("a packet", tap.recv()).await.unwrap().unwrap();
    let of = |name: &str| seen.metadata().get(name).unwrap().to_owned();
    assert_eq!((seen.as_text(), of("haul.seq"), of("haul.session")), (Some("a"), "2".into(), "a".into()));
    assert_eq!((of("haul.protocol"), of("haul.peer")), ("tcp".into(), client.info().local.clone()));
}

#[tokio::test]
async fn the_status_comes_over_the_same_socket_and_nonsense_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &["tcp://127.0.0.1:0"]).await;
    dial(&gateway, "").await.deliver(Packet::text("x")).await.unwrap();
    let mut status = control(&data, r#"{"do":"status"}"#).await;
    let status: serde_json::Value =
        within("a status", status.recv()).await.unwrap().unwrap().parse_json().unwrap();
    assert_eq!((status["stored"].as_u64(), status["log"]["next"].as_u64()), (Some(1), Some(2)));
    assert_eq!(status["pid"], std::process::id());
    let mut nonsense = control(&data, r#"{"do":"dance"}"#).await;
    let end = format!("{:?}", within("a close", nonsense.recv()).await);
    assert!(end.contains("1008") && end.contains("dance"), "{end}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_socket_is_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[]).await;
    let mode = gateway.control().unwrap().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_route_that_is_no_more_is_forgotten_over_the_socket_and_one_that_is_not() {
    let data = tempfile::tempdir().unwrap();
    let kept = Kept::new();
    let gateway = Gateway::start(options(&data, &[]).route(kept.route("1")), registry()).await.unwrap();
    let answer = async |gateway_has: &str| {
        let mut control = control(&data, r#"{"do":"forget","route":"kept"}"#).await;
        let answer = within(gateway_has, control.recv()).await.unwrap().unwrap();
        answer.parse_json::<serde_json::Value>().unwrap()
    };
    assert_eq!(answer("a refusal").await["kind"], "config");
    gateway.reload(options(&data, &[])).await.unwrap();
    assert_eq!(answer("an answer").await["forgot"], "kept");
    assert!(gateway.status().log.absent.is_empty());
    assert_eq!(answer("another refusal").await["kind"], "not_found");
}
