//! kill -9 of the gateway under load: what was answered as stored is there.

mod server;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::run::{DEADLINE, Ended, Running, haul};
use server::Server;

/// Clients at once, each in a session of its own.
const LANES: usize = 4;

/// Packets under way on each client.
const WINDOW: usize = 32;

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

/// A folder, and a gateway in it that is killed again and again.
struct Place {
    folder: tempfile::TempDir,
    random: Random,
    /// What clients sent, and of that what was answered as stored, both in the order of each lane.
    sent: HashSet<String>,
    stored: Vec<String>,
}

/// What a client did: what it sent, and what of it was answered.
type Deeds = (Vec<String>, Vec<String>);

impl Place {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, random: Random(seed), sent: HashSet::new(), stored: Vec::new() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a gateway that listens on a port for each lane.
    fn start(&self, config: Option<&Path>) -> (Running, Vec<String>) {
        let data = self.at("data");
        let mut args = vec!["serve", "-q", "--json", "--data", data.to_str().unwrap()];
        args.extend(config.iter().flat_map(|config| ["--config", config.to_str().unwrap()]));
        let lane = |lane| format!("tcp://127.0.0.1:0?framing=lines&receipts=json&session=lane-{lane}");
        let urls: Vec<_> = (0..LANES).map(lane).collect();
        args.extend(urls.iter().flat_map(|url| ["--listen", url]));
        let mut gateway = Running::start(&args);
        let address = |event: Value| {
            let (_, rest) = event["endpoint"].as_str().unwrap().split_once("://").unwrap();
            rest.split(['/', '?']).next().unwrap().to_owned()
        };
        let addresses = (0..LANES).map(|_| address(gateway.event("listening"))).collect();
        (gateway, addresses)
    }

