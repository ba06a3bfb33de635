//! Two gateways before one engine, NATS with JetStream: one is killed, and its clients go on at the other.

use std::collections::{BTreeSet, HashSet};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use haul_adaptive::{Adaptive, AdaptiveOptions, Candidate};
use haul_core::{Connection, Deliver, Dial, Endpoint, Error, ErrorKind, Level, Packet, Sender};
use haul_session::{SessionLayer, SessionOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower_layer::Layer as _;

use crate::program::{DEADLINE, run, until};
use crate::settings::Place;

const WEB: &str = "http://127.0.0.1:0";

/// Packets that each client has stored before the kill, and again after it.
const ENOUGH: u64 = 30;

/// The engine: a NATS server of our own.
struct Engine {
    port: u16,
    program: Child,
    _folder: tempfile::TempDir,
}

impl Engine {
    /// `None` after saying what did not run.
    fn start() -> Option<Self> {
        let mut command = haul_services::nats_server()?;
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder.path());
        let program = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let engine = Self { port, program, _folder: folder };
        until("nats-server to say who it is", || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            stream.set_read_timeout(Some(DEADLINE)).ok()?;
            stream.read_exact(&mut [0; 5]).ok()
        });
        Some(engine)
    }

    /// The route of a gateway to it.
    fn route(&self) -> String {
        let sink = format!(
            "nats://127.0.0.1:{}/events.{{session_id}}?stream=EVENTS&create=events.*&dedupe=1h",
            self.port
        );
        format!("[[route]]\nname = 'engine'\nsink = '{sink}'\nbackoff = {{ cap = '1s' }}\n")
    }

    /// The payloads in its stream, read by a client that is not haul's.
    fn payloads(&self) -> Option<Vec<String>> {
        let mut python = haul_services::python_nats()?;
        python.args(["-c", READ, &self.port.to_string()]);
        let ended = run(python, "python");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        Some(String::from_utf8(ended.stdout).unwrap().lines().map(str::to_owned).collect())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

const READ: &str = "
import asyncio, sys, nats
async def main():
    client = await nats.connect('nats://127.0.0.1:' + sys.argv[1])
    stream = client.jetstream()
    state = (await stream.stream_info('EVENTS')).state
    for number in range(state.first_seq, state.last_seq + 1):
        print((await stream.get_msg('EVENTS', number)).data.decode())
    await client.close()
asyncio.run(main())
";

/// Dials sessions at the first of `addresses` that answers, now and after each cut.
async fn session(addresses: &[String]) -> Connection {
    let places = ["one", "two"].into_iter().zip(addresses).map(|(name, address)| {
        let endpoint = Endpoint::parse(&format!("ws://{address}/live")).unwrap();
        Candidate::new(name, haul_ws::Dialer::default()).always_at(endpoint)
    });
    let either = Adaptive::new(AdaptiveOptions::default(), places.collect::<Vec<_>>()).unwrap();
    let dialer = SessionLayer::new(SessionOptions::default()).unwrap().layer(either);
    let endpoint = Endpoint::parse(&format!("ws://{}/live", addresses[0])).unwrap();
    soon("a session", dialer.dial(endpoint)).await.unwrap()
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("waited {DEADLINE:?} for {what}"))
}

/// A client that has a session and sends until it is told to stop.
struct Client {
    /// The gateway that it began at.
    at: SocketAddr,
    sent: watch::Receiver<u64>,
    sending: JoinHandle<Vec<String>>,
    gaps: mpsc::Receiver<Error>,
}

impl Client {
    fn begin<F>(connection: Connection, sends: impl FnOnce(Sender, watch::Sender<u64>) -> F) -> Self
    where
        F: Future<Output = Vec<String>> + Send + 'static,
    {
        let at = connection.info().peer.parse().unwrap();
        let (sender, mut receiver) = connection.split();
        let (tell, gaps) = mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                match receiver.recv().await {
                    Err(why) if why.kind() == ErrorKind::Gap => tell.send(why).await.unwrap(),
                    _ => return,
                }
            }
        });
        let (count, sent) = watch::channel(0);
        Self { at, sent, sending: tokio::spawn(sends(sender, count)), gaps }
    }

    /// Waits until [`ENOUGH`] more were sent.
    async fn goes_on(&mut self) {
        let enough = *self.sent.borrow() + ENOUGH;
        soon("packets to be stored", self.sent.wait_for(|sent| *sent >= enough)).await.unwrap();
    }

    /// What it sent, and the gaps that it was told of.
    async fn end(mut self) -> (Vec<String>, Vec<Error>) {
        let sent = soon("the last packet", self.sending).await.unwrap();
        let mut gaps = Vec::new();
        while let Ok(gap) = self.gaps.try_recv() {
            gaps.push(gap);
        }
        (sent, gaps)
    }
}

