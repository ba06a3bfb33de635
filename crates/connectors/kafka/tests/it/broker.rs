//! Apache Kafka: one node that is broker and controller, in a folder of its own.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use tempfile::TempDir;

/// A server, until it is dropped.
pub(crate) struct Broker {
    pub(crate) port: u16,
    /// Where a name and a password are asked for: `haul` and `secret`.
    pub(crate) guarded: u16,
    /// The same over TLS, by password or proof, with a certificate for 127.0.0.1 by `ca.pem`.
    pub(crate) secure: u16,
    /// Over TLS, where clients show a certificate by `ca.pem`, such as `cert.pem` with `key.pem`.
    pub(crate) mutual: u16,
    program: Option<Program>,
    folder: TempDir,
}

impl Broker {
    /// The one server of this test program: starting one takes seconds.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Broker>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// A server of our own; `None` after saying what did not run.
    pub(crate) fn start() -> Option<Self> {
        let mut format = haul_services::kafka()?;
        let folder = TempDir::new().unwrap();
        let [port, guarded, secure, mutual, controller] = free();
        certify(folder.path());
        let at = folder.path().display();
        let clients = format!(
            "PLAINTEXT://127.0.0.1:{port},GUARDED://127.0.0.1:{guarded},\
             SECURE://127.0.0.1:{secure},MUTUAL://127.0.0.1:{mutual}"
        );
        let properties = format!(
            "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners={clients},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={clients}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,GUARDED:SASL_PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
listener.name.guarded.sasl.enabled.mechanisms=PLAIN
listener.name.guarded.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_haul=\"secret\";
listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_haul=\"secret\";
listener.name.secure.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.mutual.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={at}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={at}/ca.pem
log.dirs={at}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
log.flush.interval.messages=1
"
        );
        std::fs::write(folder.path().join("server.properties"), properties).unwrap();
        format.args([
            "kafka.tools.StorageTool",
            "format",
            "-t",
            "AAAAAAAAAAAAAAAAAAAAAA",
            "-c",
            "server.properties",
            "--add-scram",
            "SCRAM-SHA-256=[name=haul,password=secret]",
            "--add-scram",
            "SCRAM-SHA-512=[name=haul,password=secret]",
        ]);
        let formatted = format.current_dir(folder.path()).output().unwrap();
        assert!(formatted.status.success(), "{formatted:?}");
        let mut broker = Self { port, guarded, secure, mutual, program: None, folder };
        broker.run();
        Some(broker)
    }

    /// Starts it with what it has on disk, and waits until it answers.
    pub(crate) fn run(&mut self) {
        let output = std::fs::File::create(self.folder.path().join("output")).unwrap();
        let java = haul_services::kafka().expect("it was there");
        // The shell's input ends with this program, however that ends, and Kafka with the shell.
        let mut shell = Command::new("sh");
        shell.args(["-c", "\"$@\" >&2 & echo $!; read end; kill -9 $!", "sh"]);
        shell.arg(java.get_program()).args(java.get_args()).args(["kafka.Kafka", "server.properties"]);
        shell.current_dir(self.folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(output);
        let mut shell = shell.spawn().unwrap();
        let mut pid = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        self.program = Some(Program { shell, pid: pid.trim().to_owned() });
        let (admin, started) = (self.admin(), Instant::now());
        while admin.inner().fetch_metadata(None, Duration::from_secs(1)).is_err() {
            let said = std::fs::read_to_string(self.folder.path().join("output")).unwrap();
            assert!(started.elapsed() < Duration::from_secs(60), "kafka does not answer after 60 s: {said}");
        }
    }

    /// Kills it; what it has on disk stays.
    pub(crate) fn kill(&mut self) {
        self.program = None;
    }

    /// Sends it a signal, such as `-STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = &self.program.as_ref().expect("it runs").pid;
        assert!(Command::new("kill").args([name, pid]).status().unwrap().success());
    }

    /// Where it answers, as an URL of `topic`.
    pub(crate) fn url(&self, topic: &str) -> String {
        format!("kafka://127.0.0.1:{}/{topic}", self.port)
    }

    /// The path of a file of its folder.
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", format!("127.0.0.1:{}", self.port))
            .set("reconnect.backoff.max.ms", "100");
        // What it says while the server is not there yet is of no interest.
        config.set_log_level(RDKafkaLogLevel::Emerg).create().unwrap()
    }

    /// Makes a topic with so many partitions, for records of up to 1 MB, and answers its name.
    pub(crate) async fn topic(&self, name: &str, partitions: i32) -> String {
        self.topic_with(name, partitions, &[]).await
    }

    /// Makes a topic with settings of its own.
    pub(crate) async fn topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (name, value) in settings {
            topic = topic.set(name, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(60)));
        let made = self.admin().create_topics([&topic], &options).await.unwrap();
        assert_eq!(made, [Ok(name.to_owned())]);
        name.to_owned()
    }
}

/// A running server.
struct Program {
    /// What ends it.
    shell: Child,
    pid: String,
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Makes an authority, and a certificate by it for server and client.
fn certify(folder: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // A certificate called as who signed it would count as signed by itself.
    params.distinguished_name.push(DnType::CommonName, "authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    for (name, pem) in [
        ("ca.pem", authority.pem()),
        ("cert.pem", certificate.pem()),
        ("key.pem", key.serialize_pem()),
        ("server.pem", key.serialize_pem() + &certificate.pem()),
    ] {
        std::fs::write(folder.join(name), pem).unwrap();
    }
}

/// Ports where nobody listens.
fn free<const N: usize>() -> [u16; N] {
    // All at once, so that none is given twice.
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
