//! Brokers, and who hears what they are told.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use haul_core::{Endpoint, Level, Packet, Receipt};
use haul_mqtt::{MqttConfig, MqttSink, MqttSource, SubscriptionConfig};
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::sync::{Mutex, mpsc};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker of our own, in a folder of its own. It keeps what it has when it is stopped, and not when it is killed.
pub(crate) struct Mosquitto {
    pub(crate) port: u16,
    folder: TempDir,
    program: Child,
}

impl Mosquitto {
    /// A broker; `None` after saying what did not run.
    pub(crate) fn start() -> Option<Self> {
        Self::with("allow_anonymous true")
    }

    /// A broker with further lines of configuration.
    pub(crate) fn with(more: &str) -> Option<Self> {
        haul_services::mosquitto()?;
        let folder = TempDir::new().unwrap();
        let path = folder.path().to_str().unwrap();
        // Somebody may take a port between our looking and the broker's listening.
        for _ in 0..5 {
            let port = free_port();
            let config = format!(
                "listener {port} 127.0.0.1\n{more}\nuser root\npersistence true\npersistence_location {path}/\n\
                 max_queued_messages 100000\nqueue_qos0_messages true\n"
            );
            std::fs::write(folder.path().join("mosquitto.conf"), config).unwrap();
            if let Some(program) = run(&folder) {
                return Some(Self { port, folder, program });
            }
        }
        panic!("mosquitto does not start: {}", std::fs::read_to_string(folder.path().join("log")).unwrap());
    }

    /// A URL of it, with this path and these options.
    pub(crate) fn url(&self, rest: &str) -> String {
        format!("mqtt://127.0.0.1:{}/{rest}", self.port)
    }

    pub(crate) fn sink(&self, rest: &str) -> MqttSink {
        sink(&self.url(rest))
    }

    pub(crate) fn source(&self, rest: &str) -> MqttSource {
        source(&self.url(rest))
    }

    /// Makes a session that is subscribed to `topic`, by the client in C.
    pub(crate) fn subscribe(&self, client_id: &str, topic: &str) {
        let mut client =
            self.client(haul_services::mosquitto_sub(), &["-q", "2", "-i", client_id, "-t", topic]);
        let done = client.args(["-c", "-x", "3600", "-E"]).output().unwrap();
        assert!(done.status.success(), "mosquitto_sub: {done:?}");
    }

    /// Publishes by the client in C.
    pub(crate) fn publish(&self, options: &[&str]) {
        let done = self.client(haul_services::mosquitto_pub(), options).output().unwrap();
        assert!(done.status.success(), "mosquitto_pub: {done:?}");
    }

    /// The client in C, with these options.
    pub(crate) fn client(&self, client: Option<Command>, options: &[&str]) -> Command {
        let mut client = client.expect("the clients are there where the broker is");
        client.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-V", "mqttv5"]).args(options);
        client
    }

    /// Stops each of its threads.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
        let started = Instant::now();
        let stat = format!("/proc/{}/stat", self.program.id());
        while !std::fs::read_to_string(&stat).unwrap().rsplit_once(')').unwrap().1.starts_with(" T") {
            assert!(started.elapsed() < PATIENCE, "mosquitto runs on 60 s after SIGSTOP");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.program.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill {name}");
    }

    pub(crate) fn kill(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }

    /// Lets it write what it has to disk, and end.
    pub(crate) fn stop(&mut self) {
        self.signal("-TERM");
        let started = Instant::now();
        while self.program.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "mosquitto runs on 60 s after SIGTERM");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Starts it again, with what is on disk.
    pub(crate) fn start_again(&mut self) {
        let started = Instant::now();
        self.program = loop {
            // The port may still be somebody else's way out.
            match run(&self.folder) {
                Some(program) => break program,
                None => assert!(started.elapsed() < PATIENCE, "mosquitto does not start again"),
            }
        };
    }
}

