//! Every other flag does what it says, `--json` is JSON, and the exit codes are those of the table.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use haul::{Error, ErrorKind, Packet, PacketId};
use serde_json::Value;

use crate::run::{self, Running, haul, haul_in, haul_with_input};
use crate::{deliver_to, scratch};

/// A haul peer that accepts, and answers nothing that is asked of it.
fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(b"haul.v1\n").unwrap();
            thread::spawn(move || stream.read_to_end(&mut Vec::new()));
        }
    });
    url
}

/// What a listener prints as JSON when `args` are run against it.
fn received(args: impl Fn(&str) -> Vec<String>, input: &[u8]) -> Value {
    let mut listener = Running::listen("tcp://127.0.0.1:0", &["--json"]);
    let args = args(&listener.endpoint);
    let ended = haul_with_input(&args.iter().map(String::as_str).collect::<Vec<_>>(), input);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    listener.event("received")
}

#[test]
fn send_takes_messages_files_and_stdin_as_the_type_says() {
    let dir = scratch();
    let file = dir.path().join("file");
    fs::write(&file, b"\xff\x00").unwrap();
    let file = file.to_str().unwrap();
    let cases: &[(&[&str], &[u8], &str, &str)] = &[
        (&["a message"], b"", "text", "a message"),
        (&["-"], b"from stdin", "text", "from stdin"),
        (&[], b"from stdin", "text", "from stdin"),
        (&["--file", file], b"", "base64", "/wA="),
        (&["--type", "text", "x"], b"", "text", "x"),
        (&["--type", "json", "[1]"], b"", "text", "[1]"),
        (&["--type", "binary", "x"], b"", "base64", "eA=="),
        (&["--type", "base64", "/wA="], b"", "base64", "/wA="),
    ];
    for (more, input, field, expected) in cases {
        let args = |url: &str| {
            ["send", url].iter().chain(more.iter()).map(|arg| (*arg).to_owned()).collect::<Vec<_>>()
        };
        let received = received(args, input);
        assert_eq!(received[*field], *expected, "{more:?}: {received}");
    }
    for (kind, message) in [("json", "{"), ("base64", "-_-")] {
        assert_eq!(haul(&["send", "null:", "--type", kind, message]).code, 2, "{kind}");
    }
}

#[test]
fn send_gives_ids_and_metadata_only_where_they_are_asked_for() {
    let args = |more: &'static [&str]| {
        move |url: &str| {
            ["send", url, "x"].iter().chain(more).map(|arg| (*arg).to_owned()).collect::<Vec<_>>()
        }
    };
    // A receiver that answers is given an id in any case.
    assert!(haul(&["send", "null:", "x", "--json"]).json()[0]["id"].is_null());
    assert!(haul(&["send", "null:", "x", "--json", "--id"]).json()[0]["id"].is_string());
    assert!(received(args(&[]), b"")["metadata"].is_null());
    let dressed = received(args(&["--meta", "a=1", "--meta", "b=2"]), b"");
    assert_eq!((&dressed["metadata"]["a"], &dressed["metadata"]["b"]), (&"1".into(), &"2".into()));
    let twice = haul(&["send", "null:", "x", "y", "--id=01890a5d-ac96-774b-bcce-b302099a8057"]);
    assert!(twice.code == 2 && twice.stderr.contains("duplicates"), "{}", twice.stderr);
}

#[test]
fn send_fails_unless_the_level_is_reached_in_time() {
    let listener = Running::listen("tcp://127.0.0.1:0", &["-q"]);
    for (level, code) in [("--receipt=sent", 0), ("--receipt", 0), ("--receipt=stored", 4)] {
        let ended = haul(&["send", &listener.endpoint, "x", level]);
        assert_eq!(ended.code, code, "{level}: {}", ended.stderr);
    }
    let late = haul(&["send", &silent(), "x", "--timeout", "150ms"]);
    assert!(late.code == 5 && late.stderr.contains("no answer within 150.0 ms"), "{}", late.stderr);
}

#[test]
fn probe_measures_as_often_as_asked_and_waits_as_long() {
    let listener = Running::listen("ws://127.0.0.1:0", &["-q"]);
    let found = haul(&["probe", &listener.endpoint, "-n", "7", "--json"]).json();
    assert_eq!(found[0]["rtt"]["count"], 7);
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", mute.local_addr().unwrap());
    let late = haul(&["probe", &url, "--timeout", "150ms"]);
    assert!(late.code == 3 && late.stderr.contains("no answer within 150.0 ms"), "{}", late.stderr);
}

