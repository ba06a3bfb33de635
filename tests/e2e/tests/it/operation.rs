//! Starting, watching, changing and stopping a gateway.

use std::fs;
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;

use crate::program::{Gateway, LINES, Lines, Silent, TCP, WS, cat, command, haul, status, until};

#[test]
fn a_second_gateway_on_the_folder_refuses_and_names_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = Gateway::start(dir.path(), &[TCP], &[]);
    let second = haul(&["serve", "--listen", TCP, "--data", dir.path().to_str().unwrap()]);
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains(&format!("process {}", first.pid())), "{}", second.stderr);
    assert!(second.stdout.is_empty(), "it said that it listens");
}

#[test]
fn a_sink_that_is_away_holds_nothing_up_and_gets_all_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::start(&data, &[LINES], &["--sink", &format!("away=tcp://{free}")]);
    let mut client = Lines::dial(&gateway, 0);
    for number in 0..100 {
        client.store(&number.to_string());
    }
    let stuck = until("the sink to be stuck", || {
        let sink = status(&data)["log"]["sinks"][0].clone();
        (!sink["stuck"].is_null()).then_some(sink)
    });
    assert_eq!((&stuck["lag"], &stuck["dead"]), (&100.into(), &0.into()), "{stuck}");

    let mut listen = command(&["listen", &format!("tcp://{free}"), "--json"]);
    let mut listen = listen.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let caught_up = until("the sink to catch up", || {
        let sink = status(&data)["log"]["sinks"][0].clone();
        (sink["lag"] == 0).then_some(sink)
    });
    assert_eq!(caught_up["delivered"], 100, "{caught_up}");
    listen.kill().unwrap();
    let output = listen.wait_with_output().unwrap();
    let events = String::from_utf8(output.stdout).unwrap();
    let texts: Vec<_> = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|event| Some(event["text"].as_str()?.to_owned()))
        .collect();
    assert_eq!(texts, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_signal_to_reload_replaces_what_the_configuration_changed() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("haul.toml");
    let write = |urls: &[&str]| {
        let data = dir.path().join("data");
        fs::write(&config, format!("[serve]\nlisten = {urls:?}\ndata = {data:?}\n")).unwrap();
    };
    write(&[LINES]);
    let mut gateway = Gateway::spawn(command(&["serve", "--json", "--config", config.to_str().unwrap()]));
    let kept = gateway.next_url();
    let mut client = Lines::dial(&gateway, 0);
    client.store("before");

    write(&[LINES, WS]);
    gateway.signal("-HUP");
    assert_eq!(gateway.next_url(), kept);
    assert!(gateway.next_url().starts_with("ws://"));
    client.store("after");

    fs::write(&config, "[serve]\nlistn = []\n").unwrap();
    gateway.signal("-HUP");
    client.store("still");
    let ended = gateway.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("not reloaded") && ended.stderr.contains("listn"), "{}", ended.stderr);
    assert_eq!(cat(&dir.path().join("data"), &[]), b"before\nafter\nstill\n");
}

#[test]
fn a_tap_of_a_route_shows_what_its_sink_is_given_and_what_becomes_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let sinks = ["--sink", "away=tcp://127.0.0.1:1", "--sink", "gone=null:"];
    let gateway = Gateway::start(dir.path(), &[LINES], &sinks);
    let spawn = |route: &str, more: &[&str]| {
        let args = [&["tap", "--data", data, "-n", "1", "--route", route], more].concat();
        command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (away, gone) = (spawn("away", &["--json"]), spawn("gone", &[]));
    until("the taps", || (status(dir.path())["taps"] == 2).then_some(()));
    gateway.store(&["one"]);
    let output = away.wait_with_output().unwrap();
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |name: &str| seen[name].as_str().unwrap_or_default();
    assert_eq!((of("text"), of("route"), of("receiver")), ("one", "away", "tcp://127.0.0.1:1"), "{seen}");
    assert_eq!((of("outcome"), of("session")), ("connect", "default"), "{seen}");
    assert!(of("error").contains("refused"), "{seen}");
    let output = gone.wait_with_output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    assert_eq!(line, "null: default > one = discarded\n");

    let nobody = haul(&["tap", "--data", data, "--route", "nowhere"]);
    assert_eq!(nobody.code, Some(2), "{}", nobody.stderr);
    assert!(nobody.stderr.contains("there is no route nowhere; the routes: away, gone"), "{}", nobody.stderr);
}

