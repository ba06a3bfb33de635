//! Servers, and what is in them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use haul_amqp::{AmqpConfig, AmqpSink, AmqpSource, ConsumerConfig};
use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// How long a server may take to start: 7 s alone, far longer beside other tests.
const START: Duration = Duration::from_secs(180);

/// Starts the name service and the server, and ends both when it is told to, or when the pipe is closed at our end, however we
/// ended: then it removes their folder, too. Erlang's helpers end with their server.
const KEEPER: &str = r#"
epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" &
{ "$HAUL_SERVER" >"$HAUL_FOLDER/output" 2>&1 </dev/null; echo >"$HAUL_FOLDER/ended"; } &
server=$!
read -r told && kill -9 0
kill -9 $(cat "$HAUL_FOLDER/pid") && wait $server
rm -rf "$HAUL_FOLDER"
kill -9 0
"#;

/// A server of our own, in a folder of its own.
pub(crate) struct Rabbit {
    pub(crate) port: u16,
    /// For TLS, with a certificate for `localhost` and 127.0.0.1 by [`ca`](Self::ca).
    pub(crate) tls: u16,
    /// Of the server's own name service, and between servers.
    others: [u16; 2],
    keeper: Child,
    folder: TempDir,
}

/// The server that most tests share; `None` after saying what did not run.
pub(crate) fn shared() -> Option<&'static Rabbit> {
    static SHARED: OnceLock<Option<Rabbit>> = OnceLock::new();
    match SHARED.get_or_init(|| Rabbit::start("")) {
        Some(rabbit) => Some(rabbit),
        None => haul_services::rabbitmq_server().and(None),
    }
}

impl Rabbit {
    /// A server with further lines of configuration; `None` after saying what did not run.
    pub(crate) fn start(more: &str) -> Option<Self> {
        haul_services::rabbitmq_server()?;
        // Somebody may take a port between our looking and the server's listening.
        for _ in 0..3 {
            let folder = TempDir::new().unwrap();
            let [port, tls, first, second] = free_ports();
            std::fs::write(folder.path().join("plugins"), "[].").unwrap();
            let config = format!(
                "listeners.tcp.1 = 127.0.0.1:{port}\nlog.file.level = warning\n{}{more}",
                certified(folder.path(), tls)
            );
            std::fs::write(folder.path().join("rabbitmq.conf"), config).unwrap();
            let others = [first, second];
            let keeper = keep(folder.path(), port, others);
            let rabbit = Self { port, tls, others, keeper, folder };
            if rabbit.listens() {
                return Some(rabbit);
            }
        }
        panic!("RabbitMQ ended three times when it was started");
    }

