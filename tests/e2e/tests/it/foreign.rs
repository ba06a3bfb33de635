//! Clients of other languages feed the gateway, read their receipts, and every byte comes back.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::corpus;
use crate::program::{Gateway, LINES, WS, cat, command, run, verify};

/// Lines that each client sends; four of them make the corpus.
const LINES_EACH: usize = 50_000;

fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// A client in a thread of its own, with its receipts when it is done.
fn feed(name: &'static str, command: Command) -> thread::JoinHandle<Vec<Value>> {
    thread::spawn(move || {
        let ended = run(command, name);
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
        ended.json()
    })
}

#[test]
fn the_corpus_comes_back_byte_for_byte_from_clients_of_other_languages() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("corpus"));
    let text = corpus::lines(LINES_EACH);
    fs::write(&file, &text).unwrap();
    let gateway = Gateway::start(&data, &[WS, &format!("{LINES}&session=nc")], &[]);
    let url = |session: &str| format!("ws://{}/?receipts=json&session={session}", gateway.address(0));

    let mut feeds = Vec::new();
    if let Some(mut python) = haul_services::python_websockets() {
        python.arg(client("feed.py")).arg(url("python")).arg(&file);
        feeds.push(("python", feed("python", python)));
    }
    if let Some(mut node) = haul_services::npm_ws() {
        node.arg(client("feed.js")).arg(url("node")).arg(&file);
        feeds.push(("node", feed("node", node)));
    }
    if let Some(mut nc) = haul_services::nc() {
        let address = gateway.address(1);
        let (host, port) = address.split_once(':').unwrap();
        nc.args(["-N", host, port]).stdin(Stdio::from(File::open(&file).unwrap()));
        feeds.push((
            "nc",
            thread::spawn(move || {
                let output = nc.output().unwrap();
                let receipts = String::from_utf8(output.stdout).unwrap();
                receipts.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
            }),
        ));
    }
    let own = format!("ws://{}/?session=haul", gateway.address(0));
    let pipe = run(command(&["pipe", "--framing", "lines", file.to_str().unwrap(), &own]), "haul pipe");
    assert_eq!(pipe.code, Some(0), "{}", pipe.stderr);
    assert_eq!(cat(&data, &["--session", "haul"]), text.as_bytes(), "haul's own bytes differ");

    for (name, feed) in feeds {
        let receipts = feed.join().unwrap();
        assert_eq!(receipts.len(), LINES_EACH, "{name}: receipts");
        let mut last = 0;
        for receipt in &receipts {
            assert_eq!(
                (&receipt["receipt"], &receipt["session"]),
                (&"stored".into(), &name.into()),
                "{receipt}"
            );
            let seq = receipt["seq"].as_u64().unwrap();
            assert!(seq > last, "{name}: {seq} behind {last}");
            last = seq;
        }
        assert!(cat(&data, &["--session", name]) == text.as_bytes(), "{name}: the bytes differ");
    }
    let ended = gateway.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    verify(&data);
}
