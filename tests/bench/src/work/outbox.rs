//! The outbox: 64 producers that each wait for the disk, against a loop that writes 64 records and then syncs; and what it
//! takes to open one with a large backlog.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use haul_core::{
    AnySink, Backoff, Batch, Deliver, DeliverAll, Error, ErrorKind, Level, Packet, Receipt, Registry, Result,
    Service, Sink,
};
use haul_outbox::{Outbox, OutboxLayer, OutboxOptions};
use haul_serve::{Gateway, Route, ServeOptions};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tower_layer::Layer as _;

use super::Bar;
use super::bars::Bars;
use super::journal::Disk;
use super::load::runtime;
use crate::measure::{Sample, cpu_seconds};
use crate::memory::resident_kib;
use crate::parts;

const PRODUCERS: usize = 64;
const SIZE: usize = 200;

/// Bytes of payloads in the backlog, and of each.
const BACKLOG: usize = 1 << 30;
const PIECE: usize = 1000;

/// A sink that takes everything at once.
struct Ready;

impl Service<Batch> for Ready {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        Ok(batch.packets().iter().map(|packet| Ok(Receipt::new(Level::Discarded, packet.id()))).collect())
    }
}

impl Sink for Ready {}

/// A sink that is away.
struct Away;

impl Service<Batch> for Away {
    async fn call(&self, _: Batch) -> Result<Vec<Result<Receipt>>> {
        Err(Error::new(ErrorKind::Connect, "it is away"))
    }
}

impl Sink for Away {}

impl Bars<'_> {
    pub(crate) fn outbox(&mut self, folder: &Path) {
        let plain = Disk::new(folder);
        let disk = TempDir::new_in(folder).expect("the report's folder can be written");
        let (unit, peer, bar) = ("packets/s", "64 records per fdatasync", Bar::AtLeast(0.45));
        self.disk_ratio(
            "outbox, 64 producers, 200 B, durable, to a sink that takes all",
            (unit, peer, bar),
            |length| stored(disk.path(), AnySink::new(Ready), length),
            |length| plain.plain_loop(length),
        );
        self.disk_ratio(
            "outbox, 64 producers, 200 B, durable, to a sink that is away",
            (unit, peer, bar),
            |length| stored(disk.path(), AnySink::new(Away), length),
            |length| plain.plain_loop(length),
        );
        let opening = "outbox with a backlog of 1 GiB";
        self.figures(
            [
                (&format!("{opening}: bytes read to open it"), "MiB", Bar::AtMost(80.0)),
                (&format!("{opening}: its newest file"), "MiB", Bar::Reported),
                (&format!("{opening}: files open then"), "files", Bar::Reported),
                (&format!("{opening}: time to open it"), "s", Bar::Reported),
                (&format!("{opening}: memory of a gateway"), "MiB", Bar::AtMost(100.0)),
            ],
            || {
                let dir = disk.path().join("backlog");
                runtime().block_on(fill(&dir)).expect("the disk takes it");
                let dir = dir.to_str().expect("a plain path");
                let [read, newest, files, seconds] = parts::figures(&["outbox-open", dir]);
                let [memory] = parts::figures(&["outbox-gateway", dir]);
                [read, newest, files, seconds, memory]
            },
        );
    }
}

/// The producers deliver to an outbox before `sink`: packets answered as stored, in a second.
fn stored(folder: &Path, sink: AnySink, length: Duration) -> Sample {
    let folder = TempDir::new_in(folder).expect("a folder of our own");
    let cpu = cpu_seconds();
    let (stored, seconds) =
        runtime().block_on(produce(folder.path(), sink, length)).expect("the disk takes it");
    Sample { value: stored as f64 / seconds, cpu: (cpu_seconds() - cpu) / stored.max(1) as f64 }
}

async fn produce(dir: &Path, sink: AnySink, length: Duration) -> Result<(u64, f64)> {
    let outbox = Outbox::open(sink, OutboxOptions::new(dir)).await?;
    let begun = Instant::now();
    let mut producers = JoinSet::new();
    for producer in 0..PRODUCERS {
        let outbox = outbox.clone();
        producers.spawn(async move {
            let payload = Bytes::from_static(&[7; SIZE]);
            let packet = Packet::binary(payload).with("session_id", producer.to_string());
            while begun.elapsed() < length {
                outbox.deliver(packet.clone()).await?;
            }
            Ok(())
        });
    }
    producers.join_all().await.into_iter().collect::<Result<()>>()?;
    let seconds = begun.elapsed().as_secs_f64();
    let stored = outbox.status().stored;
    // Whatever is left is of no use.
    outbox.close(Duration::ZERO).await?;
    Ok((stored, seconds))
}

