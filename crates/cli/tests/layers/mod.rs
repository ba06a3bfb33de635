//! Every scheme, and the layers around connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::run::{self, Running, haul, haul_with_input};

/// Where the tests listen; each `DIR` stands for a folder of its own.
const LISTENED: [&str; 8] = [
    "tcp://127.0.0.1:0",
    "unix://DIR/socket",
    "ws://127.0.0.1:0",
    "wss://127.0.0.1:0#self_signed=127.0.0.1",
    "quic://127.0.0.1:0",
    "wt://127.0.0.1:0/live",
    "sse://127.0.0.1:0/live",
    "sses://127.0.0.1:0/live#self_signed=127.0.0.1",
];

/// How a listener with a certificate made on the spot is dialed: some name the pin themselves.
fn dialed(listener: &Running) -> String {
    match listener.endpoint.split_once("#self_signed") {
        Some((url, _)) => format!("{url}#insecure=true"),
        None => listener.endpoint.clone(),
    }
}

#[test]
fn every_scheme_can_be_listened_on_connected_to_sent_to_piped_into_probed_and_measured() {
    let dir = tempfile::tempdir().unwrap();
    for url in LISTENED {
        let url = url.replace("DIR", dir.path().to_str().unwrap());
        let listener = Running::listen(&url, &["--echo", "-q"]);
        let to = dialed(&listener);
        let talked = haul_with_input(&["connect", &to], b"one\ntwo\n");
        assert_eq!((talked.code, talked.stdout.as_str()), (0, "one\ntwo\n"), "{url}: {}", talked.stderr);
        let sent = haul(&["send", &to, "hello", "--meta", "a=b", "--receipt"]);
        assert!(sent.code == 0 && sent.stdout.starts_with("acknowledged"), "{url}: {}", sent.stderr);
        let piped = haul_with_input(&["pipe", "-", &to, "--json"], b"one\ntwo\n");
        assert_eq!((piped.code, &piped.json()[0]["packets"]), (0, &2.into()), "{url}: {}", piped.stderr);
        let probed = haul(&["probe", &to, "-n", "2", "--json"]);
        assert_eq!(probed.json()[0]["rtt"]["count"], 2, "{url}: {}", probed.stdout);
        let measured = haul(&["bench", &to, "-d", "50ms", "-w", "4", "--json"]);
        assert_eq!(
            (measured.code, &measured.json()[0]["missing"]),
            (0, &0.into()),
            "{url}: {}",
            measured.stderr
        );
    }
}

#[test]
fn what_only_one_process_could_reach_is_not_listened_on() {
    let ended = haul(&["listen", "mem://name"]);
    assert!(ended.code == 2 && ended.stderr.contains("\ntry: use unix:"), "{} {}", ended.code, ended.stderr);
}

/// Carries bytes to a server, and cuts on demand.
struct Relay {
    url: String,
    carried: Arc<Mutex<Vec<TcpStream>>>,
    /// Nobody gets through any more.
    closed: Arc<AtomicBool>,
}