    /// Lets clients send for a moment, and at least until it is `enough`, and kills the gateway in the middle.
    fn live_and_die(&mut self, round: u64, config: Option<&Path>, enough: impl Fn(&Self) -> bool) {
        let (gateway, addresses) = self.start(config);
        let moment = Duration::from_millis(self.random.below(400));
        let (answered, place) = (AtomicUsize::new(0), &*self);
        let deeds: Vec<Deeds> = thread::scope(|scope| {
            let mut clients = Vec::new();
            for (lane, address) in addresses.iter().enumerate() {
                let answered = &answered;
                clients.push(scope.spawn(move || client(address, &format!("{round}-{lane}"), answered)));
            }
            // The moment of the kill is what is random here; a slow machine has stored something by then, too.
            thread::sleep(moment);
            let is_enough = || answered.load(Ordering::Relaxed) > 0 && enough(place);
            until("something to lose", || is_enough().then_some(()));
            drop(gateway);
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        for (sent, stored) in deeds {
            self.sent.extend(sent);
            self.stored.extend(stored);
        }
    }

    fn outbox(&self, args: &[&str]) -> Ended {
        let dir = self.at("outbox");
        haul(&[&["outbox", args[0], dir.to_str().unwrap(), "--json"], &args[1..]].concat())
    }

    /// Packets that wait in the outbox, if there is one.
    fn waiting(&self) -> Option<u64> {
        let listed = self.outbox(&["ls"]);
        (listed.code == 0).then(|| listed.json().pop().unwrap()["packets"].as_u64().unwrap())
    }

    /// Packets that the log's route and the outbox have not delivered, once the gateway can be asked.
    fn left(&self) -> Option<u64> {
        let data = self.at("data");
        let status = haul(&["tap", "--status", "--json", "--data", data.to_str().unwrap()]);
        let lag = status.json().first()?["log"]["sinks"][0]["lag"].as_u64()?;
        Some(lag + self.waiting()?)
    }
}

/// Sends lines until the gateway is gone; the numbers of its packets count up, each tenth is bad.
fn client(address: &str, name: &str, answered: &AtomicUsize) -> Deeds {
    let (mut sent, mut stored) = (Vec::new(), Vec::new());
    // It may be killed before anybody is there.
    let Ok(mut stream) = TcpStream::connect(address) else { return (sent, stored) };
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut receipts = BufReader::new(stream.try_clone().unwrap()).lines();
    for number in 0.. {
        let numbers = number * WINDOW..(number + 1) * WINDOW;
        let text = |number| format!("{} {name}-{number}", if number % 10 == 7 { "bad" } else { "good" });
        let texts: Vec<_> = numbers.map(text).collect();
        sent.extend(texts.iter().cloned());
        if stream.write_all((texts.join("\n") + "\n").as_bytes()).is_err() {
            break;
        }
        for text in texts {
            let receipt = match receipts.next() {
                Some(Ok(line)) => serde_json::from_str::<Value>(&line),
                Some(Err(why)) if why.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("waited {DEADLINE:?} for the receipt of {text}")
                }
                _ => return (sent, stored),
            };
            // A line that a kill tore is none.
            let Ok(receipt) = receipt else { return (sent, stored) };
            assert_eq!(receipt["receipt"], "stored", "{text}: {receipt}");
            stored.push(text);
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
    (sent, stored)
}

/// Looks until `found` answers something.
fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// In each lane, what came first is in order.
fn first_arrivals_are_in_order<'a>(texts: impl IntoIterator<Item = &'a str>, what: &str) {
    let mut seen = HashSet::new();
    let mut last: HashMap<&str, (u64, u64)> = HashMap::new();
    for text in texts.into_iter().filter(|text| seen.insert(*text)) {
        let (_, place) = text.split_once(' ').unwrap();
        let parts: Vec<&str> = place.split('-').collect();
        let [round, lane, number] = parts[..] else { panic!("{what}: {text}") };
        let place = (round.parse().unwrap(), number.parse().unwrap());
        let before = last.insert(lane, place);
        assert!(before < Some(place), "{what}: {text} came behind {before:?}");
    }
}

#[test]
fn kill_9_with_an_outbox_before_a_sink_that_fails_loses_nothing_and_keeps_the_order() {
    let seed = haul_services::seed(7);
    let mut place = Place::new(seed);
    let server = Server::start(seed);
    let config = place.at("haul.toml");
    let layers = format!(
        "[[route.layers]]\ntype = 'outbox'\ndir = {:?}\nmax_packet = 1000\nmax_bytes = '2MiB'\nwhen_full = 'wait'\n\
         delivery = {{ parallel = 2, batch = 16, backoff = {{ base = '1ms', factor = 1, cap = '5ms' }} }}\n\
         [[route.layers]]\ntype = 'timeout'\nafter = '20s'\n",
        place.at("outbox")
    );
    let route = format!("[[route]]\nname = 'it'\nsink = '{}'\norder = 'batch'\n{layers}", server.url());
    std::fs::write(&config, route).unwrap();
    for round in 0..haul_services::kills() {
        // Every other time it is not there at all, so that packets wait when the gateway dies.
        let away = round % 2 == 0;
        server.is_away(away);
        place.live_and_die(round, Some(&config), |place| !away || place.waiting() > Some(0));
    }
    assert!(!place.stored.is_empty(), "seed {seed}: nothing was stored before any kill");

    // Nothing new comes: the next run goes on by itself.
    server.works();
    let (mut gateway, _) = place.start(Some(&config));
    let mut left = u64::MAX;
    while left > 0 {
        left = until("the rest to become less", || place.left().filter(|now| *now < left));
    }
    gateway.terminate();
    assert_eq!(gateway.ended(), 0);

    let what = format!("seed {seed}");
    let arrived = server.taken();
    let there: HashSet<&str> = arrived.iter().map(String::as_str).collect();
    let letters = place.outbox(&["export", "--dead"]).json();
    let dead: HashSet<&str> = letters.iter().map(|letter| letter["text"].as_str().unwrap()).collect();
    for text in &place.stored {
        let is_there = if text.starts_with("bad") { &dead } else { &there };
        assert!(is_there.contains(text.as_str()), "{what}: {text} was stored and is not there");
    }
    for text in &there {
        assert!(place.sent.contains(*text) && text.starts_with("good"), "{what}: the sink has {text}");
    }
    for text in &dead {
        assert!(place.sent.contains(*text) && text.starts_with("bad"), "{what}: {text} is a dead letter");
    }
    first_arrivals_are_in_order(arrived.iter().map(String::as_str), &what);
    let listed = place.outbox(&["ls"]).json().pop().unwrap();
    assert_eq!((&listed["packets"], &listed["dead"]), (&0.into(), &letters.len().into()), "{what}");
    println!(
        "{} kills with {what}: {} packets were answered as stored; {} are at the sink, {} times, and {} are dead letters",
        haul_services::kills(),
        place.stored.len(),
        there.len(),
        arrived.len(),
        dead.len()
    );
}

#[test]
fn kill_9_without_any_configuration_loses_nothing_and_keeps_the_order() {
    let seed = haul_services::seed(8);
    let mut place = Place::new(seed);
    for round in 0..haul_services::kills() {
        place.live_and_die(round, None, |_| true);
    }
    assert!(!place.stored.is_empty(), "seed {seed}: nothing was stored before any kill");
    let data = place.at("data");
    let data = data.to_str().unwrap();
    assert_eq!(haul(&["log", "verify", "--data", data]).code, 0);
    let log = haul(&["log", "cat", "--data", data]);
    assert_eq!(log.code, 0, "{}", log.stderr);
    let logged: HashSet<&str> = log.stdout.lines().collect();
    assert_eq!(logged.len(), log.stdout.lines().count(), "seed {seed}: something is in the log twice");
    for text in &place.stored {
        assert!(logged.contains(text.as_str()), "seed {seed}: {text} was stored and is not in the log");
    }
    for text in &logged {
        assert!(place.sent.contains(*text), "seed {seed}: the log has {text}, which nobody sent");
    }
    first_arrivals_are_in_order(log.stdout.lines(), &format!("seed {seed}"));
}
