//! `connect` and `listen`, flag by flag.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use crate::run::{Running, haul, haul_with_input};

/// A server that speaks lines: each connection is given to `serve`, with its number.
fn lines(mut serve: impl FnMut(usize, TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}?framing=lines", listener.local_addr().unwrap());
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            serve(number, stream.unwrap());
        }
    });
    url
}

#[test]
fn ping_measures_round_trips_and_says_where_there_are_none() {
    let listener = Running::listen("ws://127.0.0.1:0", &["-q"]);
    let mut guest = Running::start(&["connect", &listener.endpoint, "--ping", "5ms", "--json"]);
    for _ in 0..3 {
        assert!(guest.event("rtt")["micros"].is_u64());
    }
    let quiet = haul_with_input(&["connect", &listener.endpoint, "--json"], b"x\n").json();
    assert!(quiet.iter().all(|event| event["event"] != "rtt"), "it pinged unasked");
    let (hold, _held) = mpsc::sync_channel(1);
    let url = lines(move |_, stream| hold.send(stream).unwrap());
    let ended = haul(&["connect", &url, "--ping", "5ms", "--wait", "300ms"]);
    assert!(ended.code == 0 && ended.stderr.contains("warning: no --ping"), "{}", ended.stderr);
}

#[test]
fn wait_is_how_long_more_is_waited_for_after_the_end_of_input() {
    let (held, holds) = mpsc::sync_channel(2);
    let url = lines(move |_, mut stream| {
        // The end of its input, then an answer; it is held open all the while.
        let mut input = BufReader::new(stream.try_clone().unwrap());
        while input.read_line(&mut String::new()).unwrap() > 0 {}
        stream.write_all(b"late\n").unwrap();
        held.send(stream).unwrap();
    });
    // Without it this never ends.
    let ended = haul_with_input(&["connect", &url, "--wait", "300ms"], b"x\n");
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "late\n"), "{}", ended.stderr);
    drop(holds);
}

#[test]
fn reconnect_dials_again_when_the_server_ends() {
    let (told, hears) = mpsc::sync_channel(1);
    let url = lines(move |number, mut stream| {
        writeln!(stream, "connection {number}").unwrap();
        if number == 1 {
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            told.send(line).unwrap();
        }
    });
    let mut guest = Running::start(&["connect", &url, "--reconnect", "--json"]);
    assert_eq!(guest.event("received")["text"], "connection 0");
    assert_eq!(guest.event("received")["text"], "connection 1");
    guest.type_line("still here");
    assert_eq!(hears.recv_timeout(crate::run::DEADLINE).unwrap(), "still here\n");

    let url = lines(|number, mut stream| writeln!(stream, "connection {number}").unwrap());
    let ended = haul(&["connect", &url]);
    assert_eq!(ended.stdout, "connection 0\n", "{}", ended.stderr);
}

#[test]
fn reconnect_says_its_states() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}?framing=lines", listener.local_addr().unwrap());
    // One connection, and then nobody listens any more.
    thread::spawn(move || drop(listener.accept().unwrap()));
    let mut guest = Running::start(&["connect", &url, "--reconnect", "--json"]);
    assert_eq!(guest.event("state")["state"], "connected");
    let again = loop {
        let state = guest.event("state");
        if state["state"] != "connected" {
            break state;
        }
    };
    assert_eq!(again["state"], "reconnecting", "{again}");
    assert!(again["attempt"].is_u64(), "{again}");
}

#[test]
fn binary_is_how_lines_and_packets_that_are_no_text_are_written() {
    let mut listener = Running::listen("ws://127.0.0.1:0", &["--binary", "hex"]);
    let sent = haul_with_input(&["connect", &listener.endpoint, "--binary", "base64"], b"/wA=\n");
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    assert!(listener.line("what came").ends_with(" < ff00"));
    let echo = Running::listen("ws://127.0.0.1:0", &["--echo", "-q"]);
    for (code, line) in [("hex", "ff00\n"), ("base64", "/wA=\n")] {
        let ended = haul_with_input(&["connect", &echo.endpoint, "--binary", code], line.as_bytes());
        assert_eq!((ended.code, ended.stdout.as_str()), (0, line), "{}", ended.stderr);
    }
    let wrong = haul_with_input(&["connect", &echo.endpoint, "--binary", "hex"], b"xyz\n");
    assert!(wrong.code == 2 && wrong.stderr.contains("hexadecimal"), "{} {}", wrong.code, wrong.stderr);
}

#[test]
fn what_a_server_says_of_an_error_cannot_steer_the_terminal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        // Closed with a body unread, they would be reset.
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                stream.read_line(&mut line).unwrap();
            }
            let answer = b"HTTP/1.1 400 Bad\r\nConnection: close\r\nContent-Length: 8\r\n\r\n\x1b[31mred";
            stream.get_mut().write_all(answer).unwrap();
            held.push(stream);
        }
    });
    let ended = haul(&["send", &url, "x"]);
    assert!(ended.stderr.contains("\\u{1b}[31mred") && !ended.stderr.contains('\x1b'), "{}", ended.stderr);
}