/// A broker that listens; `None`, if it ended instead.
fn run(folder: &TempDir) -> Option<Child> {
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let mut command = haul_services::mosquitto().expect("it was there");
    command.arg("-c").arg(folder.path().join("mosquitto.conf"));
    let mut program = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let started = Instant::now();
    loop {
        if program.try_wait().unwrap().is_some() {
            return None;
        }
        // Somebody else may listen at its port: what it says itself counts.
        if std::fs::read_to_string(folder.path().join("log")).unwrap().contains(" running") {
            return Some(program);
        }
        assert!(started.elapsed() < PATIENCE, "mosquitto does not listen after 60 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// What an [`Ear`] hears until it listens.
const HELLO: &str = "do you hear?";

/// Hears all that is published to a topic from now on, by the client in C.
#[derive(Clone)]
pub(crate) struct Ear(Arc<Heard>);

struct Heard {
    client: Mutex<Child>,
    lines: Mutex<(mpsc::Receiver<String>, Vec<String>)>,
    port: u16,
    topic: String,
}

impl Ear {
    pub(crate) fn at(broker: &Mosquitto, topic: &str) -> Self {
        Self::with(broker, topic, "%x")
    }

    /// Hears lines in this format of mosquitto_sub, which begins with the payload in hexadecimal.
    pub(crate) fn with(broker: &Mosquitto, topic: &str, format: &str) -> Self {
        // The broker may send more than it should (Mosquitto 2.0.11), and its client ends then.
        let much = ["-D", "connect", "receive-maximum", "65535"];
        let options = [&["-q", "2", "-t", topic, "-F", format][..], &much].concat();
        let mut client = broker.client(haul_services::mosquitto_sub(), &options);
        let mut client = client.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (to, lines) = mpsc::channel(100_000);
        let said = BufReader::new(client.stdout.take().unwrap());
        let (listens, listening) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            // It ends with the client, or the test.
            for line in said.lines().map_while(Result::ok) {
                if line.starts_with(&hex(HELLO.as_bytes())) {
                    let _ = listens.try_send(());
                } else if to.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        let started = Instant::now();
        while listening.recv_timeout(Duration::from_millis(100)).is_err() {
            assert!(started.elapsed() < PATIENCE, "mosquitto_sub hears nothing after 60 s");
            broker.publish(&["-q", "1", "-t", &topic.replace('#', "word"), "-m", HELLO]);
        }
        let (client, lines) = (Mutex::new(client), Mutex::new((lines, Vec::new())));
        Self(Arc::new(Heard { client, lines, port: broker.port, topic: topic.to_owned() }))
    }

    /// All lines up to now: what the broker has before this word.
    pub(crate) async fn lines(&self) -> Vec<String> {
        const WORD: &str = "that is all";
        let Heard { lines, port, topic, .. } = &*self.0;
        let mut lines = lines.lock().await;
        let mut client = haul_services::mosquitto_pub().expect("it was there");
        let (port, topic) = (port.to_string(), topic.replace('#', "word"));
        client.args(["-h", "127.0.0.1", "-p", &port, "-q", "2", "-t", &topic, "-m", WORD]);
        let said = tokio::task::spawn_blocking(move || client.status()).await.unwrap();
        assert!(said.unwrap().success(), "mosquitto_pub");
        loop {
            let line = soon("a line", lines.0.recv()).await.expect("mosquitto_sub ended");
            if line.starts_with(&hex(WORD.as_bytes())) {
                return lines.1.clone();
            }
            lines.1.push(line);
        }
    }

    /// All payloads up to now.
    pub(crate) async fn heard(&self) -> Vec<Bytes> {
        self.lines().await.iter().map(|line| unhex(line)).collect()
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let client = self.client.get_mut();
        let _ = client.kill();
        let _ = client.wait();
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(line: &str) -> Bytes {
    (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect()
}

pub(crate) fn sink(url: &str) -> MqttSink {
    MqttSink::new(MqttConfig::from_endpoint(&Endpoint::parse(url).unwrap()).unwrap()).unwrap()
}

pub(crate) fn source(url: &str) -> MqttSource {
    MqttSource::new(SubscriptionConfig::from_endpoint(&Endpoint::parse(url).unwrap()).unwrap()).unwrap()
}

/// A port that nobody has.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A port where nobody listens, as long as this is held.
pub(crate) fn closed_port() -> (TcpSocket, u16) {
    let held = TcpSocket::new_v4().unwrap();
    held.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = held.local_addr().unwrap().port();
    (held, port)
}

/// Packets with the numbers of this range.
pub(crate) fn numbered(numbers: std::ops::Range<u32>) -> Vec<Packet> {
    numbers.map(|number| Packet::text(number.to_string())).collect()
}

pub(crate) fn stored() -> Receipt {
    Receipt::new(Level::Stored, None)
}

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("waited 60 s for {what}"))
}
