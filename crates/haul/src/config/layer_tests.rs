use std::path::Path;

use haul_core::{Batch, Deliver, DeliverAll, ErrorKind, Level, Packet, Sink};
use haul_event_log::{LayerStatus, Panel};

use crate::config::{Config, Layer, Profile};

/// A route to `sink` with `layers`, read from a file and opened.
async fn open(sink: &str, layers: &str) -> haul_core::Result<haul_core::AnySink> {
    open_on(&Panel::default(), sink, layers).await
}

/// The same, shown on `panel`.
async fn open_on(panel: &Panel, sink: &str, layers: &str) -> haul_core::Result<haul_core::AnySink> {
    let file = format!("[[route]]\nname = 'a'\nsink = '{sink}'\nlayers = [{layers}]\n");
    let nothing = std::iter::empty::<(&str, &str)>().collect();
    let config = Config::parse(&file, "haul.toml", Some(Profile::Dev), &nothing)?;
    config.routes[0].open(&crate::registry(), panel).await
}

async fn refused(layers: &str) -> String {
    let error = open("file:never-written", layers).await.expect_err("it should be refused");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    error.to_string()
}

fn url(folder: &Path, name: &str) -> String {
    format!("file:{}", folder.join(name).display())
}

/// The payloads in a file of events.
fn stored(folder: &Path, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let payload = |line: &str| line.split("\"payload\":\"").nth(1)?.split('"').next().map(str::to_owned);
    text.lines().map(|line| payload(line).expect("a line with a payload")).collect()
}

/// Where nobody listens.
const DOWN: &str = "tcp://127.0.0.1:1?framing=lines";

#[tokio::test]
async fn each_layer_takes_its_options_and_delivers() {
    let folder = tempfile::tempdir().unwrap();
    let all = [
        "{ type = 'batch', count = 5, bytes = '1KiB', after = '1ms', in_flight = 2, waiting = 9 }",
        "{ type = 'breaker', consecutive = 3, failure_rate = 0.2, open = '1s', on = ['timeout'] }",
        "{ type = 'dedupe', window = 10 }",
        "{ type = 'limit', rate = 100, per = '1s', burst = 50, concurrency = 4, adaptive = true, when_full = 'wait' }",
        "{ type = 'queue', concurrency = 2, capacity = 9, overflow = 'wait', ageing = '1s', attempts = 2 }",
        "{ type = 'trace', service = 'file' }, { type = 'retry' }, { type = 'breaker' }, { type = 'timeout' }",
    ];
    for (number, layers) in all.into_iter().enumerate() {
        let name = number.to_string();
        let sink = open(&url(folder.path(), &name), layers).await.unwrap();
        sink.ready().await.unwrap();
        let batch: Vec<_> = ["a", "b"].map(Packet::text).into();
        assert!(sink.deliver_all(batch).await.unwrap().iter().all(Result::is_ok), "{layers}");
        assert_eq!(sink.deliver(Packet::text("c")).await.unwrap().level, Level::Stored, "{layers}");
        sink.close().await.unwrap();
        assert_eq!(stored(folder.path(), &name), ["a", "b", "c"], "{layers}");
        let late = sink.deliver(Packet::text("late")).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Closed, "{layers}");
    }
}

#[tokio::test]
async fn an_outbox_has_packets_on_disk_while_the_sink_is_away_and_delivers_them_later() {
    let folder = tempfile::tempdir().unwrap();
    let layers = format!(
        "{{ type = 'outbox', dir = '{}', key = '{{user|}}', delivery = {{ parallel = 2, backoff = {{ base = '1ms' }} }} }}",
        folder.path().join("outbox").display()
    );
    let away = open(DOWN, &layers).await.unwrap();
    assert_eq!(away.deliver(Packet::text("a")).await.unwrap().level, Level::Stored);
    away.close().await.unwrap();
    let sink = open(&url(folder.path(), "out"), &layers).await.unwrap();
    sink.deliver(Packet::text("b")).await.unwrap();
    sink.close().await.unwrap();
    assert_eq!(stored(folder.path(), "out"), ["a", "b"]);
}

