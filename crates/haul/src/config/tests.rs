use std::time::Duration;

use haul_event_log::{Filter, Order, SinkOptions};

use super::*;

fn read(text: &str, profile: Profile, variables: &[(&str, &str)]) -> Result<Config> {
    let environment = variables.iter().copied().collect();
    Config::parse(text, "haul.toml", Some(profile), &environment)
}

fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    let error = read(text, Profile::Dev, variables).expect_err("it should be refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    error.to_string()
}

const FILE: &str = r#"
[serve]
listen = ["ws://0.0.0.0:8080"]
max_packet = "64KiB"

[[route]]
name = "alerts"
filter = { level = "error" }
sink = "ws://collector/in?token=${TOKEN}"
layers = [
    { type = "retry", attempts = 5, base = "100ms" },
    { type = "timeout", after = "5s" },
]

[profile.production.serve]
listen = ["wss://0.0.0.0:443"]

[profile.production.log]
format = "json"
"#;

#[test]
fn what_the_file_says_is_what_is_read_and_the_rest_is_default() {
    let config = read(FILE, Profile::Dev, &[("TOKEN", "t0p")]).unwrap();
    assert_eq!(config.serve.listen, ["ws://0.0.0.0:8080"]);
    assert_eq!(config.serve.max_packet, Some(64 << 10));
    assert_eq!(config.serve.drain, Serve::default().drain);
    let route = &config.routes[0];
    assert_eq!((route.name.as_str(), route.sink.as_str()), ("alerts", "ws://collector/in?token=t0p"));
    assert_eq!(route.filter, Filter::new().with("level", "error").unwrap());
    let retry = haul_retry::RetryOptions { attempts: 5, ..Default::default() };
    let timeout = haul_timeout::TimeoutOptions { after: Duration::from_secs(5) };
    assert_eq!(route.layers, [Layer::Retry(retry), Layer::Timeout(timeout)]);
    assert_eq!(read("", Profile::Dev, &[]).unwrap(), Config::default());
}

#[test]
fn the_event_log_is_kept_as_the_file_and_the_environment_say() {
    let text = "[events]\nretain = \"1GiB\"\nsegment = 4096\nretain_age = \"7d\"\n";
    let variables =
        [("HAUL_EVENTS_RETAIN_UNSENT", "true"), ("HAUL_EVENTS_QUEUE", "64MiB"), ("HAUL_EVENTS_DIR", "/x")];
    let events = read(text, Profile::Dev, &variables).unwrap().events;
    assert_eq!((events.retain, events.segment, events.queue), (Some(1 << 30), 4096, 64 << 20));
    assert_eq!((events.retain_age, events.retain_unsent), (Some(Duration::from_secs(7 * 86_400)), true));
    assert!(refused("[events]\nretian = 1\n", &[]).contains("did you mean retain"));
    assert!(refused("", &[("HAUL_EVENTS_SEGMNT", "1")]).contains("segment"));
}

#[test]
fn sessions_are_kept_as_the_file_and_the_environment_say() {
    let text = "[serve.session]\nretention = '5m'\nreplay_bytes = '64KiB'\nreplay_packets = 7\n\
        max_detached = 8\nmax_memory = '1MiB'\n";
    let told = read(text, Profile::Dev, &[]).unwrap().serve.session;
    let expected = Session {
        retention: Duration::from_secs(300),
        replay_bytes: 64 << 10,
        replay_packets: 7,
        max_detached: 8,
        max_memory: 1 << 20,
    };
    assert_eq!(told, expected);
    let variables = [("HAUL_SERVE_SESSION", "{ retention = '9s' }")];
    let told = read("", Profile::Dev, &variables).unwrap().serve.session;
    assert_eq!(told, Session { retention: Duration::from_secs(9), ..Session::default() });
    for (line, why) in [
        ("retention = '0s'", "longer than nothing"),
        ("replay_bytes = 0", "between 1 and"),
        ("max_detached = 1000001", "between 1 and 1000000"),
        ("admit_plain = false", "admit_plain"),
    ] {
        let error = refused(&format!("[serve.session]\n{line}"), &[]);
        assert!(error.contains("line 2") && error.contains(why), "{error}");
    }
}

#[cfg(feature = "session")]
#[test]
fn sessions_are_kept_as_their_crate_keeps_them_unless_the_file_says_otherwise() {
    let own = haul_session::AcceptorOptions::default();
    let ours = Session::default();
    assert_eq!(
        (ours.retention, ours.replay_bytes, ours.replay_packets, ours.max_detached, ours.max_memory),
        (own.retention, own.replay_bytes, own.replay_packets, own.max_detached, own.max_memory)
    );
}