#[test]
fn bench_sends_what_it_is_told_over_as_many_connections() {
    let mut listener = Running::listen("tcp://127.0.0.1:0", &["--json"]);
    let url = listener.endpoint.clone();
    let args = ["bench", &url, "--mode", "one-way", "-c", "3", "-s", "77", "-d", "150ms", "--json"];
    let measured = haul(&args).json().remove(0);
    assert_eq!((&measured["mode"], &measured["errors"]), (&"one-way".into(), &0.into()), "{measured}");
    let (least, most) = (0.15, 4.9);
    let seconds = measured["seconds"].as_f64().unwrap();
    assert!((least..most).contains(&seconds), "-d is not read: {measured}");
    let mut connected = 0;
    loop {
        let event = listener.any_event();
        match event["event"].as_str() {
            Some("connected") => connected += 1,
            Some("received") => assert_eq!(event["bytes"], 77, "{event}"),
            _ => {}
        }
        if connected == 3 && event["event"] == "received" {
            break;
        }
    }
    let silent = Running::listen("tcp://127.0.0.1:0", &["-q"]);
    let ended = haul(&["bench", &silent.endpoint, "-d", "50ms", "-w", "5", "-c", "2"]);
    assert!(ended.stderr.contains("10 packets did not come back"), "{}", ended.stderr);
}

#[test]
fn pipe_keeps_all_of_a_packet_in_hauls_own_frames_and_lengths_and_refuses_what_is_too_large() {
    let dir = scratch();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (frames, lengths) = (path("frames"), path("lengths"));
    for (framing, file) in [("haul.v1", &frames), ("length", &lengths)] {
        let args = |from: &str| {
            ["pipe", from, file, "--framing", framing].iter().map(|arg| (*arg).to_owned()).collect()
        };
        let (outcomes, ended) = deliver_to(args, &["a\nb"]);
        assert!(outcomes.iter().all(Result::is_ok) && ended.code == 0, "{}", ended.stderr);
    }
    assert_eq!(fs::read(&lengths).unwrap(), b"\0\0\0\x03a\nb");
    let onward = |file: &str, framing: &str| {
        let (file, framing) = (file.to_owned(), framing.to_owned());
        received(
            move |url| vec!["pipe".into(), file.clone(), url.into(), "--framing".into(), framing.clone()],
            b"",
        )
    };
    assert_eq!(onward(&lengths, "length")["bytes"], 3);
    assert_eq!(onward(&frames, "haul.v1")["text"], "a\nb");
    assert_eq!(onward(&lengths, "raw")["bytes"], 7);

    fs::write(path("lines"), "four\nfive!\n").unwrap();
    let refused = haul(&["pipe", &path("lines"), "null:", "--max-packet", "4", "--json"]);
    assert!(refused.code == 1 && refused.stderr.contains('4'), "{} {}", refused.code, refused.stderr);
    assert_eq!(refused.json()[0]["packets"], 1);
    assert_eq!(haul(&["pipe", &path("lines"), "null:", "--max-packet", "5"]).code, 0);
}

#[test]
fn pipe_tries_as_often_as_it_is_told() {
    let dir = scratch();
    let from = dir.path().join("from");
    fs::write(&from, "x\n").unwrap();
    let from = from.to_str().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for attempts in [1, 3] {
        let (tell, told) = mpsc::sync_channel(100);
        let listener = runtime.block_on(haul::listen("tcp://127.0.0.1:0")).unwrap();
        let url = listener.local_endpoint().as_str().to_owned();
        let refusing = runtime.spawn(async move {
            let mut connection = listener.accept().await.unwrap().unwrap();
            while let Ok(Some(delivery)) = connection.next().await {
                tell.send(()).unwrap();
                // An error says that it has given up.
                let _ = delivery.split().1.nack(Error::new(ErrorKind::Overloaded, "not now")).await;
            }
        });
        let ended = haul(&["pipe", from, &url, "--attempts", &attempts.to_string()]);
        assert_eq!(ended.code, 4, "{}", ended.stderr);
        runtime.block_on(refusing).unwrap();
        assert_eq!(told.iter().count(), attempts, "{}", ended.stderr);
    }
}

