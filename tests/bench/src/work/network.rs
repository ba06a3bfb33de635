//! What a network does: dials and resumes over lines of 20 ms each way, dials where packets are lost, and how long a packet
//! takes where nothing is in its way.

use std::time::{Duration, Instant};

use haul_adaptive::{Adaptive, AdaptiveOptions, Candidate};
use haul_core::{Connection, Dial, Endpoint, Listener, Packet, Registry, Result, Shared, service_fn};
use haul_faults::{Cut, TcpFaults, TcpRelay, UdpFaults, UdpRelay};
use haul_session::{Acceptor, AcceptorOptions, SessionLayer, SessionOptions};
use tokio::time::{interval, timeout};
use tower::Layer;

use super::Bar;
use super::bars::Bars;
use super::load::runtime;
use crate::measure::{Sample, cpu_seconds, median};

/// How long a line takes, each way.
const DELAY: Duration = Duration::from_millis(20);
const SCHEMES: [&str; 5] = ["tcp", "ws", "sse", "quic", "wt"];
/// How often a figure without a length is taken; it is the median.
const ROUNDS: usize = 15;
/// Dials over lossy lines, and how long one may take.
const DIALS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(10);
/// Packets whose latency is measured, one each millisecond.
const PACKETS: usize = 5000;

impl Bars<'_> {
    pub(crate) fn network(&mut self) {
        let (line, delay) = ("through round trips of 40 ms", DELAY);
        self.ratio(
            &format!("network: adaptive, dial {line}, WebTransport works"),
            ("s", "WebTransport alone", Bar::AtMost(1.1)),
            |length| timed(length, Racing::new(delay, false), Racing::race),
            |length| timed(length, Line::new("wt", delay, 0.0), Line::dial),
        );
        self.ratio(
            &format!("network: adaptive, dial {line}, UDP is dropped"),
            ("s", "head start and WebSocket alone", Bar::AtMost(1.1)),
            |length| timed(length, Racing::new(delay, true), Racing::race),
            |length| {
                let alone = timed(length, Line::new("ws", delay, 0.0), Line::dial);
                let head_start = AdaptiveOptions::default().head_start;
                Sample { value: alone.value + head_start.as_secs_f64(), ..alone }
            },
        );
        let name = format!("network: session over ws, cut {line}, first packet after the transport's dial");
        self.figures([(&name, "round trips", Bar::AtMost(2.0))], || [runtime().block_on(resume())]);
        for scheme in SCHEMES {
            let name = format!("network: {scheme}, dial, packet and its echo, loopback");
            self.figures([(&name, "s", Bar::AtMost(0.1))], || {
                [runtime().block_on(first_packet(scheme, Duration::ZERO))]
            });
            let name = format!("network: {scheme}, dial, packet and its echo, {line}");
            self.figures([(&name, "round trips", Bar::AtMost(4.0))], || {
                [runtime().block_on(async { first_packet(scheme, delay).await / round_trip(scheme).await })]
            });
        }
        for scheme in ["quic", "wt"] {
            let name = format!("network: {DIALS} dials and echoes over {scheme}, 5 % lost each way");
            let most = Bar::AtMost(DIALS as f64 / 100.0);
            self.figures([(&name, "failures", most)], || [runtime().block_on(failures(scheme))]);
        }
        for scheme in SCHEMES {
            let name =
                format!("network: {scheme}, one way at 1,000 packets/s, p99, loopback, the slower way");
            self.figures([(&name, "s", Bar::AtMost(0.001))], || [runtime().block_on(latency(scheme))]);
        }
    }
}

/// Seconds that `work` takes at `place`, the median of as many as `length` gives time for.
fn timed<P>(
    length: Duration,
    place: impl Future<Output = P>,
    work: impl AsyncFn(&P) -> Connection,
) -> Sample {
    let runtime = runtime();
    let sample = runtime.block_on(async {
        let place = place.await;
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let mut times = Vec::new();
        while times.is_empty() || start.elapsed() < length {
            let began = Instant::now();
            let connection = work(&place).await;
            times.push(began.elapsed().as_secs_f64());
            drop(connection);
        }
        Sample { value: median(&times), cpu: (cpu_seconds() - cpu) / times.len() as f64 }
    });
    runtime.shutdown_background();
    sample
}

/// A relay, held as long as it is needed.
enum Relay {
    Tcp(TcpRelay),
    Udp(UdpRelay),
}