#[tokio::test]
async fn layers_over_several_sinks_open_and_close_them_all() {
    let folder = tempfile::tempdir().unwrap();
    let second = url(folder.path(), "second");
    let layers = |kind: &str| format!("{{ type = '{kind}', sinks = ['{second}'] }}");
    let sink = open(DOWN, &layers("fallback")).await.unwrap();
    sink.ready().await.unwrap();
    sink.deliver(Packet::text("fell back")).await.unwrap();
    sink.close().await.unwrap();
    assert_eq!(sink.deliver(Packet::text("late")).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(stored(folder.path(), "second"), ["fell back"]);

    let sink = open(&url(folder.path(), "first"), &layers("fanout")).await.unwrap();
    sink.deliver(Packet::text("both")).await.unwrap();
    sink.close().await.unwrap();
    let balanced = open(&url(folder.path(), "first"), &layers("balance")).await.unwrap();
    for text in ["x", "y"] {
        balanced.deliver(Packet::text(text)).await.unwrap();
    }
    balanced.close().await.unwrap();
    let mut all = [stored(folder.path(), "first"), stored(folder.path(), "second")].concat();
    all.sort();
    assert_eq!(all, ["both", "both", "fell back", "x", "y"]);
    assert_eq!(stored(folder.path(), "first").len(), 2, "each sink had its turn");
}

#[tokio::test]
async fn what_layers_and_receivers_know_is_shown_the_outermost_layer_first() {
    let folder = tempfile::tempdir().unwrap();
    let second = url(folder.path(), "second");
    let layers = format!(
        "{{ type = 'queue' }}, {{ type = 'timeout' }}, {{ type = 'limit', concurrency = 4 }},
         {{ type = 'fallback', sinks = ['{second}'], probe = '1h' }}, {{ type = 'breaker', consecutive = 1, open = '1h' }}"
    );
    let panel = Panel::default();
    let sink = open_on(&panel, DOWN, &layers).await.unwrap();
    let fallback = |active, url: &str| LayerStatus::Fallback { active, url: url.to_owned() };
    let (queue, limit) = (LayerStatus::Queue { waiting: 0 }, LayerStatus::Limit { allowed: 4 });
    let breaker = |state| LayerStatus::Breaker { state };
    let expected = [queue.clone(), limit.clone(), fallback(0, DOWN), breaker("closed")];
    assert_eq!(panel.status().layers, expected);
    sink.deliver(Packet::text("a")).await.unwrap();
    assert_eq!(panel.status().layers, [queue, limit, fallback(1, &second), breaker("open")]);
    let receivers: Vec<_> =
        panel.status().receivers.into_iter().map(|at| (at.url, at.accepted, at.failed)).collect();
    assert_eq!(receivers, [(DOWN.to_owned(), 0, 1), (second, 1, 0)]);
}

#[tokio::test]
async fn a_balance_shows_whom_it_passes_over() {
    let folder = tempfile::tempdir().unwrap();
    let first = url(folder.path(), "first");
    let panel = Panel::default();
    let balance = format!("{{ type = 'balance', sinks = ['{DOWN}'], eject = 1, readmit = '1h' }}");
    let sink = open_on(&panel, &first, &balance).await.unwrap();
    for text in ["a", "b", "c"] {
        sink.deliver(Packet::text(text)).await.unwrap();
    }
    let passed_over = vec![DOWN.to_owned()];
    assert_eq!(panel.status().layers, [LayerStatus::Balance { members: 2, passed_over }]);
}

#[tokio::test]
async fn an_outbox_shows_what_is_left_of_before_though_no_packet_comes() {
    let folder = tempfile::tempdir().unwrap();
    let outbox =
        format!("{{ type = 'outbox', dir = '{}', drain = '1ms' }}", folder.path().join("outbox").display());
    let before = open(DOWN, &outbox).await.unwrap();
    before.deliver(Packet::text("a")).await.unwrap();
    before.close().await.unwrap();

    let panel = Panel::default();
    let sink = open_on(&panel, DOWN, &outbox).await.unwrap();
    let shown = async {
        while panel.status().layers.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, shown).await.expect("waited 60 s for the outbox to show itself");
    let layers = panel.status().layers;
    assert!(
        matches!(layers[..], [LayerStatus::Outbox { pending: 1, delivered: 0, dead: 0, .. }]),
        "{layers:?}"
    );
    sink.close().await.unwrap();
}

#[tokio::test]
async fn a_balance_gives_each_sink_its_weight_the_routes_own_first() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (url(folder.path(), "first"), url(folder.path(), "second"));
    let sink = open(&first, &format!("{{ type = 'balance', sinks = ['{second}'], weights = [3, 1] }}"))
        .await
        .unwrap();
    for number in 0..8 {
        sink.deliver(Packet::text(number.to_string())).await.unwrap();
    }
    sink.close().await.unwrap();
    assert_eq!((stored(folder.path(), "first").len(), stored(folder.path(), "second").len()), (6, 2));
}