#[test]
fn colour_and_silence_are_as_asked() {
    let color = |more: &[&str]| haul(&[&["send", "null:", "x"], more].concat()).stdout.contains("\x1b[");
    assert!(color(&["--color", "always"]));
    assert!(!color(&["--color", "never"]) && !color(&["--color", "auto"]) && !color(&[]));
    assert!(!color(&["--color", "always", "--json"]), "colour in JSON");
    assert!(haul(&["send", "kafka:x", "x", "--color", "always"]).stderr.contains("\x1b["));
    let dir = scratch();
    let from = dir.path().join("from");
    fs::write(&from, "x\n").unwrap();
    let said = |more: &[&str]| haul(&[&["pipe", from.to_str().unwrap(), "null:"], more].concat()).stderr;
    assert!(said(&[]).starts_with("* 1 packet, 1 B in "), "{}", said(&[]));
    assert_eq!(said(&["-q"]), "");
    assert_eq!(haul(&["send", "null:", "x", "-q", "-v"]).code, 2);
}

#[test]
fn validate_reads_the_file_it_is_given_with_its_profile_or_the_one_that_is_there() {
    let dir = scratch();
    let text = "[serve]\nlisten = ['tcp://127.0.0.1:0']\ndata = 'here'\ndrain = '3s'\n\
                [[route]]\nname = 'a'\nsink = 'null:'\n[profile.staging.serve]\ndata = 'there'\n";
    fs::write(dir.path().join("haul.toml"), text).unwrap();
    fs::write(dir.path().join("other.toml"), "[serve]\ndata = 'elsewhere'\n").unwrap();
    let valid = |more: &[&str]| {
        let ended = haul_in(dir.path(), &[&["validate", "--json"], more].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.json().remove(0)
    };
    let plan = valid(&[]);
    assert_eq!((&plan["data"], &plan["drain_ms"]), (&"here".into(), &3000.into()), "{plan}");
    assert_eq!((&plan["listen"][0], &plan["routes"][0]["name"]), (&"tcp://127.0.0.1:0".into(), &"a".into()));
    assert_eq!(valid(&["--profile", "staging"])["data"], "there");
    assert_eq!(valid(&["other.toml"])["data"], "elsewhere");
    assert!(!dir.path().join("here").exists(), "validate made the data folder");
    fs::write(dir.path().join("haul.toml"), "[serve]\nlisten = ['kafka://x']\n").unwrap();
    let wrong = haul_in(dir.path(), &["validate"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("kafka"), "{} {}", wrong.code, wrong.stderr);
}

#[test]
fn what_is_printed_as_json_is_an_object_with_an_event_on_each_line() {
    let listener = Running::listen("ws://127.0.0.1:0", &["--echo", "-q"]);
    let url = listener.endpoint.as_str();
    let dir = scratch();
    let from = dir.path().join("from");
    fs::write(&from, "x\n").unwrap();
    let from = from.to_str().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["validate"], "valid"),
        (&["pipe", from, "null:"], "done"),
        (&["connect", url], "state"),
        (&["send", url, "x"], "delivered"),
        (&["probe", url], "probed"),
        (&["bench", url, "-d", "20ms"], "measured"),
        (&["send", "kafka:x", "x"], "error"),
        (&["tap", "--data", "nowhere"], "error"),
        (&["log", "cat", "--data", "nowhere"], "error"),
    ];
    for (args, event) in cases {
        let ended = haul_in(dir.path(), &[*args, &["--json"]].concat());
        let events: Vec<_> = ended.json().into_iter().map(|object| object["event"].clone()).collect();
        assert!(events.iter().all(Value::is_string), "{args:?}: {events:?}");
        assert!(events.contains(&(*event).into()), "{args:?}: {events:?}");
    }
    let exit = haul(&["connect", &format!("tcp://127.0.0.1:{}", run::closed_port()), "--json"]);
    assert_eq!((exit.code, &exit.json()[0]["exit"]), (3, &3.into()));
}

#[test]
fn a_packet_printed_as_json_has_all_of_it() {
    let mut listener = Running::listen("tcp://127.0.0.1:0", &["--json"]);
    let id = PacketId::random();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let connection = haul::connect(&listener.endpoint).await.unwrap();
        let packet = Packet::text("a \"b\"\n\u{1b}").with("c\n", "d").with_id(id);
        connection.send(packet).await.unwrap();
        connection.close(haul::CloseReason::NORMAL).await.unwrap();
    });
    let received = listener.event("received");
    assert_eq!((&received["text"], &received["metadata"]["c\n"]), (&"a \"b\"\n\u{1b}".into(), &"d".into()));
    assert_eq!(received["id"], id.to_string());
}