#[test]
fn a_route_says_how_it_is_delivered_to_and_the_event_log_is_told() {
    let file = "[[route]]\nname = 'a'\nsink = 'null:'\nfilter = { x = '1' }\nmetadata = false\nbatch = 7\n\
        batch_bytes = '2KiB'\norder = 'batch'\nahead = 9\nbackoff = { base = '1s', factor = 3, cap = '1m' }\n";
    let told = read(file, Profile::Dev, &[]).unwrap().routes[0].sink_options();
    let (base, cap) = (Duration::from_secs(1), Duration::from_secs(60));
    let expected = SinkOptions::default()
        .filter(Filter::new().with("x", "1").unwrap())
        .bare()
        .batch(7)
        .batch_bytes(2048)
        .order(Order::Batch)
        .ahead(9)
        .backoff(haul_core::Backoff { base, factor: 3.0, cap });
    assert_eq!(told, expected);
    let plain = Route::new("a", "ws://host").sink_options();
    assert_eq!(plain, SinkOptions::default());
}

#[test]
fn order_is_left_to_a_receiver_only_where_it_is_known_to_keep_it() {
    for (sink, order) in [
        ("file:out", Order::Batch),
        ("null:", Order::Batch),
        ("tcp://host:1?framing=lines", Order::Batch),
        ("tcp://host:1?framing=haul.v1", Order::Strict),
        ("tcp://host:1", Order::Strict),
        ("ws://host/?framing=lines", Order::Strict),
        ("kafka://host", Order::Strict),
    ] {
        assert_eq!(Route::new("a", sink).sink_options().delivery.order, order, "{sink}");
    }
    let asked = Route { order: Some(Order::Strict), ..Route::new("a", "null:") };
    assert_eq!(asked.sink_options().delivery.order, Order::Strict);
}

#[test]
fn a_profile_lies_over_the_rest_key_by_key() {
    let config = read(FILE, Profile::Production, &[("TOKEN", "")]).unwrap();
    assert_eq!(config.serve.listen, ["wss://0.0.0.0:443"]);
    assert_eq!(config.serve.max_packet, Some(64 << 10), "what the profile does not say stays");
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(read(FILE, Profile::Staging, &[("TOKEN", "")]).unwrap().log.format, LogFormat::Text);
}

#[test]
fn the_environment_names_the_profile_when_the_caller_does_not() {
    let environment = [("HAUL_PROFILE", "production"), ("TOKEN", "")].into_iter().collect();
    let config = Config::parse(FILE, "haul.toml", None, &environment).unwrap();
    assert_eq!(config.log.format, LogFormat::Json);
    let environment = [("HAUL_PROFILE", "prod")].into_iter().collect();
    let error = Config::parse(FILE, "haul.toml", None, &environment).unwrap_err().to_string();
    assert!(error.contains("HAUL_PROFILE") && error.contains("staging"), "{error}");
}