impl Relay {
    fn before(server: &str) -> Self {
        let (scheme, target) = server.split_once("://").unwrap();
        let target = target.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let carried = Arc::new(Mutex::new(Vec::new()));
        let closed = Arc::new(AtomicBool::new(false));
        let (streams, gone) = (carried.clone(), closed.clone());
        thread::spawn(move || {
            for near in listener.incoming() {
                if gone.load(Ordering::SeqCst) {
                    continue;
                }
                let (near, far) = (near.unwrap(), TcpStream::connect(&target).unwrap());
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || carry(from, to));
                }
                streams.lock().unwrap().extend([near, far]);
            }
        });
        Self { url, carried, closed }
    }

    fn cut(&self) {
        for stream in self.carried.lock().unwrap().drain(..) {
            // One that is closed already need not be cut.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
    // A stream that was cut is closed already.
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn a_session_goes_on_after_a_cut_with_every_line_once_and_in_order() {
    let server = Running::listen("ws://127.0.0.1:0", &["--session", "--echo", "-q"]);
    let relay = Relay::before(&server.endpoint);
    let mut guest = Running::start(&["connect", &relay.url, "--session", "--json"]);
    assert_eq!(guest.event("state")["state"], "connected");
    for cut in 0..3 {
        let lines = [format!("before cut {cut}"), format!("after cut {cut}")];
        guest.type_line(&lines[0]);
        assert_eq!(guest.event("received")["text"], lines[0]);
        relay.cut();
        while guest.event("state")["state"] != "reconnecting" {}
        guest.type_line(&lines[1]);
        assert_eq!(guest.event("received")["text"], lines[1]);
    }
}

#[test]
fn a_session_moves_to_another_transport_when_its_own_is_gone() {
    let mut server =
        Running::start(&["listen", "ws://127.0.0.1:0", "tcp://127.0.0.1:0", "--session", "--echo", "-q"]);
    let [ws, tcp] = ["ws", "tcp"].map(|scheme| {
        let line = server.line("where it listens");
        let url = line.strip_prefix("listening on ").unwrap();
        assert!(url.starts_with(scheme), "{line}");
        url.to_owned()
    });
    let relay = Relay::before(&ws);
    let mut guest = Running::start(&["connect", &relay.url, "--or", &tcp, "--session", "--json"]);
    assert_eq!(guest.event("state")["protocol"], "ws");
    for line in ["one", "two"] {
        guest.type_line(line);
        assert_eq!(guest.event("received")["text"], line);
    }
    relay.closed.store(true, Ordering::SeqCst);
    relay.cut();
    for line in ["three", "four"] {
        guest.type_line(line);
        assert_eq!(guest.event("received")["text"], line);
    }
}

#[test]
fn a_pipe_a_message_and_a_measurement_go_through_sessions() {
    let mut server = Running::listen("tcp://127.0.0.1:0", &["--session", "--json"]);
    let url = server.endpoint.clone();
    let sent = haul(&["send", &url, "hello", "--receipt", "--session"]);
    assert!(sent.code == 0 && sent.stdout.starts_with("acknowledged"), "{}", sent.stderr);
    let piped = haul_with_input(&["pipe", "-", &url, "--session"], b"one\ntwo\n");
    assert_eq!(piped.code, 0, "{}", piped.stderr);
    for text in ["hello", "one", "two"] {
        assert_eq!(server.event("received")["text"], text);
    }
    let measured = haul(&["bench", &url, "--session", "--mode", "one-way", "-d", "50ms"]);
    assert_eq!(measured.code, 0, "{}", measured.stderr);
    let plain = Running::listen("tcp://127.0.0.1:0", &["-q"]);
    let refused = haul(&["connect", &plain.endpoint, "--session"]);
    assert!(
        refused.code == 2 && refused.stderr.contains("\ntry: leave out --session"),
        "{} {}",
        refused.code,
        refused.stderr
    );
}

#[test]
fn several_addresses_are_served_at_once() {
    let mut server = Running::start(&["listen", "ws://127.0.0.1:0", "tcp://127.0.0.1:0", "--echo", "-q"]);
    for _ in 0..2 {
        let line = server.line("where it listens");
        let talked = haul_with_input(&["connect", line.strip_prefix("listening on ").unwrap()], b"one\n");
        assert_eq!((talked.code, talked.stdout.as_str()), (0, "one\n"), "{}", talked.stderr);
    }
}

#[test]
fn of_several_urls_the_one_that_answers_is_taken() {
    let listener = Running::listen("ws://127.0.0.1:0", &["--echo", "-q"]);
    let dead = format!("tcp://127.0.0.1:{}", run::closed_port());
    let talked = haul_with_input(&["connect", &dead, "--or", &listener.endpoint, "--json"], b"one\n");
    assert_eq!(talked.json()[0]["protocol"], "ws", "{}", talked.stdout);
    let both = haul(&["connect", &dead, "--or", &dead]);
    assert!(both.code == 3 && both.stderr.contains("none of 2"), "{} {}", both.code, both.stderr);
    let whose = haul(&["pipe", &dead, &dead, "--or", &dead]);
    assert!(whose.code == 2 && whose.stderr.contains("--or"), "{} {}", whose.code, whose.stderr);
}

#[test]
fn adaptive_takes_the_transport_that_gets_through() {
    for (scheme, protocol) in [("ws", "ws"), ("sse", "sse")] {
        let listener = Running::listen(&format!("{scheme}://127.0.0.1:0/live"), &["--echo", "-q"]);
        let url = listener.endpoint.replacen(scheme, "ws", 1);
        let talked = haul_with_input(&["connect", &url, "--adaptive", "--json"], b"one\n");
        assert_eq!((talked.code, &talked.json()[0]["protocol"]), (0, &protocol.into()), "{}", talked.stderr);
    }
}

#[test]
fn a_peer_that_falls_silent_is_given_up_by_the_heartbeat() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", silent.local_addr().unwrap());
    thread::spawn(move || {
        let (mut peer, _) = silent.accept().unwrap();
        peer.write_all(b"haul.v1\n").unwrap();
        // It reads what comes, and never answers.
        let _ = peer.read_to_end(&mut Vec::new());
    });
    let ended = Running::start(&["connect", &url, "--heartbeat", "20ms"]).ended();
    assert_eq!(ended, 5);
}

#[test]
fn layers_around_what_is_no_connection_are_refused() {
    for args in [&["send", "null:", "x", "--session"][..], &["pipe", "null:", "null:", "--heartbeat", "1s"]] {
        let ended = haul(args);
        assert!(ended.code == 2 && ended.stderr.contains("no connection"), "{args:?}: {}", ended.stderr);
    }
    assert_eq!(haul(&["connect", "tcp://127.0.0.1:1", "--session", "--reconnect"]).code, 2);
}

#[test]
fn probing_a_web_server_tries_every_realtime_protocol_there_and_names_the_winner() {
    let server = Running::listen("wss://127.0.0.1:0/live#self_signed=127.0.0.1", &["-q"]);
    let place = server.endpoint.split_once("#self_signed").unwrap().0.replacen("wss", "https", 1);
    let url = format!("{place}#insecure=true");
    let probed = haul(&["probe", &url, "-n", "2", "--json"]);
    assert_eq!(probed.code, 0, "{}", probed.stderr);
    let events = probed.json();
    assert_eq!((&events[0]["event"], &events[0]["winner"]), (&"raced".into(), &"websocket".into()));
    assert!(events[0]["connect_us"].is_u64(), "{}", events[0]);
    let scheme = |event: &Value| event["url"].as_str().unwrap().split(':').next().unwrap().to_owned();
    let tried: Vec<_> = events[1..].iter().map(scheme).collect();
    assert_eq!(tried, ["wt", "wss", "sses", "quic", "https"]);
    for event in &events[1..] {
        let answers = ["wss", "https"].contains(&scheme(event).as_str());
        assert_eq!(event["answers"], answers, "{event}");
        match answers {
            true => assert!(event["facts"]["tls"]["peer_certificates"][0]["sha256"].is_string(), "{event}"),
            false => assert!(event["why"].as_str().is_some_and(|why| !why.is_empty()), "{event}"),
        }
    }
    assert_eq!(events[2]["rtt"]["count"], 2, "{}", events[2]);
    assert_eq!(events[5]["facts"]["status"], "426 Upgrade Required", "{}", events[5]);

    let shown = haul(&["probe", &url]).stdout;
    assert!(shown.starts_with("won wss://") && shown.contains("winner      websocket"), "{shown}");

    let events = Running::listen("sse://127.0.0.1:0/live", &["-q"]);
    let probed = haul(&["probe", &events.endpoint.replacen("sse", "http", 1), "--json"]);
    let tried: Vec<_> = probed.json()[1..].iter().map(scheme).collect();
    assert_eq!(
        (&probed.json()[0]["winner"], tried),
        (&"sse".into(), ["wt", "ws", "sse", "http"].map(str::to_owned).to_vec())
    );

    let nobody = haul(&["probe", &format!("http://127.0.0.1:{}", run::closed_port()), "--json"]);
    assert_eq!((nobody.code, &nobody.json()[0]["winner"]), (3, &Value::Null), "{}", nobody.stdout);
}

#[test]
fn of_a_gateway_every_realtime_protocol_answers_and_one_of_them_wins() {
    let dir = tempfile::tempdir().unwrap();
    let listen = "https://127.0.0.1:0?self_signed=127.0.0.1";
    let data = dir.path().to_str().unwrap();
    let mut gateway = Running::start(&["serve", "--listen", listen, "--data", data, "-q"]);
    let line = gateway.line("where it listens");
    let place = line.strip_prefix("listening on ").unwrap().split('?').next().unwrap();
    let url = format!("{place}#insecure=true");
    let probed = haul(&["probe", &url, "-n", "2", "--json"]);
    let events = probed.json();
    // WebTransport, unless this machine is too busy for its head start.
    let winner = events[0]["winner"].as_str();
    let known = ["webtransport", "websocket", "sse"].map(Some);
    assert!(probed.code == 0 && known.contains(&winner), "{}", probed.stdout);
    let answers: Vec<_> = events[1..].iter().map(|event| event["answers"].as_bool().unwrap()).collect();
    assert_eq!(answers, [true, true, true, false, true], "wt, wss, sses, quic, https: {}", probed.stdout);
    assert_eq!(events[5]["facts"]["version"], "HTTP/2.0", "{}", events[5]);

    let live = url.replacen("https", "wss", 1);
    let sent = haul(&["send", &live, "hello", "--id", "--receipt=stored", "--adaptive", "--session"]);
    assert!(sent.code == 0 && sent.stdout.starts_with("stored as 1"), "{}{}", sent.stdout, sent.stderr);
}
