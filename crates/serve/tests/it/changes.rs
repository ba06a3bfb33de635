use haul_core::{Deliver, Error, ErrorKind, Packet, State};
use haul_event_log::{Filter, SinkOptions};
use haul_serve::{Gateway, Route};

use crate::support::{Kept, SOON, dial, options, registry, within};

const TCP: &str = "tcp://127.0.0.1:0";
const WS: &str = "ws://127.0.0.1:0";

#[tokio::test]
async fn packets_go_on_to_a_route_that_wants_them_and_a_shutdown_lets_it_get_them() {
    let data = tempfile::tempdir().unwrap();
    let kept = Kept::new();
    let wants = SinkOptions::default().filter(Filter::new().with("type", "a").unwrap());
    let options = options(&data, &[TCP]).route(kept.route("1").options(wants));
    let gateway = Gateway::start(options, registry()).await.unwrap();
    let client = dial(&gateway, "").await;
    for kind in ["a", "b", "a"] {
        client.deliver(Packet::text(kind).with("type", kind)).await.unwrap();
    }
    let ended = within("the shutdown", gateway.shutdown(SOON)).await.unwrap();
    assert_eq!((ended.sinks[0].0.lag, ended.sinks[0].0.filtered), (0, 1));
    kept.has(&["a", "a"]).await;
}

#[tokio::test]
async fn a_reload_replaces_what_changed_and_leaves_the_rest_alone() {
    let data = tempfile::tempdir().unwrap();
    let (first, second) = (Kept::new(), Kept::new());
    let begin = options(&data, &[TCP, WS]).route(first.route("1"));
    let gateway = Gateway::start(begin, registry()).await.unwrap();
    let stays = dial(&gateway, "").await;
    let ws = gateway.local_endpoints()[1].clone();
    let goes = registry().connect(ws).await.unwrap();
    stays.deliver(Packet::text("1")).await.unwrap();
    first.has(&["1"]).await;

    let mut change = options(&data, &[TCP, "tcp://127.0.0.1:0?framing=lines"]).route(second.route("2"));
    change.window = 7;
    let reloaded = within("the reload", gateway.reload(change.clone())).await.unwrap();
    assert_eq!(reloaded.listening, ["tcp://127.0.0.1:0?framing=lines"]);
    assert_eq!((reloaded.closed, reloaded.routed), (vec![WS.to_owned()], vec!["kept".to_owned()]));
    assert_eq!((reloaded.unrouted.len(), reloaded.needs_restart), (0, vec!["window"]));

    let state = within("a close", goes.watch().over()).await;
    assert!(matches!(&state, State::Disconnected { reason: Some(why) } if why.code == 1001), "{state:?}");
    stays.deliver(Packet::text("2")).await.unwrap();
    second.has(&["2"]).await;
    first.has(&["1"]).await;

    // Without the route, then with it: nothing in between is missed.
    change.routes.clear();
    assert_eq!(gateway.reload(change.clone()).await.unwrap().unrouted, ["kept"]);
    assert!(gateway.status().routes.is_empty());
    stays.deliver(Packet::text("3")).await.unwrap();
    assert_eq!(gateway.status().log.absent[0].name, "kept");
    gateway.reload(change.route(second.route("3"))).await.unwrap();
    second.has(&["2", "3"]).await;
}

#[tokio::test]
async fn the_same_port_can_change_its_options() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(options(&data, &[TCP]), registry()).await.unwrap();
    let port = gateway.local_endpoints()[0].port().unwrap();
    let (plain, lines) = (format!("tcp://127.0.0.1:{port}"), format!("tcp://127.0.0.1:{port}?framing=lines"));
    gateway.reload(options(&data, &[&plain])).await.unwrap();
    gateway.reload(options(&data, &[&lines])).await.unwrap();
    assert_eq!(gateway.local_endpoints()[0].as_str(), lines);
}

#[tokio::test]
async fn a_reload_that_cannot_be_leaves_everything_as_it_was() {
    let data = tempfile::tempdir().unwrap();
    let kept = Kept::new();
    let begin = options(&data, &[TCP]).route(kept.route("1"));
    let gateway = Gateway::start(begin.clone(), registry()).await.unwrap();
    let client = dial(&gateway, "").await;

    let elsewhere = tempfile::tempdir().unwrap();
    let moved = gateway.reload(options(&elsewhere, &[TCP])).await.unwrap_err();
    assert_eq!(moved.kind(), ErrorKind::Config);
    let twice = begin.clone().route(kept.route("2"));
    assert!(gateway.reload(twice).await.unwrap_err().to_string().contains("two routes named kept"));
    let broken =
        Route::new("broken", "", |_| std::future::ready(Err(Error::new(ErrorKind::Config, "no such thing"))));
    let error = gateway.reload(begin.clone().route(broken)).await.unwrap_err();
    assert_eq!(error.to_string(), "open route broken: no such thing");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", taken.local_addr().unwrap());
    let mut other = begin.clone();
    other.listen = vec![url];
    within("the reload", gateway.reload(other)).await.unwrap_err();
    assert_eq!(gateway.status().listeners.len(), 1);

    client.deliver(Packet::text("1")).await.unwrap_err();
    dial(&gateway, "").await.deliver(Packet::text("2")).await.unwrap();
    kept.has(&["2"]).await;
}