#[test]
fn a_tap_shows_what_is_stored_and_a_follower_prints_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let gateway = Gateway::start(dir.path(), &[LINES], &[]);
    let spawn = |args: &[&str]| command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let tap = spawn(&["tap", "--json", "--data", data, "-n", "2", "--session", "default"]);
    until("the tap", || (status(dir.path())["taps"] == 1).then_some(()));
    let mut client = Lines::dial(&gateway, 0);
    client.store("one");
    client.store("two");
    let output = tap.wait_with_output().unwrap();
    let seen: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let shown: Vec<_> = seen.iter().map(|packet| (packet["seq"].as_u64(), packet["text"].as_str())).collect();
    assert_eq!(shown, [(Some(1), Some("one")), (Some(2), Some("two"))]);

    let mut follow = spawn(&["log", "follow", "--data", data, "--from", "2"]);
    client.store("three");
    let mut printed = [0; 10];
    std::io::Read::read_exact(follow.stdout.as_mut().unwrap(), &mut printed).unwrap();
    assert_eq!(&printed, b"two\nthree\n");
    follow.kill().unwrap();
    follow.wait().unwrap();
    drop(gateway);
    let gone = haul(&["tap", "--data", data]);
    assert_eq!(gone.code, Some(3), "{}", gone.stderr);
}

#[test]
fn a_second_signal_ends_a_gateway_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let silent = Silent::listen();
    let gateway = Gateway::start(dir.path(), &[LINES], &["--sink", &silent.url, "--drain", "1h"]);
    Lines::dial(&gateway, 0).store("x");
    silent.has_taken_something();
    gateway.signal("-TERM");
    // Until it listens no more, it may not have heard the first.
    let address = gateway.address(0);
    until("it to stop listening", || std::net::TcpStream::connect(&address).err());
    gateway.signal("-INT");
    assert_eq!(gateway.ended().code, Some(130));
}

#[test]
fn a_sink_that_is_away_does_not_hold_up_a_stop_and_what_it_has_not_got_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--sink", "away=tcp://127.0.0.1:1", "--drain", "1h"];
    let gateway = Gateway::start(dir.path(), &[LINES], &args);
    gateway.store(&["1", "2", "3"]);
    until("the sink to be stuck", || {
        (!status(dir.path())["log"]["sinks"][0]["stuck"].is_null()).then_some(())
    });
    let ended = gateway.stop();
    assert_eq!(ended.code, Some(0));
    let left = "warning: away has yet to get 3 events (";
    assert!(ended.stderr.contains(left) && ended.stderr.contains("after the next start"), "{}", ended.stderr);
    let stopped = ended.json().pop().unwrap();
    assert_eq!((&stopped["event"], &stopped["sinks"][0]["lag"]), (&"stopped".into(), &3.into()));
}

/// A gateway that has stored six events of two sessions.
fn six(dir: &std::path::Path) -> Gateway {
    let gateway = Gateway::start(dir, &[TCP], &[]);
    for number in 1..=6 {
        let session = format!("session_id=s{}", number % 2);
        let args = ["send", &gateway.urls[0], &number.to_string(), "--meta", &session, "--receipt=stored"];
        let sent = haul(&args);
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    }
    gateway
}

#[test]
fn what_is_read_of_the_log_is_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = six(dir.path());
    for (flags, expected) in [
        (&[][..], "1\n2\n3\n4\n5\n6\n"),
        (&["--from", "5"], "5\n6\n"),
        (&["--to", "2"], "1\n2\n"),
        (&["--from", "2", "--to", "4"], "2\n3\n4\n"),
        (&["--session", "s1"], "1\n3\n5\n"),
        (&["--raw"], "123456"),
    ] {
        assert_eq!(cat(dir.path(), flags), expected.as_bytes(), "{flags:?}");
    }
    let data = dir.path().to_str().unwrap();
    for (flags, expected) in [
        (&["--from", "5"][..], "5\n6\n"),
        (&["--session", "s0", "--from", "1"], "2\n4\n6\n"),
        (&["--raw", "--from", "4"], "456"),
    ] {
        let mut follow = command(&[&["log", "follow", "--data", data], flags].concat());
        let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
        let mut printed = vec![0; expected.len()];
        std::io::Read::read_exact(follow.stdout.as_mut().unwrap(), &mut printed).unwrap();
        assert_eq!(printed, expected.as_bytes(), "{flags:?}");
        follow.kill().unwrap();
        follow.wait().unwrap();
    }
    let sessions = haul(&["log", "ls", "--json", "--data", data]).json();
    assert_eq!((&sessions[0]["session"], &sessions[0]["events"]), (&"s0".into(), &3.into()));
    let verified = haul(&["log", "verify", "--json", "--data", data]).json().remove(0);
    assert_eq!((&verified["event"], &verified["events"]), (&"verified".into(), &6.into()));
    let stored = haul(&["log", "cat", "--json", "--data", data, "--to", "1"]).json().remove(0);
    assert_eq!(
        (&stored["event"], &stored["seq"], &stored["text"]),
        (&"stored".into(), &1.into(), &"1".into())
    );
    drop(gateway);
}

