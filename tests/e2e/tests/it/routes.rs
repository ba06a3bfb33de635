//! Every key of `[[route]]` does what it says, and a route that is no more can be forgotten.

use std::fs;

use haul_core::{Error, ErrorKind, Level, Receipt};
use serde_json::Value;

use crate::program::{Gateway, LINES, Silent, TCP, command, haul, until};
use crate::settings::Place;

fn route(sink: &str, more: &str) -> String {
    format!("[[route]]\nname = 'it'\nsink = '{sink}'\n{more}\n")
}

/// The route's status once it is as asked.
fn sink(place: &Place, what: &str, enough: impl Fn(&Value) -> bool) -> Value {
    until(what, || {
        let sink = place.status()["log"]["sinks"][0].clone();
        enough(&sink).then_some(sink)
    })
}

fn caught_up(sink: &Value) -> bool {
    sink["lag"] == 0
}

/// How many deliveries thirty waiting events of four bytes need.
fn deliveries(keys: &str) -> u64 {
    let place = Place::new(LINES, "");
    let gateway = place.start(&[]);
    gateway.store(&["abcd"; 30]);
    gateway.stop();
    place.write(LINES, &route("null:", keys));
    let gateway = place.start(&[]);
    let sink = sink(&place, "the route to get all", caught_up);
    assert_eq!((&sink["name"], &sink["delivered"]), (&"it".into(), &30.into()));
    drop(gateway);
    sink["deliveries"].as_u64().unwrap()
}

#[test]
fn batch_batch_bytes_and_order_say_what_a_delivery_holds() {
    assert_eq!(deliveries("order = 'strict'"), 30, "one of a session");
    assert_eq!(deliveries("order = 'batch'"), 1);
    assert_eq!(deliveries("batch = 5"), 6);
    assert_eq!(deliveries("batch_bytes = 12"), 10);
}

#[test]
fn backoff_says_how_long_to_wait_between_tries() {
    // With the usual waits fifty tries take many minutes.
    for backoff in ["{ base = '1ms', factor = 1, cap = '1h' }", "{ base = '1h', factor = 1.5, cap = '1ms' }"]
    {
        let keys = format!("backoff = {backoff}");
        let place = Place::new(LINES, &route("tcp://127.0.0.1:1", &keys));
        let gateway = place.start(&[]);
        gateway.store(&["x"]);
        sink(&place, "fifty tries", |sink| sink["retries"].as_u64() >= Some(50));
        drop(gateway);
    }
}