    /// Waits until it answers; false if it ended.
    fn listens(&self) -> bool {
        let started = Instant::now();
        while !answers(self.port).unwrap_or(false) {
            if self.folder.path().join("ended").exists() {
                return false;
            }
            if started.elapsed() > START {
                let said = std::fs::read_to_string(self.folder.path().join("output")).unwrap_or_default();
                panic!("waited {START:?} for RabbitMQ to listen; it said: {said}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        true
    }

    /// The URL of this server with what follows its port: `/?queue=x`.
    pub(crate) fn url(&self, rest: &str) -> String {
        format!("amqp://127.0.0.1:{}{rest}", self.port)
    }

    /// The certificate that its own stands on.
    pub(crate) fn ca(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    pub(crate) fn sink(&self, rest: &str) -> AmqpSink {
        sink(&self.url(rest))
    }

    pub(crate) fn source(&self, rest: &str) -> AmqpSource {
        let config = ConsumerConfig::from_endpoint(&self.url(rest).parse().unwrap()).unwrap();
        AmqpSource::new(config).unwrap()
    }

    /// A channel of the client library itself.
    pub(crate) async fn channel(&self) -> (Connection, Channel) {
        let properties = ConnectionProperties::default();
        let connection =
            soon("a connection", Connection::connect(&self.url("/%2f"), properties)).await.unwrap();
        let channel = soon("a channel", connection.create_channel()).await.unwrap();
        (connection, channel)
    }

    /// Declares a durable queue.
    pub(crate) async fn declare(&self, queue: &str) {
        let (_connection, channel) = self.channel().await;
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
        soon("a queue", declared).await.unwrap();
    }

    /// Runs `rabbitmqctl`, and answers what it says.
    pub(crate) fn control(&self, words: &[&str]) -> String {
        let program = haul_services::rabbitmq_server().expect("it was there");
        let mut control = Command::new(Path::new(program.get_program()).with_file_name("rabbitmqctl"));
        surround(&mut control, self.folder.path(), self.port, self.others);
        let output = control.args(words).output().unwrap();
        let said = format!("{output:?}");
        assert!(output.status.success(), "rabbitmqctl {words:?}: {said}");
        said
    }

    /// Sends a signal to the server.
    pub(crate) fn signal(&self, name: &str) {
        let pid = std::fs::read_to_string(self.folder.path().join("pid")).unwrap();
        assert!(Command::new("kill").args([name, pid.trim()]).status().unwrap().success());
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut keeper) = self.keeper.stdin.take() {
            keeper.write_all(b"end\n").unwrap();
        }
        self.keeper.wait().unwrap();
    }

    /// Starts it again, with what it had on disk.
    pub(crate) fn start_again(&mut self) {
        let _ = std::fs::remove_file(self.folder.path().join("ended"));
        self.keeper = keep(self.folder.path(), self.port, self.others);
        assert!(self.listens(), "RabbitMQ ended when it was started again");
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.kill();
    }
}

fn keep(folder: &Path, port: u16, others: [u16; 2]) -> Child {
    let program = haul_services::rabbitmq_server().expect("it was there");
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER]).env("HAUL_SERVER", program.get_program()).env("HAUL_FOLDER", folder);
    surround(&mut keeper, folder, port, others);
    keeper.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    keeper.spawn().unwrap()
}

fn surround(command: &mut Command, folder: &Path, port: u16, others: [u16; 2]) {
    let [epmd, between] = others.map(|port| port.to_string());
    command
        .env("HOME", folder)
        .env("RABBITMQ_NODENAME", format!("haul{port}@localhost"))
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_DIST_PORT", between)
        .env("RABBITMQ_MNESIA_BASE", folder)
        .env("RABBITMQ_LOG_BASE", folder)
        .env("RABBITMQ_PID_FILE", folder.join("pid"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
        .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 +sbwt none")
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", epmd);
}

/// Makes certificates, and says where they are: the lines of configuration for TLS on `port`.
fn certified(folder: &Path, port: u16) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    for (name, pem) in
        [("ca.pem", authority.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
    {
        std::fs::write(folder.join(name), pem).unwrap();
    }
    let folder = folder.display();
    format!(
        "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {folder}/ca.pem\n\
         ssl_options.certfile = {folder}/cert.pem\nssl_options.keyfile = {folder}/key.pem\n"
    )
}

/// It begins to shake hands.
fn answers(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    let mut frame = [0; 7];
    stream.read_exact(&mut frame)?;
    Ok(frame[0] == 1)
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// A port where nobody listens.
pub(crate) fn closed_port() -> u16 {
    let [port] = free_ports();
    port
}

pub(crate) fn sink(url: &str) -> AmqpSink {
    AmqpSink::new(AmqpConfig::from_endpoint(&url.parse().unwrap()).unwrap()).unwrap()
}

/// A name that nobody used.
pub(crate) fn fresh(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The messages of a queue, which keeps them, as the client library itself reads them.
pub(crate) async fn messages(rabbit: &Rabbit, queue: &str) -> Vec<lapin::message::Delivery> {
    let (_connection, channel) = rabbit.channel().await;
    let mut all = Vec::new();
    while let Some(message) =
        soon("a message", channel.basic_get(queue.into(), BasicGetOptions::default())).await.unwrap()
    {
        all.push(message.delivery);
    }
    all
}

/// Their payloads.
pub(crate) async fn payloads(rabbit: &Rabbit, queue: &str) -> Vec<Bytes> {
    messages(rabbit, queue).await.into_iter().map(|message| message.data.into()).collect()
}

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), work)
        .await
        .unwrap_or_else(|_| panic!("waited 120 s for {what}"))
}