#[tokio::test]
async fn a_queue_lets_what_its_rules_say_go_first_and_tries_it_as_often() {
    let file = "[[route]]\nname = 'a'\nsink = 'null:'\nlayers = [{ type = 'queue', priority = 1, rules = [\n\
        { filter = { level = 'error' }, priority = 9, attempts = 5 },\n\
        { filter = { '/kind' = ['bulk', 'copy'] }, priority = 0 } ] }]";
    let nothing = std::iter::empty::<(&str, &str)>().collect();
    let config = Config::parse(file, "haul.toml", Some(Profile::Dev), &nothing).unwrap();
    let Layer::Queue(queue) = &config.routes[0].layers[0] else { panic!("{config:?}") };
    let of = |packets: &[Packet]| {
        let policy = queue.policy(&Batch::new(packets.to_vec()));
        (policy.priority, policy.attempts)
    };
    let (error, bulk) = (Packet::text("x").with("level", "error"), Packet::text(r#"{"kind":"bulk"}"#));
    assert_eq!(of(&[Packet::text("x")]), (1, 1), "the rest is as the queue says");
    assert_eq!(of(std::slice::from_ref(&error)), (9, 5));
    assert_eq!(of(std::slice::from_ref(&bulk)), (0, 1));
    assert_eq!(of(&[bulk, error]), (9, 5), "a delivery is as urgent as its most urgent packet");
    assert_eq!(config.routes[0].around(), ["queue by rules"]);
}

#[tokio::test]
async fn the_layer_of_a_queue_goes_by_its_rules() {
    let tries = |packet: Packet| async {
        let panel = Panel::default();
        let layers = "{ type = 'queue', base = '1ms', rules = [{ filter = { a = '1' }, attempts = 3 }] }";
        let sink = open_on(&panel, DOWN, layers).await.unwrap();
        sink.deliver(packet).await.unwrap_err();
        panel.status().receivers[0].failed
    };
    assert_eq!(tries(Packet::text("x")).await, 1);
    assert_eq!(tries(Packet::text("x").with("a", "1")).await, 3);
}

#[tokio::test]
async fn what_is_wrong_with_a_layer_is_named_with_the_nearest_that_is_known() {
    for (layers, words) in [
        ("{ type = 'braker' }", "did you mean breaker?"),
        ("{ type = 'batch', cout = 1 }", "did you mean count?"),
        ("{ type = 'limit', rate = 1, whenfull = 'wait' }", "did you mean when_full?"),
        ("{ type = 'queue', overflow = 'refuze' }", "did you mean refuse?"),
        ("{ type = 'breaker', on = ['conect'] }", "did you mean connect?"),
        ("{ type = 'fallback', sink = ['null:'] }", "did you mean sinks?"),
        ("{ type = 'fanout', sinks = ['null:'], needs = 'all' }", "did you mean need?"),
        ("{ type = 'balance', sinks = ['null:'], by = 'latence' }", "did you mean latency?"),
        ("{ type = 'fallback' }", "missing field `sinks`"),
        ("{ type = 'fallback', sinks = 'null:' }", "sinks: "),
        ("{ type = 'fallback', sinks = [] }", "fallback: 0 services"),
        ("{ type = 'limit' }", "limit: it needs a rate"),
        ("{ type = 'outbox' }", "outbox: it needs a dir"),
        ("{ type = 'outbox', dir = 'x', max_age = '1s', whenfull = 'wait' }", "did you mean when_full?"),
        ("{ type = 'outbox', dir = 'x', delivery = { paralel = 2 } }", "did you mean parallel?"),
        ("{ type = 'batch', count = 0 }", "batch: count = 0"),
        ("{ type = 'balance', sinks = ['null:'], wieghts = [1, 1] }", "did you mean weights?"),
        (
            "{ type = 'balance', sinks = ['null:'], weights = [1] }",
            "weights: 1 for 2 sinks; give one for the route's own",
        ),
        (
            "{ type = 'balance', sinks = ['null:'], weights = [1, 0] }",
            "weights: 0 must be between 1 and 1000",
        ),
        ("{ type = 'queue', rulse = [] }", "did you mean rules?"),
        ("{ type = 'queue', rules = [{ filter = {}, priorty = 1 }] }", "did you mean priority?"),
        ("{ type = 'queue', rules = [{ priority = 1 }] }", "missing field `filter`"),
        ("{ type = 'queue', rules = [{ filter = {} }] }", "rules: one without priority and attempts"),
        ("{ type = 'queue', rules = [{ filter = {}, attempts = 0 }] }", "attempts counts the first try"),
        ("{ type = 'queue', rules = [{ filter = {}, priority = 256 }] }", "256"),
    ] {
        let error = refused(layers).await;
        assert!(error.contains(words), "{layers}: {error}");
    }
}

#[test]
fn a_route_over_several_sinks_leaves_their_order_to_none_of_them() {
    let file = "[[route]]\nname = 'a'\nsink = 'null:'\nlayers = [{ type = 'balance', sinks = ['null:'] }]\n";
    let nothing = std::iter::empty::<(&str, &str)>().collect();
    let config = Config::parse(file, "haul.toml", Some(Profile::Dev), &nothing).unwrap();
    assert_eq!(config.routes[0].sink_options().delivery.order, haul_event_log::Order::Strict);
}
