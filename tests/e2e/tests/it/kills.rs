//! kill -9 of the gateway under load: what was answered stored is there.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use haul_core::{Deliver, Dial, Level, Packet};
use serde_json::Value;

use crate::program::{DEADLINE, Gateway, LINES, Lines, TCP, cat, until, verify};

/// Packets under way on each client.
const WINDOW: usize = 64;

/// Numbers that a seed determines (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A stranger that sends until the gateway is gone, and answers what it saw stored.
fn stranger(mut client: Lines, name: &str, began: &AtomicBool) -> Vec<String> {
    let mut stored = Vec::new();
    for round in 0.. {
        let texts: Vec<_> = (0..WINDOW).map(|number| format!("{name}-{}", round * WINDOW + number)).collect();
        if !client.send(&(texts.join("\n") + "\n")) {
            break;
        }
        for text in texts {
            let Some(receipt) = client.receipt() else { return stored };
            if receipt["receipt"] == "stored" {
                stored.push(text);
                began.store(true, Ordering::Relaxed);
            }
        }
    }
    stored
}

/// A haul peer that does the same with deliveries.
fn peer(url: &str, name: &str, stop: &AtomicBool) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut stored = Vec::new();
        // It may be killed before anybody is there.
        let Ok(connection) = haul_tcp::Dialer.dial(url.parse().unwrap()).await else { return stored };
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            let text = format!("{name}-{number}");
            number += 1;
            let delivering = connection.deliver(Packet::text(text.as_str()));
            let delivered = tokio::time::timeout(DEADLINE, delivering).await;
            match delivered.unwrap_or_else(|_| panic!("waited {DEADLINE:?} for the receipt of {text}")) {
                Ok(receipt) => {
                    assert_eq!(receipt.level, Level::Stored);
                    stored.push(text);
                }
                Err(_) => break,
            }
        }
        stored
    })
}

fn sink_url(file: &Path) -> String {
    // The gateway is killed, not the machine: the file need not be synced for each delivery.
    format!("file={}", format_args!("file://{}?fsync=100ms", file.display()))
}

#[test]
fn kill_9_under_load_loses_nothing_that_was_answered_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("out.jsonl"));
    let seed = haul_services::seed(7);
    let mut random = Random(seed);
    let sink = sink_url(&file);
    let mut stored: Vec<String> = Vec::new();
    let began = AtomicBool::new(false);
    for round in 0..haul_services::kills() {
        let gateway = Gateway::start(&data, &[LINES, TCP], &["--sink", &sink]);
        let wait = Duration::from_millis(20 + random.below(400));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut clients = Vec::new();
            for lane in 0..2 {
                let client = Lines::dial(&gateway, 0);
                let (url, stop, began) = (gateway.urls[1].clone(), &stop, &began);
                clients.push(scope.spawn(move || stranger(client, &format!("{round}-s{lane}"), began)));
                clients.push(scope.spawn(move || peer(&url, &format!("{round}-p{lane}"), stop)));
            }
            // The moment of the kill is what is random here; a slow machine has stored something by then, too.
            thread::sleep(wait);
            until("the first receipt", || began.load(Ordering::Relaxed).then_some(()));
            gateway.kill();
            stop.store(true, Ordering::Relaxed);
            for client in clients {
                stored.extend(client.join().unwrap());
            }
        });
    }
    assert!(!stored.is_empty(), "seed {seed}: nothing was stored before any kill");
    let gateway = Gateway::start(&data, &[LINES], &["--sink", &sink]);
    let ended = gateway.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let sinks = &ended.json().pop().unwrap()["sinks"];
    assert_eq!(sinks[0]["lag"], 0, "{sinks}");
    verify(&data);

    let log = String::from_utf8(cat(&data, &[])).unwrap();
    let logged: HashSet<_> = log.lines().collect();
    assert_eq!(logged.len(), log.lines().count(), "seed {seed}: something is in the log twice");
    let delivered = delivered(&file);
    for text in &stored {
        assert!(logged.contains(text.as_str()), "seed {seed}: {text} was stored and is not in the log");
        assert!(delivered.contains(text), "seed {seed}: {text} was stored and did not reach the sink");
    }
    for text in &delivered {
        assert!(logged.contains(text.as_str()), "seed {seed}: the sink has {text}, which is not in the log");
    }
    println!(
        "{} kills with seed {seed}: {} packets were answered stored, all are in the log of {} and at the sink",
        haul_services::kills(),
        stored.len(),
        logged.len()
    );
}

/// What the sink's file has. A line that a kill tore is passed over.
fn delivered(file: &Path) -> HashSet<String> {
    let text = fs::read_to_string(file).unwrap();
    let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records.map(|record| record["payload"].as_str().unwrap().to_owned()).collect()
}
