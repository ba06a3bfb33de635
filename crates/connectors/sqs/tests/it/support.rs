//! Servers, and what is in them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use haul_core::Endpoint;
use haul_sqs::{QueueConfig, SqsConfig, SqsSink, SqsSource};
use serde_json::{Value, json};

/// A moto server of our own: a double of SQS that keeps queues in memory, checks no signatures and knows no sizes.
pub(crate) struct Moto {
    pub(crate) port: u16,
    program: Child,
    more: Vec<String>,
}

impl Moto {
    /// A server; `None` after saying what did not run.
    pub(crate) fn start() -> Option<Self> {
        Self::with(&[])
    }

    /// A server with further arguments, those of the form `NAME=value` as its environment.
    pub(crate) fn with(more: &[String]) -> Option<Self> {
        let (program, port) = run(haul_services::moto()?, 0, more);
        Some(Self { port, program, more: more.to_vec() })
    }

    /// Makes a queue, and answers its name.
    pub(crate) fn queue(&self, ending: &str) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("q{}{ending}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.make(&name);
        name
    }

    pub(crate) fn make(&self, name: &str) {
        let fifo = if name.ends_with(".fifo") { json!({ "FifoQueue": "true" }) } else { json!({}) };
        self.ask("CreateQueue", &json!({ "QueueName": name, "Attributes": fifo }));
    }

    /// Asks it without any client library.
    pub(crate) fn ask(&self, target: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "POST / HTTP/1.0\r\nhost: sqs.us-east-1.amazonaws.com\r\nx-amz-target: AmazonSQS.{target}\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=t/20260101/us-east-1/sqs/aws4_request\r\n\
             content-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{target}: {answer}");
        serde_json::from_str(body).unwrap_or_default()
    }

    /// All messages of a queue, which is empty after that, read by boto3.
    pub(crate) async fn read_all(&self, queue: &str) -> Vec<Message> {
        let python: Command = haul_services::moto().expect("it was there");
        let mut python = tokio::process::Command::from(python);
        python.args(["tests/it/read.py", &self.port.to_string(), queue]).kill_on_drop(true);
        let read = soon("boto3", python.output()).await.unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        let text = String::from_utf8(read.stdout).unwrap();
        text.lines().map(|line| Message(serde_json::from_str(line).unwrap())).collect()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.id()
    }

    pub(crate) fn kill(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }

    /// Starts it again, with nothing of what it had.
    pub(crate) fn start_again(&mut self) {
        (self.program, _) = run(haul_services::moto().expect("it was there"), self.port, &self.more);
    }
}

/// Runs it at this port, or at one that it finds; answers where it listens.
fn run(mut command: Command, port: u16, more: &[String]) -> (Child, u16) {
    let (variables, arguments): (Vec<_>, Vec<_>) = more.iter().partition(|more| more.contains('='));
    command.args(["tests/it/server.py", "-H", "127.0.0.1", "-p", &port.to_string()]).args(arguments);
    command.envs(variables.iter().filter_map(|variable| variable.split_once('=')));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let (tell, told) = sync_channel(1);
    // It goes on reading, so that the server can go on writing.
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            if let Some((_, port)) = line.split_once("Running on ").and_then(|(_, url)| url.rsplit_once(':'))
            {
                let _ = tell
                    .try_send(port.trim_end_matches(|char: char| !char.is_ascii_digit()).parse().unwrap());
            }
        }
    });
    match told.recv_timeout(Duration::from_secs(60)) {
        Ok(port) => (child, port),
        Err(why) => {
            let _ = child.kill();
            panic!("moto_server does not say within 60 s where it listens: {why}");
        }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// A message as boto3 read it.
#[derive(Debug)]
pub(crate) struct Message(pub(crate) Value);

impl Message {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0[name].as_str()
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.0["attributes"][name].as_str()
    }

    /// The payload, by what the README says of bodies.
    pub(crate) fn payload(&self) -> Bytes {
        let body = self.text("body").unwrap();
        match (self.attribute("haul.body"), body) {
            (None, body) => Bytes::from(body.to_owned()),
            (Some(_), "=") => Bytes::new(),
            (Some(_), body) => base64::engine::general_purpose::STANDARD.decode(body).unwrap().into(),
        }
    }
}

/// The endpoint of a queue at a server on this port.
pub(crate) fn endpoint(port: u16, queue: &str, options: &str) -> Endpoint {
    let url = format!("sqs://key:secret@us-east-1/{queue}?endpoint=http://127.0.0.1:{port}");
    let url = if options.is_empty() { url } else { format!("{url}&{options}") };
    Endpoint::parse(&url).unwrap()
}

pub(crate) fn sink(port: u16, queue: &str, options: &str) -> SqsSink {
    SqsSink::new(SqsConfig::from_endpoint(&endpoint(port, queue, options)).unwrap()).unwrap()
}

pub(crate) fn source(port: u16, queue: &str, options: &str) -> SqsSource {
    SqsSource::new(QueueConfig::from_endpoint(&endpoint(port, queue, options)).unwrap()).unwrap()
}

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .unwrap_or_else(|_| panic!("waited 60 s for {what}"))
}
