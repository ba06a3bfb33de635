//! Servers, and what is in them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use haul_cloudwatch::{CloudwatchConfig, CloudwatchSink};
use haul_core::Endpoint;
use serde_json::Value;

/// A moto server of our own: a double of CloudWatch Logs that keeps events in memory, checks no signatures and knows no sizes.
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

    /// All events of a stream, read by boto3.
    pub(crate) async fn read_all(&self, group: &str, stream: &str) -> Vec<Event> {
        let python: Command = haul_services::moto().expect("it was there");
        let mut python = tokio::process::Command::from(python);
        python.args(["tests/it/read.py", &self.port.to_string(), group, stream]).kill_on_drop(true);
        let read = soon("boto3", python.output()).await.unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        let text = String::from_utf8(read.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
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

/// An event as boto3 read it.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Event {
    pub(crate) time: i64,
    pub(crate) message: String,
}

impl Event {
    /// The payload, by what the README says of envelopes.
    pub(crate) fn payload(&self) -> Bytes {
        let envelope: Value = serde_json::from_str(&self.message).unwrap();
        match (envelope["payload"].as_str(), envelope["base64"].as_str()) {
            (Some(text), None) => Bytes::from(text.to_owned()),
            (None, Some(bytes)) => base64::engine::general_purpose::STANDARD.decode(bytes).unwrap().into(),
            _ => panic!("it has no payload: {envelope}"),
        }
    }
}

/// The endpoint of a group at a server on this port.
pub(crate) fn endpoint(port: u16, group: &str, options: &str) -> Endpoint {
    let url = format!("cloudwatch://key:secret@us-east-1/{group}?endpoint=http://127.0.0.1:{port}");
    let url = if options.is_empty() { url } else { format!("{url}&{options}") };
    Endpoint::parse(&url).unwrap()
}

pub(crate) fn sink(port: u16, group: &str, options: &str) -> CloudwatchSink {
    CloudwatchSink::new(CloudwatchConfig::from_endpoint(&endpoint(port, group, options)).unwrap()).unwrap()
}

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .unwrap_or_else(|_| panic!("waited 60 s for {what}"))
}
