//! Every key of `[serve]`, `[events]` and `[log]` does what it says. `listen` and `data` are in every test here.

use std::fs;
use std::io::Read;
use std::net::TcpStream;

use crate::program::{Gateway, LINES, Lines, Silent, TCP, command, haul, status, until};

/// A folder with a configuration, and the gateway's data in `data`.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    /// A place whose gateway listens on `url`, with further lines of `[serve]`, and then further sections.
    pub(crate) fn new(url: &str, rest: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write(url, rest);
        place
    }

    pub(crate) fn write(&self, url: &str, rest: &str) {
        let text = format!("[serve]\nlisten = [{url:?}]\ndata = {:?}\n{rest}\n", self.data());
        fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.0.path().join("data")
    }

    pub(crate) fn config(&self) -> std::path::PathBuf {
        self.0.path().join("gateway.toml")
    }

    pub(crate) fn start(&self, more: &[&str]) -> Gateway {
        let config = self.config();
        let args = [&["serve", "--json", "--config", config.to_str().unwrap()], more].concat();
        let mut gateway = Gateway::spawn(command(&args));
        gateway.next_url();
        gateway
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        status(&self.data())
    }
}

#[test]
fn max_connections_bounds_each_listener() {
    let place = Place::new(LINES, "max_connections = 1");
    let gateway = place.start(&[]);
    let mut first = Lines::dial(&gateway, 0);
    first.store("x");
    let mut second = TcpStream::connect(gateway.address(0)).unwrap();
    // Refused: it is closed, or reset.
    assert_eq!(second.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(place.status()["listeners"][0]["refused"], 1);
}

#[test]
fn max_packet_bounds_what_a_listener_takes() {
    let place = Place::new(TCP, "max_packet = 10");
    let gateway = place.start(&[]);
    let send = |text: &str| haul(&["send", &gateway.urls[0], text, "--receipt=stored"]);
    assert_eq!(send("1234567890").code, Some(0));
    let refused = send("12345678901");
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert_eq!(place.status()["stored"], 1);
}

/// How many syncs a hundred packets of one connection need.
fn syncs(line: &str) -> u64 {
    let place = Place::new(LINES, line);
    let gateway = place.start(&[]);
    gateway.store(&["x"; 100]);
    place.status()["log"]["syncs"].as_u64().unwrap()
}

#[test]
fn window_and_in_flight_bound_what_waits_for_the_disk() {
    assert!(syncs("") < 100, "packets of one connection share no sync");
    // One at a time: each has its own.
    assert!(syncs("window = 1") >= 100, "window is not read");
    assert!(syncs("in_flight = 1") >= 100, "in_flight is not read");
}

#[test]
fn drain_is_how_long_a_stop_may_take() {
    for (line, flags, drain) in
        [("drain = '1234s'", &[][..], "1234.0 s"), ("drain = '1234s'", &["--drain", "4321s"], "4321.0 s")]
    {
        let silent = Silent::listen();
        let route = format!("[[route]]\nname = 'silent'\nsink = '{}'", silent.url);
        let place = Place::new(LINES, &format!("{line}\n{route}"));
        let config = place.config();
        let mut args = vec!["serve", "--config", config.to_str().unwrap()];
        args.extend(flags);
        let mut gateway = Gateway::spawn(command(&args));
        gateway.listening_line();
        gateway.store(&["x"]);
        silent.has_taken_something();
        gateway.signal("-TERM");
        let address = gateway.address(0);
        until("it to stop listening", || TcpStream::connect(&address).err());
        gateway.signal("-TERM");
        let ended = gateway.ended();
        assert_eq!(ended.code, Some(130));
        let said = format!("1 event to pass on within {drain}; once more to stop at once");
        assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    }
    let silent = Silent::listen();
    let route = format!("drain = '1ms'\n[[route]]\nname = 'silent'\nsink = '{}'", silent.url);
    let place = Place::new(LINES, &route);
    let gateway = place.start(&[]);
    gateway.store(&["x"]);
    silent.has_taken_something();
    let ended = gateway.stop();
    assert!(ended.code == Some(0) && ended.stderr.contains("has yet to get 1 event"), "{}", ended.stderr);
}

/// Twenty packets of 1000 bytes, and whether the oldest were removed then.
fn retains(section: &str) -> bool {
    let place = Place::new(LINES, &format!("[events]\nsegment = '4KiB'\n{section}"));
    let gateway = place.start(&[]);
    let large = "x".repeat(1000);
    for _ in 0..4 {
        gateway.store(&[large.as_str(); 5]);
    }
    let files = fs::read_dir(place.data().join("events")).unwrap().count();
    let first = place.status()["log"]["first"].as_u64().unwrap();
    assert!(first > 1 || files > 4, "20 kB are in {files} files: segment is not read");
    first > 1
}

#[test]
fn the_log_is_kept_in_segments_as_long_as_retain_and_retain_age_say() {
    assert!(!retains(""));
    assert!(retains("retain = '8KiB'"));
    assert!(retains("retain_age = '1ms'"));
}

#[test]
fn retain_unsent_removes_even_what_a_route_has_not_got() {
    let route = "retain = '8KiB'\n[[route]]\nname = 'away'\nsink = 'tcp://127.0.0.1:1'";
    assert!(!retains(route), "what a route has not got was removed");
    assert!(retains(&format!("retain_unsent = true\n{route}")));
}

#[test]
fn max_packet_of_the_log_refuses_what_a_listener_took() {
    let place = Place::new(LINES, "[events]\nmax_packet = 10");
    let gateway = place.start(&[]);
    let mut client = Lines::dial(&gateway, 0);
    client.store("1234567890");
    assert!(client.send("12345678901\n"));
    let refused = client.receipt().unwrap();
    assert_eq!((&refused["receipt"], &refused["kind"]), (&"refused".into(), &"too_large".into()));
}

/// What a gateway says on stderr whose route is away.
fn said(log: &str, flags: &[&str], env: Option<&str>) -> String {
    let route = "[[route]]\nname = 'away'\nsink = 'tcp://127.0.0.1:1'\n";
    let place = Place::new(LINES, &format!("{route}{log}"));
    let config = place.config();
    let mut command = command(&[&["serve", "--json", "--config", config.to_str().unwrap()], flags].concat());
    command.envs(env.map(|filter| ("HAUL_LOG", filter)));
    let mut gateway = Gateway::spawn(command);
    gateway.next_url();
    gateway.store(&["x"]);
    until("the route to be stuck", || (!place.status()["log"]["sinks"][0]["stuck"].is_null()).then_some(()));
    gateway.stop().stderr
}

#[test]
fn what_it_says_about_itself_is_what_filter_flags_and_environment_ask_for() {
    let stuck = "the sink takes no packets";
    assert!(said("", &[], None).contains(stuck));
    assert!(!said("[log]\nfilter = 'off'", &[], None).contains(stuck));
    assert!(!said("", &["-q"], None).contains(stuck));
    assert!(said("[log]\nfilter = 'off'", &["-v"], None).contains(stuck));
    let module = "haul_outbox::forward";
    assert!(!said("", &["-v"], None).contains(module) && said("", &["-vv"], None).contains(module));
    assert!(said("[log]\nfilter = 'off'", &["-q"], Some("warn")).contains(stuck));
    let json = said("[log]\nformat = 'json'", &[], None);
    let line = json.lines().find(|line| line.contains(stuck)).expect("it is said");
    let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
    assert_eq!(line["level"], "WARN");
}

#[test]
fn a_profile_and_flags_go_over_the_file() {
    let place = Place::new(TCP, "[profile.production.serve]\nmax_packet = 400\n");
    let gateway = place.start(&["--profile", "production", "--listen", LINES]);
    assert!(gateway.urls[0].contains("framing=lines"), "{:?}", gateway.urls);
    let mut client = Lines::dial(&gateway, 0);
    client.store(&"x".repeat(400));
    client.send(&("x".repeat(401) + "\n"));
    assert!(client.receipt().is_none_or(|receipt| receipt["receipt"] != "stored"));
    drop(gateway);
    let elsewhere = tempfile::tempdir().unwrap();
    let gateway = place.start(&["--data", elsewhere.path().to_str().unwrap(), "--listen", LINES]);
    gateway.store(&["12345"]);
    assert_eq!(crate::program::cat(elsewhere.path(), &[]), b"12345\n");
}

#[test]
fn the_guide_has_every_key_and_no_other() {
    let guide =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/gateway.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("haul.toml");
    for (section, heading) in [
        ("[serve]\n", "## `[serve]`"),
        ("[events]\n", "## `[events]`"),
        ("[[route]]\nname = 'a'\nsink = 'null:'\n", "## `[[route]]`"),
        ("[log]\n", "## `[log]`"),
    ] {
        fs::write(&file, format!("{section}zzzz = 1\n")).unwrap();
        let told = haul(&["validate", file.to_str().unwrap()]).stderr;
        let known = told.split_once("nown are ").unwrap_or_else(|| panic!("{told}")).1;
        let mut known: Vec<_> = known.lines().next().unwrap().split(", ").collect();
        let part = guide.split_once(heading).unwrap_or_else(|| panic!("no {heading}")).1;
        let part = part.split("\n## ").next().unwrap();
        let rows = part.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let mut listed: Vec<_> = rows.collect();
        known.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, known, "{heading}");
    }
}