/// Delivers numbered packets with ids, and answers those of which it saw that they are stored.
async fn delivers(
    sender: Sender,
    name: String,
    count: watch::Sender<u64>,
    stop: watch::Receiver<bool>,
) -> Vec<String> {
    let mut stored = Vec::new();
    while !*stop.borrow() {
        let text = format!("{name}-{}", stored.len());
        let packet = Packet::text(text.as_str()).with("session_id", name.clone()).identified();
        let receipt = soon("a receipt", sender.deliver(packet)).await.unwrap();
        assert_eq!(receipt.level, Level::Stored);
        stored.push(text);
        count.send_modify(|count| *count += 1);
    }
    sender.close(haul_core::CloseReason::NORMAL).await.unwrap();
    stored
}

/// Sends numbered packets without ids, and answers all.
async fn sends(
    sender: Sender,
    name: String,
    count: watch::Sender<u64>,
    stop: watch::Receiver<bool>,
) -> Vec<String> {
    let mut sent = Vec::new();
    while !*stop.borrow() {
        let text = format!("{name}-{}", sent.len());
        sender.send(Packet::text(text.as_str()).with("session_id", name.clone())).await.unwrap();
        soon("a flush", sender.flush()).await.unwrap();
        sent.push(text);
        count.send_modify(|count| *count += 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    sender.close(haul_core::CloseReason::NORMAL).await.unwrap();
    sent
}

/// Waits until `place`'s gateway has passed all on.
fn passed_on(place: &Place) {
    until("the engine to get all", || {
        let sink = place.status()["log"]["sinks"][0].clone();
        (sink["lag"] == 0).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_costs_the_engine_nothing_that_was_acknowledged() {
    let Some(engine) = Engine::start() else { return };
    let places = [0, 1].map(|_| Place::new(WEB, &engine.route()));
    let gateways = [places[0].start(&[]), places[1].start(&[])];
    let addresses = [gateways[0].address(0), gateways[1].address(0)];
    let backwards = [addresses[1].clone(), addresses[0].clone()];
    let (stop, stopped) = watch::channel(false);
    let mut clients = Vec::new();
    for number in 0..4 {
        let (order, name) = (if number % 2 == 0 { &addresses } else { &backwards }, format!("d{number}"));
        let stopped = stopped.clone();
        clients.push(Client::begin(session(order).await, |sender, count| {
            delivers(sender, name, count, stopped)
        }));
    }
    let plain = session(&addresses).await;
    let mut plain = Client::begin(plain, |sender, count| sends(sender, "plain".into(), count, stopped));
    for client in clients.iter_mut().chain([&mut plain]) {
        client.goes_on().await;
    }

    // The one where the client without ids is.
    let dead = addresses.iter().position(|address| *address == plain.at.to_string()).unwrap();
    let [one, two] = gateways;
    let (killed, lives) = if dead == 0 { (one, two) } else { (two, one) };
    killed.kill();
    for client in clients.iter_mut().chain([&mut plain]) {
        client.goes_on().await;
    }
    stop.send_replace(true);
    let mut acknowledged = Vec::new();
    for client in clients {
        let moved = client.at == plain.at;
        let (stored, gaps) = client.end().await;
        acknowledged.extend(stored);
        // With ids nothing is lost, and who moved is told that its session is another.
        let lost: Vec<_> = gaps.iter().map(|gap| fact(gap, "ours_maybe_lost").unwrap()).collect();
        assert_eq!(lost, vec![0; usize::from(moved)], "{gaps:?}");
    }
    let (sent, gaps) = plain.end().await;
    let [gap] = &gaps[..] else { panic!("one gap should be told: {gaps:?}") };
    let unsure = fact(gap, "from").zip(fact(gap, "to")).map_or(0..0, |(from, to)| from..to);

    // What the killed one had acknowledged and not passed on is on its disk.
    let again = places[dead].start(&[]);
    places.iter().for_each(passed_on);
    for gateway in [again, lives] {
        assert_eq!(gateway.stop().code, Some(0));
    }
    let Some(found) = engine.payloads() else { return };
    let engine: HashSet<_> = found.iter().collect();
    let missing: Vec<_> = acknowledged.iter().filter(|text| !engine.contains(text)).collect();
    assert!(
        missing.is_empty(),
        "of {} acknowledged packets the engine misses {missing:?}",
        acknowledged.len()
    );
    let silent: Vec<_> =
        (0..sent.len()).filter(|at| !engine.contains(&sent[*at]) && !unsure.contains(at)).collect();
    assert!(silent.is_empty(), "{silent:?} of {} are missing, and only {unsure:?} may be: {gap}", sent.len());
    let known: BTreeSet<_> = acknowledged.iter().chain(&sent).collect();
    let invented: Vec<_> = engine.iter().filter(|text| !known.contains(*text)).collect();
    assert!(invented.is_empty(), "the engine has {invented:?}, which nobody sent");
    // The engine knows ids again, so that what was delivered twice is there once.
    assert_eq!(engine.len(), found.len(), "something is in the engine twice");
}

fn fact(gap: &Error, name: &str) -> Option<usize> {
    gap.context().find(|(known, _)| *known == name).and_then(|(_, value)| value.parse().ok())
}
