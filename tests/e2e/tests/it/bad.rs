//! Bad configuration and bad input from outside.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::program::{DEADLINE, Gateway, LINES, Lines, TCP, WS, cat, haul, status};

#[test]
fn an_unknown_key_or_scheme_or_option_is_refused_with_what_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("haul.toml");
    let path = config.to_str().unwrap();
    for (text, words) in [
        ("[serve]\nlistn = []\n", &["line 2", "did you mean listen"][..]),
        ("[serve]\nlisten = [\"kafka://x\"]\n", &["kafka", "compiled in"]),
        ("[serve]\nlisten = [\"tcp://127.0.0.1:0?framng=lines\"]\n", &["framng", "did you mean framing"]),
        ("[serve]\nlisten = [\"tcp://127.0.0.1:0?receipts=xml\"]\n", &["receipts=xml", "json or none"]),
        ("[[route]]\nname = \"a\"\nsink = \"null:\"\nlayer = []\n", &["layer", "layers"]),
        ("[[route]]\nname = \"a\"\nsink = \"nul:\"\n", &["nul", "null"]),
    ] {
        fs::write(&config, text).unwrap();
        for command in [vec!["validate", path], vec!["serve", "--config", path]] {
            let data = dir.path().join("data");
            let data = ["--data", data.to_str().unwrap()];
            let args = if command[0] == "serve" { [command, data.to_vec()].concat() } else { command };
            let ended = haul(&args);
            assert_eq!(ended.code, Some(2), "{args:?} {text}: {}", ended.stderr);
            for word in words {
                assert!(ended.stderr.contains(word), "{word} in {}", ended.stderr);
            }
        }
    }
}

#[test]
fn bad_bytes_close_their_own_connection_and_the_gateway_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let small = format!("{LINES}&max_packet=1KiB");
    let gateway = Gateway::start(dir.path(), &[WS, TCP, &small], &[]);
    let closes = |at: usize, bytes: &[u8]| {
        let mut stream = TcpStream::connect(gateway.address(at)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // It may close before it has read all.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("it does not close on {bytes:?}")
            }
            _ => String::from_utf8_lossy(&answer).into_owned(),
        }
    };
    let plain = closes(0, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(plain.starts_with("HTTP/1.1 4"), "{plain}");
    closes(0, b"\x16\x03\x01 this is TLS, or wants to be");
    closes(1, b"GET / HTTP/1.1\r\n\r\n");
    closes(1, b"haul.v1\n\x00\x00\x00\x02\xc0x");
    closes(1, b"haul.v1\n\xff\xff\xff\xff");
    closes(1, b"haul.v1\n\x00\x00\x00\x00");
    closes(2, &[b'x'; 100_000]);
    let not_utf8 = {
        let mut client = Lines::dial(&gateway, 2);
        client.store("good");
        client
    };
    drop(not_utf8);
    let mut stream = TcpStream::connect(gateway.address(2)).unwrap();
    stream.write_all(b"\xff\xfe\x00\n").unwrap();
    let mut client = Lines::dial(&gateway, 2);
    client.store("after");
    let stored = status(dir.path())["stored"].as_u64().unwrap();
    assert!((2..=3).contains(&stored), "{stored} stored");
    drop(stream);
    let ended = gateway.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut lines: Vec<_> = cat(dir.path(), &[]).split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    lines.sort();
    assert_eq!(lines, [&b""[..], b"after", b"good", b"\xff\xfe\x00"]);
}
