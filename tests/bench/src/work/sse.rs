//! Event streams: haul's client and server against hyper and eventsource-stream.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use haul_core::{Connection, Dial, Endpoint, Listener, Packet};

use super::Bar;
use super::bars::Bars;
use super::load::runtime;
use crate::measure::{Sample, cpu_seconds};
use crate::memory::{resident_kib, serve_echo};
use crate::parts;
use crate::peers::{End, sse};

const HAUL: &str = "sse://127.0.0.1:0";
/// Everybody is given plain events.
const PLAIN: &str = "sse://127.0.0.1:0?subprotocol=";
const PEER: &str = "hyper + eventsource-stream, one event per frame";
const SIZE: usize = 64;

/// Connections of haul on which a packet goes there and back, and those on which one comes from the server.
const ECHOES: &str = "echoes";
const EVENTS: &str = "events";

impl Bars<'_> {
    pub(crate) fn sse(&mut self) {
        self.ratio(
            "sse client, 64 B",
            ("events/s", PEER, Bar::AtLeast(1.0)),
            |length| received(length, async { dial(of(sse::serve(u64::MAX).await)).await }),
            raw,
        );
        for (name, url, bar) in [
            ("sse server to client, send each, 64 B", HAUL, Bar::AtLeast(3.0)),
            ("sse server to client as plain events, send each, 64 B", PLAIN, Bar::Reported),
        ] {
            self.ratio(name, ("events/s", PEER, bar), |length| received(length, fed(url)), raw);
        }
        let crowd = "1,000 sse connections";
        let [echoes, events, peer] =
            [ECHOES, EVENTS, "hyper"].map(|end| move || parts::figures(&["sse-connections", end, "1000"]));
        self.figures(
            [
                (&format!("{crowd}, one echo each: failures"), "failures", Bar::AtMost(0.0)),
                (
                    &format!("{crowd}, one echo each, which takes a POST: memory per connection, both ends"),
                    "KiB",
                    Bar::Reported,
                ),
            ],
            echoes,
        );
        let memory = |figures: [f64; 2]| Sample { value: figures[1], cpu: 0.0 };
        self.ratio(
            &format!("{crowd}, one event each: memory per connection, both ends"),
            ("KiB", "hyper", Bar::AtMost(1.0)),
            |_| memory(events()),
            |_| memory(peer()),
        );
    }
}

/// hyper to hyper and eventsource-stream.
fn raw(length: Duration) -> Sample {
    received(length, async { sse::open(sse::serve(u64::MAX).await).await })
}

/// Events per second that come out of this end.
fn received<E: End>(length: Duration, end: impl Future<Output = E>) -> Sample {
    let runtime = runtime();
    let sample = runtime.block_on(async {
        let mut end = end.await;
        let cpu = cpu_seconds();
        let counting = tokio::spawn(async move {
            let start = Instant::now();
            let mut count = 0u64;
            while start.elapsed() < length {
                for _ in 0..64 {
                    assert_eq!(end.recv().await, Some(SIZE), "an event of the length that was sent");
                }
                count += 64;
            }
            (count, count as f64 / start.elapsed().as_secs_f64())
        });
        let (count, value) = counting.await.expect("the client's end");
        Sample { value, cpu: (cpu_seconds() - cpu) / count as f64 }
    });
    runtime.shutdown_background();
    sample
}

fn of(address: SocketAddr) -> Endpoint {
    format!("sse://{address}").parse().expect("an address")
}

async fn dial(endpoint: Endpoint) -> Connection {
    haul_sse::Dialer::default().dial(endpoint).await.expect("it listens")
}

async fn listen(url: &str) -> Listener {
    haul_sse::listen(url.parse().expect("the bench's url")).await.expect("loopback has free ports")
}

/// The client's end of a connection whose server sends as fast as it can.
async fn fed(url: &str) -> Connection {
    let listener = listen(url).await;
    let port = listener.local_endpoint().port().expect("it listens");
    let (client, server) =
        tokio::join!(dial(of(SocketAddr::from(([127, 0, 0, 1], port)))), listener.accept());
    let mut server = server.expect("it listens").expect("it listens");
    let event = Bytes::from("7".repeat(SIZE));
    tokio::spawn(async move { while End::send(&mut server, event.clone()).await.is_some() {} });
    client
}

/// Opens connections: how many failed, and the KiB of resident memory per connection, both ends.
pub(crate) fn connections(end: &str, count: usize) -> [f64; 2] {
    runtime().block_on(async {
        match end {
            ECHOES | EVENTS => {
                let (listener, dialer) = (listen(HAUL).await, haul_sse::Dialer::default());
                let endpoint = listener.local_endpoint().clone();
                let echoes = end == ECHOES;
                if echoes {
                    tokio::spawn(serve_echo(listener));
                } else {
                    tokio::spawn(serve_one(listener));
                }
                crowd(count, async || {
                    let connection = dialer.dial(endpoint.clone()).await.ok()?;
                    if echoes { echoed(connection).await } else { fed_one(connection).await }
                })
                .await
            }
            _ => {
                let address = sse::serve(1).await;
                crowd(count, async || {
                    let mut events = sse::open(address).await;
                    (events.recv().await? == SIZE).then_some(events)
                })
                .await
            }
        }
    })
}

/// Sends one packet on each connection, and keeps it open until its peer ends it.
async fn serve_one(listener: Listener) {
    while let Ok(Some(mut connection)) = listener.accept().await {
        tokio::spawn(async move {
            if connection.send(Packet::text("7".repeat(SIZE))).await.is_ok() {
                // Whatever comes, it is not wanted.
                while let Ok(Some(_)) = connection.recv().await {}
            }
        });
    }
}

async fn fed_one(mut connection: Connection) -> Option<Connection> {
    (connection.recv().await.ok()??.len() == SIZE).then_some(connection)
}

async fn crowd<T>(count: usize, open: impl AsyncFn() -> Option<T>) -> [f64; 2] {
    let before = resident_kib();
    let mut open_ones = Vec::with_capacity(count);
    for _ in 0..count {
        open_ones.extend(open().await);
    }
    let used = resident_kib() - before;
    [(count - open_ones.len()) as f64, used / open_ones.len() as f64]
}

async fn echoed(mut connection: Connection) -> Option<Connection> {
    let packet = Packet::text("7".repeat(SIZE));
    connection.send(packet.clone()).await.ok()?;
    (connection.recv().await.ok()?? == packet).then_some(connection)
}