#[test]
fn a_variable_that_is_not_set_is_named_with_its_line_unless_it_is_not_needed() {
    let error = refused(FILE, &[]);
    assert!(error.contains("TOKEN is not set") && error.contains("line 9"), "{error}");
    let file = "[log]\nfilter = \"a$${b}\"\n[profile.production.log]\nfilter = \"${ONLY_THERE}\"";
    assert_eq!(read(file, Profile::Dev, &[]).unwrap().log.filter, "a${b}");
    let unclosed = refused("[log]\nfilter = \"${B\"", &[("B", "")]);
    assert!(unclosed.contains("not closed") && unclosed.contains("line 2"), "{unclosed}");
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    for (file, line, hint) in [
        ("[serve]\n\nlisten_on = []", "line 3", "did you mean listen?"),
        ("\n[sevre]\n", "line 2", "did you mean serve?"),
        ("[[route]]\nname = 'a'\nsnk = 'null:'", "line 3", "did you mean sink?"),
        ("[profile.production.log]\nformt = 'json'", "line 2", "did you mean format?"),
        ("[profile.prodution]\n", "line 1", "did you mean production?"),
        (
            "[[route]]\nname = 'a'\nsink = 'null:'\n[[route.layers]]\ntype = 'retry'\n\nattemps = 1",
            "line 7",
            "did you mean attempts?",
        ),
        (
            "[[route]]\nname = 'a'\nsink = 'null:'\nlayers = [\n{ type = 'retrey' }]",
            "line 5",
            "did you mean retry?",
        ),
    ] {
        let error = refused(file, &[]);
        assert!(error.contains(line) && error.contains(hint), "{file}\n{error}");
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_named_with_its_line() {
    let route = |line: &str| format!("[[route]]\nname = 'a'\nsink = 'null:'\n{line}");
    for (line, why) in [
        ("batch = 0", "\"0\" does not fit: it must be between 1 and 65536"),
        ("batch = 65537", "between 1 and 65536"),
        ("batch = 'many'", "it must be a whole number"),
        ("batch_bytes = 0", "between 1 and"),
        ("ahead = 1000001", "between 1 and 1000000"),
        ("order = 'strikt'", "did you mean strict?"),
        ("backoff = { factor = 0.5 }", "0.5 does not fit: it must be at least 1"),
        ("backoff = { base = '0s' }", "longer than nothing"),
        ("backoff = { kap = '1s' }", "did you mean cap?"),
        ("bach = 1", "did you mean batch?"),
    ] {
        let error = refused(&route(line), &[]);
        assert!(error.contains("line 4") && error.contains(why), "{line}\n{error}");
    }
    for (file, line, why) in [
        ("[serve]\nwindow = 0", "line 2", "between 1 and 65536"),
        ("[serve]\nin_flight = '5GiB'", "line 2", "between 1 and 4294967295"),
        ("[serve]\nmax_connections = 0", "line 2", "between 1 and"),
        ("[serve]\nmax_packet = 0", "line 2", "between 1 and"),
        ("[serve]\n\ndrain = 'soon'", "line 3", "a duration looks like"),
        ("[serve]\nlisten = 'ws://a'", "line 2", "expected a sequence"),
        ("[serve]\nmax_packet = -1", "line 2", "a size looks like"),
        ("[serve\n", "line 1", "haul.toml"),
        ("[[route]]\nname = 'a'", "line 1", "sink"),
    ] {
        let error = refused(file, &[]);
        assert!(error.contains(line) && error.contains(why), "{file}\n{error}");
    }
}

#[test]
fn variables_override_keys_whatever_the_key_holds() {
    let variables = [
        ("HAUL_SERVE_LISTEN", "ws://a:1, tcp://b:2"),
        ("HAUL_SERVE_DATA", "/srv/7"),
        ("HAUL_SERVE_MAX_CONNECTIONS", "100"),
        ("HAUL_SERVE_MAX_PACKET", "1MiB"),
        ("HAUL_SERVE_WINDOW", "5"),
        ("HAUL_SERVE_IN_FLIGHT", "1KiB"),
        ("HAUL_LOG_FILTER", "7"),
        ("HAUL_SERVICE_HOST", "10.0.0.1"),
        ("HAUL_PORT", "tcp://10.0.0.1:80"),
    ];
    let config = read("[serve]\nmax_connections = 7", Profile::Dev, &variables).unwrap();
    assert_eq!(config.serve.listen, ["ws://a:1", "tcp://b:2"]);
    assert_eq!(config.serve.data.as_os_str(), "/srv/7");
    assert_eq!(config.serve.max_connections, Some(100));
    assert_eq!(config.serve.max_packet, Some(1 << 20));
    assert_eq!((config.serve.window, config.serve.in_flight), (5, 1024));
    assert_eq!(config.log.filter, "7");
    let toml = [("HAUL_SERVE_LISTEN", r#"["ws://a:1/?x=1,2"]"#)];
    assert_eq!(read("", Profile::Dev, &toml).unwrap().serve.listen, ["ws://a:1/?x=1,2"]);
}

#[test]
fn a_variable_with_an_unknown_key_or_a_wrong_value_is_refused_by_name() {
    for (name, value, hint) in [
        ("HAUL_SERVE_LISEN", "ws://a", "did you mean listen?"),
        ("HAUL_SERV_LISTEN", "ws://a", "HAUL_SERVE_LISTEN"),
        ("HAUL_SERVE_DRAIN", "soon", "a duration looks like"),
        ("HAUL_LOG_FORMAT", "jsno", "did you mean json?"),
    ] {
        let error = refused("", &[(name, value)]);
        assert!(error.contains(name) && error.contains(hint), "{name}: {error}");
    }
}

#[test]
fn every_section_that_variables_override_exists() {
    for section in environment::SECTIONS {
        read(&format!("[{section}]"), Profile::Dev, &[]).unwrap();
    }
}
