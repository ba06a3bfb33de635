use std::time::Duration;

use haul_core::{CloseReason, Deliver, DeliverAll, ErrorKind, Level, Packet, State};
use haul_serve::Gateway;

use crate::support::{Lines, Rude, SOON, dial, options, registry, start, stored, within};

#[tokio::test]
async fn a_haul_peer_is_answered_stored_with_the_number_and_its_session_is_kept() {
    for url in ["tcp://127.0.0.1:0", "ws://127.0.0.1:0"] {
        let data = tempfile::tempdir().unwrap();
        let gateway = start(&data, &[url]).await;
        let client = dial(&gateway, "").await;
        let packets: Vec<_> =
            (0..100).map(|n| Packet::text(n.to_string()).with("session_id", "../../x")).collect();
        let receipts = within("the receipts", client.deliver_all(packets)).await.unwrap();
        for (number, receipt) in receipts.into_iter().enumerate() {
            let receipt = receipt.unwrap();
            let reference = (number + 1).to_string();
            assert_eq!((receipt.level, receipt.reference.as_deref()), (Level::Stored, Some(&*reference)));
        }
        let expected: Vec<_> = (0..100).map(|n| ("../../x".to_owned(), n.to_string())).collect();
        assert_eq!(stored(&data), expected);
        let status = gateway.status();
        assert_eq!((status.received, status.stored, status.in_flight), (100, 100, 0));
        assert!(status.log.syncs < 100, "{} syncs: they are not shared", status.log.syncs);
    }
}

#[tokio::test]
async fn a_stranger_on_lines_reads_a_json_receipt_for_each() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &["tcp://127.0.0.1:0?framing=lines&receipts=json&session=nc"]).await;
    let mut client = Lines::dial(&gateway).await;
    client.send("one\ntwo\n").await;
    for seq in [1, 2] {
        let receipt = client.json().await;
        assert_eq!((receipt["receipt"].as_str(), receipt["seq"].as_u64()), (Some("stored"), Some(seq)));
        assert_eq!(receipt["session"], "nc");
        assert!(receipt["at"].as_str().unwrap().ends_with('Z'), "{receipt}");
    }
    assert_eq!(stored(&data), [("nc".into(), "one".into()), ("nc".into(), "two".into())]);
}

#[tokio::test]
async fn a_stranger_on_websocket_asks_for_receipts_and_a_session_in_its_url() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &["ws://127.0.0.1:0"]).await;
    let mut client = dial(&gateway, "/in?receipts=json&session=a%2Fb&token=7#subprotocol=").await;
    client.send(Packet::text("x")).await.unwrap();
    let answer = within("a receipt", client.recv()).await.unwrap().unwrap();
    let receipt: serde_json::Value = answer.parse_json().unwrap();
    assert_eq!((receipt["receipt"].as_str(), receipt["session"].as_str()), (Some("stored"), Some("a/b")));
    let wrong = dial(&gateway, "/?receipts=xml#subprotocol=").await;
    let state = within("a close", wrong.watch().over()).await;
    assert_closed(&state, CloseReason::POLICY.code);
}

#[track_caller]
fn assert_closed(state: &State, code: u16) {
    assert!(format!("{state:?}").contains(&code.to_string()), "{state:?}");
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_to_those_who_ask_and_closes_those_who_do_not() {
    let data = tempfile::tempdir().unwrap();
    let mut options = options(&data, &["ws://127.0.0.1:0"]);
    options.log.max_packet = 10;
    let gateway = Gateway::start(options, registry()).await.unwrap();
    let large = || Packet::text("x".repeat(11));

    let haul = dial(&gateway, "").await;
    let error = within("a receipt", haul.deliver(large())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    haul.deliver(Packet::text("small")).await.unwrap();

    let mut json = dial(&gateway, "/?receipts=json#subprotocol=").await;
    json.send(large()).await.unwrap();
    let receipt: serde_json::Value =
        within("a receipt", json.recv()).await.unwrap().unwrap().parse_json().unwrap();
    assert_eq!((receipt["receipt"].as_str(), receipt["kind"].as_str()), (Some("refused"), Some("too_large")));
    assert_eq!(receipt["status"], "permanent");

    let deaf = dial(&gateway, "#subprotocol=").await;
    deaf.send(large()).await.unwrap();
    let state = within("a close", deaf.watch().over()).await;
    assert_closed(&state, CloseReason::TOO_LARGE.code);
    assert_eq!(gateway.status().refused, 3);
}

#[tokio::test]
async fn a_shutdown_stores_and_answers_what_was_read_and_closes_with_1001() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &["ws://127.0.0.1:0"]).await;
    let client = dial(&gateway, "").await;
    let first = client.deliver(Packet::text("first")).await.unwrap();
    assert_eq!(first.level, Level::Stored);
    let ended = within("the shutdown", gateway.shutdown(SOON)).await.unwrap();
    assert_eq!(ended.cut, 0);
    let state = within("a close", client.watch().over()).await;
    assert_closed(&state, CloseReason::GOING_AWAY.code);
    assert_eq!(stored(&data).len(), 1);
}