/// A peer that fails the packet `bad` for an hour and takes all others.
async fn picky(listener: haul_core::Listener) {
    let mut connection = listener.accept().await.unwrap().unwrap();
    while let Ok(Some(delivery)) = connection.next().await {
        let (packet, ack) = delivery.split();
        let told = match packet.as_text() {
            Some("bad") => {
                let why = Error::new(ErrorKind::Overloaded, "later");
                ack.nack(why.with_retry_after(std::time::Duration::from_secs(3600))).await
            }
            _ => ack.ack(Receipt::new(Level::Stored, packet.id())).await,
        };
        // An error says that the gateway has gone.
        if told.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ahead_says_how_far_other_sessions_go_behind_one_that_waits() {
    let mut registry = haul_core::Registry::new();
    haul_tcp::register(&mut registry);
    let listener = registry.listen(haul_core::Endpoint::parse(TCP).unwrap()).await.unwrap();
    let url = listener.local_endpoint().to_string();
    tokio::spawn(picky(listener));
    tokio::task::spawn_blocking(move || {
        let place = Place::new(TCP, "");
        let gateway = place.start(&[]);
        let send = |session: &str, text: &str| {
            let session = format!("session_id={session}");
            haul(&["send", &gateway.urls[0], text, "--meta", &session, "--receipt=stored"]).code
        };
        assert_eq!(send("a", "bad"), Some(0));
        for number in 0..20 {
            assert_eq!(send(&format!("b{number}"), "good"), Some(0));
        }
        gateway.stop();
        place.write(TCP, &route(&url, "ahead = 8"));
        let gateway = place.start(&[]);
        sink(&place, "the others to go on", |sink| sink["delivered"] == 7);
        // A stop lets a route get all that it takes.
        let ended = gateway.stop();
        let stopped = ended.json().pop().unwrap();
        let sink = &stopped["sinks"][0];
        assert_eq!((&sink["delivered"], &sink["lag"]), (&7.into(), &14.into()), "{sink}");
    })
    .await
    .unwrap();
}

#[test]
fn filter_and_metadata_say_what_goes_and_how() {
    let place = Place::new(TCP, "");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out");
    let keys = "filter = { kind = 'order' }";
    place.write(TCP, &route(&format!("file:{}", file.display()), keys));
    let gateway = place.start(&[]);
    let send = |text: &str, kind: &str| {
        let sent = haul(&["send", &gateway.urls[0], text, "--meta", &format!("kind={kind}"), "--receipt"]);
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    };
    send("one", "order");
    send("two", "else");
    let filtered = sink(&place, "the route to see both", caught_up);
    assert_eq!((&filtered["filtered"], &filtered["delivered"]), (&1.into(), &1.into()), "{filtered}");
    drop(gateway);

    // A peer that speaks lines cannot be given metadata.
    for (metadata, expected) in [("", ("dead", "delivered")), ("metadata = false", ("delivered", "dead"))] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let lines = format!("tcp://{}?framing=lines", listener.local_addr().unwrap());
        let place = Place::new(TCP, &route(&lines, metadata));
        let gateway = place.start(&[]);
        let sent = haul(&["send", &gateway.urls[0], "x", "--meta", "a=1", "--receipt"]);
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
        let sink = sink(&place, "the route to settle it", caught_up);
        assert_eq!((&sink[expected.0], &sink[expected.1]), (&1.into(), &0.into()), "{metadata}: {sink}");
        drop(gateway);
    }
}

#[test]
fn layers_stand_around_the_sink() {
    let silent = Silent::listen();
    let keys = "layers = [{ type = 'timeout', after = '50ms' }]";
    let place = Place::new(LINES, &route(&silent.url, keys));
    let gateway = place.start(&[]);
    gateway.store(&["x"]);
    let stuck = sink(&place, "the delivery to take too long", |sink| !sink["stuck"].is_null());
    assert_eq!(stuck["stuck"]["kind"], "timeout", "{stuck}");
}

#[test]
fn flags_name_routes_with_or_without_a_name_and_bare() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let lines = format!("tcp://{}?framing=lines", listener.local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let sinks = ["--sink", "named=null:", "-s", &lines, "--bare"];
    let gateway = Gateway::start(dir.path(), &[TCP], &sinks);
    let sent = haul(&["send", &gateway.urls[0], "x", "--meta", "a=1", "--receipt"]);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let sinks = until("both to have it", || {
        let sinks = crate::program::status(dir.path())["log"]["sinks"].clone();
        sinks.as_array().unwrap().iter().all(caught_up).then_some(sinks)
    });
    let told: Vec<_> =
        sinks.as_array().unwrap().iter().map(|sink| (&sink["name"], &sink["delivered"])).collect();
    assert_eq!(told, [(&"named".into(), &1.into()), (&lines.as_str().into(), &1.into())]);
}

#[test]
fn a_route_that_is_no_more_is_named_at_the_start_and_can_be_forgotten() {
    let place = Place::new(LINES, &route("tcp://127.0.0.1:1", ""));
    let gateway = place.start(&[]);
    gateway.store(&["1", "2", "3"]);
    let data = place.data();
    let data = data.to_str().unwrap();
    let forget = || haul(&["log", "forget", "it", "--data", data, "--json"]);
    let refused = forget();
    assert!(
        refused.code == Some(1) && refused.stderr.contains("the gateway that runs"),
        "{}",
        refused.stderr
    );
    assert_eq!(haul(&["log", "routes", "--data", data, "--json"]).json()[0]["attached"], true);
    gateway.stop();
    let listed = haul(&["log", "routes", "--data", data]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.starts_with("it\t3 events behind\t") && listed.ends_with(" kept\n"), "{listed}");

    place.write(LINES, "");
    let config = place.config();
    let mut gateway = Gateway::spawn(command(&["serve", "--config", config.to_str().unwrap()]));
    gateway.listening_line();
    let listed = &haul(&["log", "routes", "--data", data, "--json"]).json()[0];
    assert_eq!((&listed["attached"], &listed["behind"]), (&false.into(), &3.into()), "{listed}");
    assert!(listed["bytes"].as_u64() > Some(0), "{listed}");
    let ended = gateway.stop();
    let warning = "warning: it is no route any more, and all that comes is kept for it (3 events so far); \
                   haul log forget it lets it go";
    assert!(ended.stderr.contains(warning), "{}", ended.stderr);

    // Without a gateway; over a gateway's socket the gateway's own tests do it.
    let forgotten = forget();
    assert_eq!(forgotten.code, Some(0), "{}", forgotten.stderr);
    assert_eq!((&forgotten.json()[0]["name"], &forgotten.json()[0]["events"]), (&"it".into(), &3.into()));
    assert_eq!(forget().code, Some(1));
    assert!(haul(&["log", "routes", "--data", data]).stdout.is_empty());
    assert!(fs::read_dir(place.data().join("events")).unwrap().count() > 0);
}