#[test]
fn a_tap_shows_only_the_session_and_the_metadata_that_were_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let gateway = Gateway::start(dir.path(), &[TCP], &[]);
    let spawn = |flags: &[&str]| {
        let args = [&["tap", "--json", "-n", "1", "--data", data], flags].concat();
        command(&args).stdout(Stdio::piped()).spawn().unwrap()
    };
    let taps = [spawn(&["--session", "b"]), spawn(&["--filter", "kind=c", "--filter", "x=1"])];
    until("both taps", || (status(dir.path())["taps"] == 2).then_some(()));
    for (text, session, kind, x) in [("1", "a", "a", "1"), ("2", "b", "c", "2"), ("3", "a", "c", "1")] {
        let (session, kind, x) = (format!("session_id={session}"), format!("kind={kind}"), format!("x={x}"));
        let args =
            ["send", &gateway.urls[0], text, "--meta", &session, "--meta", &kind, "--meta", &x, "--receipt"];
        assert_eq!(haul(&args).code, Some(0));
    }
    let seen = taps.map(|tap| {
        let output = tap.wait_with_output().unwrap().stdout;
        serde_json::from_slice::<Value>(&output).unwrap()["text"].clone()
    });
    assert_eq!(seen, ["2", "3"]);
}

#[test]
fn tools_find_the_data_folder_by_configuration_profile_and_environment() {
    let dir = tempfile::tempdir().unwrap();
    let (data, other) = (dir.path().join("data"), dir.path().join("other"));
    let config = dir.path().join("gateway.toml");
    let text = format!("[serve]\ndata = {data:?}\n[profile.staging.serve]\ndata = {other:?}\n");
    fs::write(&config, text).unwrap();
    for (folder, line) in [(&data, "in data"), (&other, "in other")] {
        Gateway::start(folder, &[LINES], &[]).store(&[line]);
    }
    let config = config.to_str().unwrap();
    let cat = |flags: &[&str]| haul(&[&["log", "cat", "--config", config], flags].concat()).stdout;
    assert_eq!(cat(&[]), b"in data\n");
    assert_eq!(cat(&["--profile", "staging"]), b"in other\n");
    assert_eq!(cat(&["--data", other.to_str().unwrap()]), b"in other\n");
    let mut by_environment = command(&["log", "cat"]);
    by_environment.env("HAUL_EVENTS_DIR", &other);
    assert_eq!(crate::program::run(by_environment, "log cat").stdout, b"in other\n");
}

#[test]
fn dead_letters_are_printed_with_their_reason() {
    let dir = tempfile::tempdir().unwrap();
    let lines = TcpListener::bind("127.0.0.1:0").unwrap();
    let sink = format!("picky=tcp://{}?framing=lines", lines.local_addr().unwrap());
    let gateway = Gateway::start(dir.path(), &[TCP], &["--sink", &sink]);
    let sent = haul(&["send", &gateway.urls[0], "x", "--meta", "a=1", "--receipt"]);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    until("the dead letter", || (status(dir.path())["log"]["sinks"][0]["dead"] == 1).then_some(()));
    let text = String::from_utf8(cat(dir.path(), &["--dead"])).unwrap();
    assert!(text.starts_with("event 1 refused by picky: ") && text.ends_with("\nx\n"), "{text}");
    let letter =
        haul(&["log", "cat", "--dead", "--json", "--data", dir.path().to_str().unwrap()]).json().remove(0);
    assert_eq!(
        (&letter["event"], &letter["sink"], &letter["kind"]),
        (&"dead".into(), &"picky".into(), &"unsupported".into())
    );
}

#[test]
fn sessions_are_listed_by_a_name_that_is_no_path_and_read_by_either() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let gateway = Gateway::start(&data, &[WS], &[]);
    let url = &gateway.urls[0];
    let sent = haul(&["send", url, "x", "--meta", "session_id=../../x", "--receipt=stored"]);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let listed = haul(&["log", "ls", "--data", data.to_str().unwrap()]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.starts_with("%2E.%2F..%2Fx\t1 event\t"), "{listed}");
    for session in ["../../x", "%2E.%2F..%2Fx"] {
        assert_eq!(cat(&data, &["--session", session]), b"x\n");
    }
    let beside: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside, ["data"]);
}