/// A server that answers with what it gets, behind a line.
struct Line {
    endpoint: Endpoint,
    relay: Relay,
}

impl Line {
    async fn new(scheme: &str, delay: Duration, lost: f64) -> Self {
        let listener = listen(scheme).await;
        let target = ([127, 0, 0, 1], listener.local_endpoint().port().expect("it listens")).into();
        tokio::spawn(echo(listener));
        let relay = match scheme {
            "quic" | "wt" => {
                let faults = UdpFaults { delay, lost, ..UdpFaults::default() };
                Relay::Udp(UdpRelay::new(target, 1, faults).await.expect("a free port"))
            }
            _ => {
                let faults = TcpFaults { delay, ..TcpFaults::default() };
                Relay::Tcp(TcpRelay::new(target, 1, faults).await.expect("a free port"))
            }
        };
        let place = match &relay {
            Relay::Tcp(relay) => relay.address(),
            Relay::Udp(relay) => relay.address(),
        };
        Self { endpoint: at(scheme, place), relay }
    }

    /// Dials with nothing remembered of an earlier time.
    async fn dial(&self) -> Connection {
        dialer().dial(self.endpoint.clone()).await.expect("it listens")
    }

    /// Dials, sends and waits for the echo.
    async fn first_packet(&self) -> Result<()> {
        let mut connection = dialer().dial(self.endpoint.clone()).await?;
        connection.send(Packet::text("first")).await?;
        connection.recv().await?;
        Ok(())
    }
}

/// WebTransport and WebSocket, each behind a line.
struct Racing {
    wt: Line,
    ws: Line,
}

impl Racing {
    async fn new(delay: Duration, dark: bool) -> Self {
        let racing = Self { wt: Line::new("wt", delay, 0.0).await, ws: Line::new("ws", delay, 0.0).await };
        if let (Relay::Udp(relay), true) = (&racing.wt.relay, dark) {
            relay.go_dark();
        }
        racing
    }

    /// Races them with nothing remembered of an earlier time.
    async fn race(&self) -> Connection {
        let candidate = |name, line: &Line| Candidate::new(name, dialer()).always_at(line.endpoint.clone());
        let both = [candidate("webtransport", &self.wt), candidate("websocket", &self.ws)];
        let adaptive = Adaptive::new(AdaptiveOptions::default(), both).expect("the defaults are sound");
        adaptive.dial(self.ws.endpoint.clone()).await.expect("one of them connects")
    }
}

fn at(scheme: &str, place: std::net::SocketAddr) -> Endpoint {
    let url = match scheme {
        "tcp" => format!("tcp://{place}"),
        "quic" => format!("quic://{place}?insecure=true"),
        "wt" => format!("wt://{place}/#insecure=true"),
        scheme => format!("{scheme}://{place}/"),
    };
    url.parse().expect("a URL of the bench")
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    haul_tcp::register(&mut registry);
    haul_ws::register(&mut registry);
    haul_sse::register(&mut registry);
    haul_quic::register(&mut registry);
    haul_wt::register(&mut registry);
    registry
}

/// Dials every scheme, and remembers nothing of earlier dials.
fn dialer() -> Shared<Endpoint> {
    Shared::new(service_fn(|endpoint: Endpoint| async move { registry().connect(endpoint).await }))
}

async fn listen(scheme: &str) -> Listener {
    let endpoint = format!("{scheme}://127.0.0.1:0").parse().expect("a URL of the bench");
    registry().listen(endpoint).await.expect("loopback has free ports")
}

async fn echo(listener: Listener) {
    while let Ok(Some(mut peer)) = listener.accept().await {
        tokio::spawn(async move {
            while let Some(packet) = peer.recv().await? {
                peer.send(packet).await?;
            }
            Ok::<(), haul_core::Error>(())
        });
    }
}

/// Seconds from the dial to the echo of the first packet.
async fn first_packet(scheme: &str, delay: Duration) -> f64 {
    let line = Line::new(scheme, delay, 0.0).await;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        line.first_packet().await.expect("it listens");
        times.push(began.elapsed().as_secs_f64());
    }
    median(&times)
}