async fn fill(dir: &Path) -> Result<()> {
    let outbox = Outbox::open(AnySink::new(Away), OutboxOptions::new(dir)).await?;
    let payload = Bytes::from(vec![7; PIECE]);
    let batch: Vec<_> = (0..1000u16)
        .map(|key| Packet::binary(payload.clone()).with("session_id", (key % 100).to_string()))
        .collect();
    for _ in 0..BACKLOG / PIECE / batch.len() {
        outbox.deliver_all(batch.clone()).await?.into_iter().collect::<Result<Vec<_>>>()?;
    }
    outbox.close(Duration::ZERO).await.map(drop)
}

/// Opens an outbox: MiB that were read for it, MiB of its newest file, files that are open then, and how long it took. What is
/// delivered next is read already, and counts.
pub(crate) fn open(dir: &str) -> [f64; 4] {
    runtime().block_on(async {
        let (read, begun) = (read_bytes(), Instant::now());
        let outbox = Outbox::open(AnySink::new(Away), OutboxOptions::new(dir)).await.expect("it opens");
        let (seconds, read) = (begun.elapsed().as_secs_f64(), read_bytes() - read);
        assert!(outbox.status().pending as usize * PIECE > BACKLOG / 100 * 99, "{:?}", outbox.status());
        let open = open_files(Path::new(dir));
        outbox.close(Duration::ZERO).await.expect("it closes");
        let mib = f64::from(1 << 20);
        [read / mib, newest_file(&Path::new(dir).join("packets")) / mib, open, seconds]
    })
}

/// A gateway with a route to an outbox whose sink is away, which takes packets and tries again and again: MiB of its memory.
pub(crate) fn gateway(dir: &str) -> [f64; 1] {
    runtime().block_on(async {
        let data = TempDir::new().expect("a folder of our own");
        let options = OutboxOptions::new(dir);
        let wait = Duration::from_millis(10);
        let backoff = Backoff { base: wait, factor: 1.0, cap: wait };
        let options = OutboxOptions {
            delivery: haul_outbox::forward::DeliveryOptions { backoff, ..options.delivery },
            ..options
        };
        let sink = OutboxLayer::new(options).expect("right options").layer(Away);
        let mut registry = Registry::new();
        haul_tcp::register(&mut registry);
        let opened = sink.clone();
        registry.sink(&["backlog"], move |_| {
            let sink = AnySink::new(opened.clone());
            async move { Ok(sink) }
        });
        let endpoint = "backlog:".parse().expect("a URL");
        let route = Route::url("backlog", endpoint, registry.clone());
        let options = ServeOptions::new(data.path()).listen("tcp://127.0.0.1:0").route(route);
        let gateway = Gateway::start(options, registry).await.expect("it starts");
        let url = gateway.status().listeners[0].url.clone();
        let client = haul_core::Dial::dial(&haul_tcp::Dialer, url.parse().expect("its own URL")).await;
        let client = client.expect("it listens");
        let begun = Instant::now();
        let outbox = sink.open().await.expect("it opens");
        while outbox.status().sink.retries < 50 || outbox.status().stored < 1000 {
            client.deliver(Packet::binary(vec![7; SIZE])).await.expect("it is stored");
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?} after 60 s", outbox.status());
        }
        let resident = resident_kib() / 1024.0;
        drop(gateway.shutdown(Duration::from_secs(10)).await);
        [resident]
    })
}

/// Bytes that this process asked the system to read.
fn read_bytes() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux");
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.and_then(|bytes| bytes.parse().ok()).expect("a number of bytes")
}

/// Bytes of the file in `dir` whose name is the last: files are named by their first packet.
fn newest_file(dir: &Path) -> f64 {
    let files = std::fs::read_dir(dir).expect("it is there").flatten();
    let files = files.filter(|file| file.path().extension().is_some_and(|of| of == "log"));
    let newest = files.max_by_key(std::fs::DirEntry::file_name).expect("it has one");
    newest.metadata().expect("it is there").len() as f64
}

/// Files in `dir` that this process has open.
fn open_files(dir: &Path) -> f64 {
    let dir = dir.canonicalize().expect("it is there");
    let files = std::fs::read_dir("/proc/self/fd").expect("Linux").flatten();
    let open = files.filter(|file| std::fs::read_link(file.path()).is_ok_and(|to| to.starts_with(&dir)));
    open.count() as f64
}
