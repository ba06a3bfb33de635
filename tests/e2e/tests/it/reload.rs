//! Routes that change while packets come in: nothing that was answered stored is missing at any of them.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use crate::program::{LINES, Lines, until};
use crate::settings::Place;

/// Packets under way on each client.
const WINDOW: usize = 32;

/// Stores numbered lines until it is told to stop: all that were answered stored, in order.
fn stores(mut client: Lines, name: &str, stop: &AtomicBool, stored: &AtomicUsize) -> Vec<String> {
    let mut texts = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let next: Vec<_> = (0..WINDOW).map(|number| format!("{name}-{}", texts.len() + number)).collect();
        assert!(client.send(&(next.join("\n") + "\n")), "the gateway is gone");
        for text in next {
            let receipt = client.receipt().expect("the listener stays over all reloads");
            assert_eq!(receipt["receipt"], "stored", "{receipt}");
            texts.push(text);
            stored.fetch_add(1, Ordering::Relaxed);
        }
    }
    texts
}

/// What the files in `folder` have, and how often.
fn found(folder: &Path) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for file in fs::read_dir(folder).unwrap() {
        for line in fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            *all.entry(record["payload"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    all
}

/// The routes of round `round`: one whose file, batch and layers change, one that comes and goes, one that goes nowhere.
fn routes(folder: &Path, round: usize) -> String {
    let layers = ["", "{ type = 'retry' }", "{ type = 'breaker' }, { type = 'queue' }"][round % 3];
    let file = |name: &str| format!("file:{}?fsync=100ms&create_dirs=true", folder.join(name).display());
    let mut text = format!(
        "[[route]]\nname = 'moves'\nsink = '{}'\nbatch = {}\nlayers = [{layers}]\n",
        file(&format!("moves/{round}")),
        1 + 100 * (round % 2),
    );
    text += &format!("[[route]]\nname = 'down{}'\nsink = 'tcp://127.0.0.1:1'\n", round % 2);
    if round.is_multiple_of(2) {
        text += &format!("[[route]]\nname = 'comes'\nsink = '{}'\n", file("comes/all"));
    }
    text
}

#[test]
fn routes_that_change_under_load_miss_nothing_that_was_stored() {
    let place = Place::new(LINES, "");
    let folder = tempfile::tempdir().unwrap();
    place.write(LINES, &routes(folder.path(), 0));
    let mut gateway = place.start(&[]);
    let (stop, stored) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (sent, gateway) = thread::scope(|scope| {
        let names = ["a", "b"];
        let clients = names.map(|name| {
            let (client, stop, stored) = (Lines::dial(&gateway, 0), &stop, &stored);
            scope.spawn(move || stores(client, name, stop, stored))
        });
        // Should a round fail, the clients end all the same.
        let stops = Stops(&stop);
        for round in 1..=6 {
            let enough = stored.load(Ordering::Relaxed) + 2 * WINDOW;
            until("packets between reloads", || (stored.load(Ordering::Relaxed) >= enough).then_some(()));
            place.write(LINES, &routes(folder.path(), round));
            gateway.signal("-HUP");
            // It says again where it listens when it has changed over.
            gateway.next_url();
        }
        drop(stops);
        (clients.map(|client| client.join().unwrap()).concat(), gateway)
    });
    let names = |status: &Value| -> Vec<String> {
        let sinks = status["log"]["sinks"].as_array().unwrap().iter();
        sinks.map(|sink| sink["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&place.status()), ["comes", "down0", "moves"]);
    until("the routes to get all", || {
        let status = place.status();
        let sinks = status["log"]["sinks"].as_array().unwrap();
        sinks.iter().all(|sink| sink["lag"] == 0 || sink["name"] == "down0").then_some(())
    });
    let ended = gateway.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let sent: HashSet<_> = sent.into_iter().collect();
    for route in ["moves", "comes"] {
        let found = found(&folder.path().join(route));
        let missing: Vec<_> = sent.iter().filter(|text| !found.contains_key(*text)).collect();
        assert!(missing.is_empty(), "{route} misses {missing:?} of {}", sent.len());
        let invented: Vec<_> = found.keys().filter(|text| !sent.contains(*text)).collect();
        assert!(invented.is_empty(), "{route} has {invented:?}, which nobody sent");
    }
    assert_eq!(fs::read_dir(folder.path().join("moves")).unwrap().count(), 7, "each round had its file");
}

/// Tells the clients to stop when it is dropped.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
