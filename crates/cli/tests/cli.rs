//! The program itself, as a person or a script runs it.

#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod flags;
mod kills;
mod layers;
mod outbox;
mod run;
mod talk;

use std::fs;

use haul::{DeliverAll, Level};
use run::{Ended, Running, haul, haul_with_input};

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Lines, empty ones, bytes that are not UTF-8, and no line feed at the end.
fn awkward() -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..20_000u32 {
        bytes.extend(format!("line {number}\r\n\n").bytes());
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(b"\xff\xfe the end");
    bytes
}

#[test]
fn the_help_names_every_command_and_every_exit_code() {
    let help = haul(&["--help"]);
    assert_eq!(help.code, 0);
    for word in ["outbox", "pipe", "connect", "listen", "send", "probe", "bench", "completions", "man", "130"]
    {
        assert!(help.stdout.contains(word), "{word} in {}", help.stdout);
    }
    assert!(!help.stdout.contains("docs"), "a hidden command is shown");
    assert_eq!(haul(&[]).code, 2);
    assert_eq!(haul(&["nonsense"]).code, 2);
}

#[test]
fn an_unknown_scheme_lists_what_is_compiled_in_and_says_what_to_do() {
    for command in [["connect", "zmq://host"], ["listen", "zmq://host"]] {
        let ended = haul(&command);
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
        for word in ["zmq", "tcp", "ws", "\ntry: "] {
            assert!(ended.stderr.contains(word), "{word} in {}", ended.stderr);
        }
    }
    let ended = haul(&["send", "zmq://host", "hi"]);
    assert!(
        ended.code == 2 && ended.stderr.contains("null") && ended.stderr.contains("tcp"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_pipe_between_files_keeps_every_byte_in_every_framing() {
    let dir = scratch();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::write(&from, awkward()).unwrap();
    for framing in [None, Some("raw"), Some("whole")] {
        let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
        let mut args = vec!["pipe", from, to];
        args.extend(framing.iter().flat_map(|framing| ["--framing", framing]));
        let ended = haul(&args);
        assert_eq!((ended.code, ended.stdout.as_str()), (0, ""), "{}", ended.stderr);
        assert!(fs::read(to).unwrap() == awkward(), "{framing:?} changed something");
    }
    let lines: String = (0..5_000).map(|number| format!("line {number}\r\n")).collect();
    fs::write(&from, &lines).unwrap();
    let ended = haul(&["pipe", from.to_str().unwrap(), to.to_str().unwrap(), "--framing", "lines", "--json"]);
    assert_eq!(ended.json()[0]["packets"], 5_000, "{}", ended.stderr);
    assert_eq!(fs::read_to_string(&to).unwrap(), lines);
}

#[test]
fn a_pipe_onto_itself_is_refused_and_leaves_the_file_alone() {
    let dir = scratch();
    let file = dir.path().join("file");
    fs::write(&file, "precious").unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(haul(&["pipe", file, file]).code, 2);
    assert_eq!(fs::read_to_string(file).unwrap(), "precious");
}

#[test]
fn a_pipe_from_stdin_reaches_a_listener_in_order_and_acknowledged() {
    for url in ["tcp://127.0.0.1:0", "ws://127.0.0.1:0", "tcp://127.0.0.1:0?framing=lines"] {
        let mut listener = Running::listen(url, &["--json"]);
        let input: String = (0..3_000).map(|number| format!("line {number}\n")).collect();
        let ended = haul_with_input(&["pipe", "-", &listener.endpoint, "--json"], input.as_bytes());
        assert_eq!(ended.code, 0, "{url}: {}", ended.stderr);
        assert_eq!(ended.json()[0]["packets"], 3_000, "{url}");
        for number in 0..3_000 {
            let received = listener.event("received");
            assert_eq!(received["text"], format!("line {number}"), "{url}");
        }
    }
}

#[test]
fn what_a_pipe_cannot_deliver_is_counted_and_fails() {
    let dir = scratch();
    let from = dir.path().join("from");
    fs::write(&from, "ok\n\0\0too long\nok\n").unwrap();
    let listener = Running::listen("tcp://127.0.0.1:0", &[]);
    let to = format!("{}?max_packet=4", listener.endpoint);
    let ended = haul(&["pipe", from.to_str().unwrap(), &to, "--json"]);
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(ended.stderr.contains("1 packet not delivered (2 packets delivered)"), "{}", ended.stderr);
    assert_eq!((&ended.json()[0]["packets"], &ended.json()[0]["not_delivered"]), (&2.into(), &1.into()));
}

/// A server of haul's own library, which delivers to whoever connects and sees what becomes of it.
fn deliver_to(
    args: impl FnOnce(&str) -> Vec<String>,
    packets: &[&'static str],
) -> (Vec<haul::Result<haul::Receipt>>, Ended) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = haul::listen("tcp://127.0.0.1:0").await.unwrap();
        let args = args(listener.local_endpoint().as_str());
        let piped =
            tokio::task::spawn_blocking(move || haul(&args.iter().map(String::as_str).collect::<Vec<_>>()));
        let connection = listener.accept().await.unwrap().unwrap();
        let packets: Vec<_> = packets.iter().map(|text| haul::Packet::text_static(text)).collect();
        let outcomes = connection.deliver_all(packets).await.unwrap();
        connection.close(haul::CloseReason::NORMAL).await.unwrap();
        (outcomes, piped.await.unwrap())
    })
}

#[test]
fn a_pipe_answers_upstream_what_downstream_made_of_each_packet() {
    let dir = scratch();
    let file = dir.path().join("to");
    let to = file.to_str().unwrap().to_owned();
    // A line feed cannot be written as one line: that packet is refused, and its sender hears so.
    let (outcomes, ended) =
        deliver_to(|from| vec!["pipe".into(), from.into(), to], &["one", "t\nwo", "three"]);
    let told: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().map(|receipt| receipt.level)).collect();
    assert!(matches!(told[..], [Ok(Level::Sent), Err(_), Ok(Level::Sent)]), "{told:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "one\nthree\n");
    assert!(
        ended.code == 4 && ended.stderr.contains("1 packet not delivered (2 packets delivered)"),
        "{}",
        ended.stderr
    );
}

#[test]
fn whoever_stops_reading_the_output_ends_it_quietly() {
    let dir = scratch();
    let from = dir.path().join("from");
    fs::write(&from, "a line of text\n".repeat(100_000)).unwrap();
    let ended = run::haul_read_one_byte(&["pipe", from.to_str().unwrap(), "-"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (141, ""));
}

#[test]
fn a_message_sent_arrives_whole_with_its_id_and_metadata_and_the_level_is_printed() {
    for url in ["tcp://127.0.0.1:0", "ws://127.0.0.1:0"] {
        let mut listener = Running::listen(url, &["--json"]);
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let args = ["send", &listener.endpoint, "hello", "--meta", "session_id=7", "--receipt"];
        let ended = haul(&[&args[..], &["--json", &format!("--id={id}")]].concat());
        assert_eq!(ended.code, 0, "{url}: {}", ended.stderr);
        assert_eq!((&ended.json()[0]["level"], &ended.json()[0]["id"]), (&"acknowledged".into(), &id.into()));
        let received = listener.event("received");
        assert_eq!((&received["text"], &received["id"]), (&"hello".into(), &id.into()), "{url}");
        assert_eq!(received["metadata"]["session_id"], "7", "{url}");
        let plain = haul(&["send", &listener.endpoint, "hello"]);
        assert!(plain.stdout.starts_with("acknowledged, 5 bytes in "), "{}", plain.stdout);
    }
}

#[test]
fn a_level_that_the_receiver_cannot_promise_fails() {
    let listener = Running::listen("tcp://127.0.0.1:0?framing=lines", &[]);
    let sent = haul(&["send", &listener.endpoint, "hello"]);
    assert!(sent.code == 0 && sent.stdout.starts_with("sent, "), "{} {}", sent.stdout, sent.stderr);
    let ended = haul(&["send", &listener.endpoint, "hello", "--receipt"]);
    assert_eq!(ended.code, 4);
    assert!(
        ended.stderr.contains("sent, not acknowledged") && ended.stderr.contains("\ntry: "),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_is_not_json_is_not_sent_as_json() {
    let ended = haul(&["send", "null:", "--type", "json", "{\"a\":"]);
    assert!(ended.code == 2 && ended.stderr.contains("not JSON"), "{} {}", ended.code, ended.stderr);
    let ended = haul(&["send", "null:", "--type", "json", "{\"a\":1}"]);
    assert!(ended.code == 0 && ended.stdout.starts_with("discarded"), "{} {}", ended.stdout, ended.stderr);
}

#[test]
fn what_is_typed_is_sent_and_what_comes_back_is_printed() {
    for url in ["ws://127.0.0.1:0", "tcp://127.0.0.1:0", "tcp://127.0.0.1:0?framing=lines"] {
        let listener = Running::listen(url, &["--echo"]);
        let ended = haul_with_input(&["connect", &listener.endpoint], b"one\ntwo\n");
        assert_eq!((ended.code, ended.stdout.as_str()), (0, "one\ntwo\n"), "{url}: {}", ended.stderr);
    }
    let listener = Running::listen("ws://127.0.0.1:0", &["--echo", "-q"]);
    let ended = haul_with_input(&["connect", &listener.endpoint, "--binary", "hex", "--json"], b"ff00\n");
    let received = ended.json().into_iter().find(|event| event["event"] == "received").unwrap();
    assert_eq!(received["base64"], "/wA=");
}

#[test]
fn a_broadcast_reaches_all_others_and_not_its_sender() {
    let room = Running::listen("ws://127.0.0.1:0", &["--broadcast", "-q"]);
    let mut guests: Vec<_> = (0..3).map(|_| Running::start(&["connect", &room.endpoint, "--json"])).collect();
    for guest in &mut guests {
        assert_eq!(guest.event("state")["state"], "connected");
    }
    guests[0].type_line("to all");
    for guest in &mut guests[1..] {
        assert_eq!(guest.event("received")["text"], "to all");
    }
    guests[1].type_line("back");
    assert_eq!(guests[0].event("received")["text"], "back", "its own packet came back first");
}

#[test]
fn a_listener_refuses_more_connections_than_it_may_have() {
    let mut listener = Running::listen("tcp://127.0.0.1:0", &["--max-connections", "1", "--json"]);
    let mut first = Running::start(&["connect", &listener.endpoint, "--json"]);
    assert_eq!(first.event("state")["state"], "connected");
    listener.event("connected");
    assert_eq!(haul(&["connect", &listener.endpoint]).code, 3);
}

#[test]
fn probing_a_closed_port_exits_3_with_a_reason() {
    let port = run::closed_port();
    let ended = haul(&["probe", &format!("tcp://127.0.0.1:{port}")]);
    assert_eq!(ended.code, 3);
    assert!(
        ended.stdout.contains("refused") && ended.stderr.contains("\ntry: "),
        "{} {}",
        ended.stdout,
        ended.stderr
    );
    let ended = haul(&["probe", &format!("127.0.0.1:{port}"), "--json"]);
    assert_eq!(ended.code, 3);
    let found = ended.json();
    assert!(found.len() > 3, "{}", ended.stdout);
    for tried in found.iter().filter(|event| event["event"] == "probed") {
        assert_eq!((&tried["answers"], &tried["kind"]), (&false.into(), &"connect".into()), "{tried}");
    }
}

#[test]
fn probing_a_port_finds_the_protocol_that_answers_and_why_the_others_do_not() {
    let listener = Running::listen("ws://127.0.0.1:0", &["-q"]);
    let address = listener.endpoint.strip_prefix("ws://").unwrap();
    let ended = haul(&["probe", address, "-n", "3", "--timeout", "8s", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let found = ended.json();
    let of = |scheme: &str| {
        let is =
            |url: &serde_json::Value| url.as_str().is_some_and(|url| url == format!("{scheme}://{address}"));
        found.iter().find(|event| is(&event["url"])).unwrap()
    };
    let ws = of("ws");
    assert_eq!((&ws["answers"], &ws["rtt"]["count"]), (&true.into(), &3.into()), "{ws}");
    for other in ["tcp", "wss"] {
        assert!(of(other)["why"].as_str().is_some_and(|why| !why.is_empty()), "{}", of(other));
    }
}

#[test]
fn probing_a_server_with_a_certificate_shows_what_it_says_and_why_it_is_not_trusted() {
    let listener = Running::listen("wss://127.0.0.1:0#self_signed=localhost,127.0.0.1", &["-q"]);
    let url = listener.endpoint.split('#').next().unwrap();
    let distrusted = haul(&["probe", url]);
    assert_eq!(distrusted.code, 3);
    assert!(distrusted.stderr.contains("unknown issuer"), "{}", distrusted.stderr);
    let url = format!("{url}#insecure=true");
    let shown = haul(&["probe", &url, "-n", "1"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    for fact in ["TLSv1.3", "for localhost, 127.0.0.1", "valid from ", "sha256 "] {
        assert!(shown.stdout.contains(fact), "{fact} in {}", shown.stdout);
    }
    let found = haul(&["probe", &url, "-n", "1", "--json"]).json();
    assert_eq!(found[0]["facts"]["tls"]["peer_certificates"][0]["names"][0], "localhost", "{}", found[0]);
}

#[test]
fn a_bench_counts_what_came_back_and_fails_when_nothing_does() {
    let listener = Running::listen("tcp://127.0.0.1:0", &["--echo", "-q"]);
    let url = listener.endpoint.as_str();
    let ended = haul(&["bench", url, "-d", "200ms", "-w", "8", "-c", "2", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let measured = &ended.json()[0];
    assert!(measured["packets"].as_u64().is_some_and(|packets| packets > 0), "{measured}");
    assert_eq!(measured["latency"]["count"], measured["packets"]);
    let silent = Running::listen("tcp://127.0.0.1:0", &["-q"]);
    let ended = haul(&["bench", &silent.endpoint, "-d", "100ms", "-w", "8"]);
    assert_eq!(ended.code, 4);
    assert!(ended.stderr.contains("8 packets did not come back"), "{}", ended.stderr);
}

#[test]
fn completions_and_man_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = haul(&["completions", shell]);
        assert!(script.code == 0 && script.stdout.contains("max-connections"), "{shell}");
    }
    let dir = scratch();
    assert_eq!(haul(&["man", "--dir", dir.path().to_str().unwrap()]).code, 0);
    for page in ["haul.1", "haul-pipe.1", "haul-probe.1"] {
        assert!(fs::read_to_string(dir.path().join(page)).unwrap().contains(".TH"), "{page}");
    }
    assert!(haul(&["man"]).stdout.contains("EXIT") || haul(&["man"]).stdout.contains("Exit codes"));
}

#[test]
#[cfg(unix)]
fn a_signal_ends_a_listener_well_and_drains_a_pipe() {
    let mut listener = Running::listen("tcp://127.0.0.1:0", &["--json"]);
    let mut pipe = Running::start(&["pipe", "-", &listener.endpoint, "--json"]);
    pipe.type_line("before the signal");
    assert_eq!(listener.event("received")["text"], "before the signal");
    pipe.terminate();
    let done = pipe.event("done");
    assert_eq!((&done["packets"], &done["interrupted"]), (&1.into(), &true.into()));
    assert_eq!(pipe.ended(), 130);
    listener.terminate();
    assert_eq!(listener.ended(), 0);
}