/// Seconds of a round trip over the line of `scheme`: of a packet on a connection that stands.
async fn round_trip(scheme: &str) -> f64 {
    // What a protocol itself adds to each packet is not the line's: the plainest one measures it.
    let plainest = if matches!(scheme, "quic" | "wt") { "quic" } else { "tcp" };
    let line = Line::new(plainest, DELAY, 0.0).await;
    let mut connection = line.dial().await;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        connection.send(Packet::text("ping")).await.expect("it stands");
        connection.recv().await.expect("it stands");
        times.push(began.elapsed().as_secs_f64());
    }
    median(&times)
}

/// Round trips from a cut to the first packet that was sent after it, without those of a dial of the transport.
async fn resume() -> f64 {
    let plain = Line::new("ws", DELAY, 0.0).await;
    let beneath = listen("ws").await;
    let target = ([127, 0, 0, 1], beneath.local_endpoint().port().expect("it listens")).into();
    let listener = Acceptor::new(AcceptorOptions::default()).expect("the defaults are sound");
    let listener = listener.listen(vec![beneath]).expect("one listener");
    let faults = TcpFaults { delay: DELAY, ..TcpFaults::default() };
    let relay = TcpRelay::new(target, 1, faults).await.expect("a free port");
    let sessions = SessionLayer::new(SessionOptions::default()).expect("the defaults are sound");
    let (mut dials, mut resumes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let _dialed = plain.dial().await;
        dials.push(began.elapsed().as_secs_f64());
        // Another session each time: the first dial after a link that stood is at once.
        let session = sessions.layer(dialer());
        let (client, server) = tokio::join!(session.dial(at("ws", relay.address())), listener.accept());
        let (mut client, server) =
            (client.expect("it listens"), server.expect("it listens").expect("it listens"));
        let epoch = Instant::now();
        let sending = tokio::spawn(send_stamped(server, epoch, usize::MAX));
        client.recv().await.expect("the session stands");
        let cut = epoch.elapsed();
        relay.cut(Cut::Reset);
        while stamp(&client.recv().await.expect("the session stands").expect("no end")) <= cut {}
        resumes.push((epoch.elapsed() - cut).as_secs_f64());
        sending.abort();
    }
    (median(&resumes) - median(&dials)) / round_trip("ws").await
}

/// Sends a packet each millisecond that says when it was sent.
async fn send_stamped(end: Connection, epoch: Instant, count: usize) -> Connection {
    let mut clock = interval(Duration::from_millis(1));
    for _ in 0..count {
        clock.tick().await;
        let mut payload = (epoch.elapsed().as_nanos() as u64).to_be_bytes().to_vec();
        payload.resize(64, 0);
        if end.send(Packet::binary(payload)).await.is_err() {
            break;
        }
    }
    end
}

fn stamp(packet: &Packet) -> Duration {
    let (bytes, _) = packet.payload().split_first_chunk().expect("it has its stamp");
    Duration::from_nanos(u64::from_be_bytes(*bytes))
}

/// How many of the dials do not end with an echo.
async fn failures(scheme: &str) -> f64 {
    let line = Line::new(scheme, Duration::ZERO, 0.05).await;
    let mut failures = 0;
    for _ in 0..DIALS {
        let came = timeout(PATIENCE, line.first_packet()).await;
        failures += usize::from(!matches!(came, Ok(Ok(()))));
    }
    failures as f64
}

/// Seconds that 99 of 100 packets take at most, in the slower direction.
async fn latency(scheme: &str) -> f64 {
    let listener = listen(scheme).await;
    let place = ([127, 0, 0, 1], listener.local_endpoint().port().expect("it listens")).into();
    let dialer = dialer();
    let (client, server) = tokio::join!(dialer.dial(at(scheme, place)), listener.accept());
    let (client, server) = (client.expect("it listens"), server.expect("it listens").expect("it listens"));
    let (there, client, server) = one_way(client, server).await;
    let (back, ..) = one_way(server, client).await;
    there.max(back)
}

async fn one_way(from: Connection, mut to: Connection) -> (f64, Connection, Connection) {
    let epoch = Instant::now();
    let sending = tokio::spawn(send_stamped(from, epoch, PACKETS));
    let receiving = tokio::spawn(async move {
        let mut times = Vec::with_capacity(PACKETS);
        for _ in 0..PACKETS {
            let packet = to.recv().await.expect("it stands").expect("no end");
            times.push((epoch.elapsed() - stamp(&packet)).as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        (times[PACKETS * 99 / 100], to)
    });
    let (p99, to) = receiving.await.expect("the receiver");
    (p99, sending.await.expect("the sender"), to)
}