#[tokio::test]
async fn small_bounds_slow_a_client_down_and_lose_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mut options = options(&data, &["tcp://127.0.0.1:0"]);
    (options.window, options.in_flight) = (1, 100);
    let gateway = Gateway::start(options, registry()).await.unwrap();
    let client = dial(&gateway, "").await;
    let packets: Vec<_> = (0..200).map(|n| Packet::text(format!("{n:0200}"))).collect();
    let receipts = within("the receipts", client.deliver_all(packets)).await.unwrap();
    assert!(receipts.iter().all(Result::is_ok));
    assert_eq!(stored(&data).len(), 200);
}

#[tokio::test]
async fn a_second_gateway_on_the_folder_is_refused_with_the_process_of_the_first() {
    let data = tempfile::tempdir().unwrap();
    let _first = start(&data, &["tcp://127.0.0.1:0"]).await;
    let error = Gateway::start(options(&data, &["tcp://127.0.0.1:0"]), registry()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
}

#[tokio::test]
async fn a_connection_too_many_is_turned_away() {
    let data = tempfile::tempdir().unwrap();
    let mut options = options(&data, &["tcp://127.0.0.1:0?framing=lines&receipts=json"]);
    options.max_connections = Some(1);
    let gateway = Gateway::start(options, registry()).await.unwrap();
    let mut first = Lines::dial(&gateway).await;
    first.send("x\n").await;
    first.json().await;
    let mut second = Lines::dial(&gateway).await;
    assert_eq!(second.line().await, None);
    assert_eq!(gateway.status().listeners[0].refused, 1);
}

#[tokio::test]
async fn who_could_not_be_answered_is_closed_and_does_not_wait_for_ever() {
    let data = tempfile::tempdir().unwrap();
    let mut options = options(&data, &["tcp://127.0.0.1:0?framing=lines&receipts=json"]);
    options.max_packet = Some(20);
    let gateway = Gateway::start(options, registry()).await.unwrap();
    let mut client = Lines::dial(&gateway).await;
    client.send("x\n").await;
    assert_eq!(client.line().await, None);
}

const RECEIPTS: &str = "tcp://127.0.0.1:0?framing=lines&receipts=json&send_buffer=4KiB";

#[tokio::test]
async fn a_shutdown_cuts_who_does_not_go_and_says_how_many() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[RECEIPTS]).await;
    let _rude = Rude::dial(&gateway).await;
    let ended = within("the shutdown", gateway.shutdown(Duration::from_secs(1))).await.unwrap();
    assert_eq!(ended.cut, 1);
}

#[tokio::test]
async fn a_client_that_reads_no_receipts_holds_up_no_other() {
    let data = tempfile::tempdir().unwrap();
    let mut options = options(&data, &[RECEIPTS]);
    options.in_flight = 50_000;
    let gateway = Gateway::start(options, registry()).await.unwrap();
    let _rude = Rude::dial(&gateway).await;
    let free = async {
        while gateway.status().in_flight > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("all room in flight to be free again", free).await;
    let mut other = Lines::dial(&gateway).await;
    other.send("y\n").await;
    assert_eq!(other.json().await["receipt"], "stored");
}
