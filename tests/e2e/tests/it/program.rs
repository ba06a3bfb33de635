//! Runs the program, with a deadline on everything that is waited for.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const DEADLINE: Duration = Duration::from_secs(300);

/// A run that is over.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn json(&self) -> Vec<Value> {
        let lines = std::str::from_utf8(&self.stdout).unwrap().lines();
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))).collect()
    }
}

pub(crate) fn command<S: AsRef<OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(haul_services::haul());
    command.args(args);
    for (name, _) in std::env::vars_os() {
        let known = ["HAUL_LOG", "HAUL_SERVE_", "HAUL_EVENTS_", "HAUL_PROFILE"];
        if known.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the program to its end, without input.
pub(crate) fn haul<S: AsRef<OsStr>>(args: &[S]) -> Ended {
    run(command(args), "haul")
}

/// Runs `command` to its end, without input.
pub(crate) fn run(mut command: Command, what: &str) -> Ended {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|why| panic!("{what}: {why}"));
    let stdout = collect(child.stdout.take().unwrap());
    let stderr = collect(child.stderr.take().unwrap());
    let code = wait(&mut child, what);
    Ended {
        code,
        stdout: stdout.join().unwrap(),
        stderr: String::from_utf8_lossy(&stderr.join().unwrap()).into_owned(),
    }
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// The exit code; `None` if a signal ended it.
fn wait(child: &mut Child, what: &str) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if start.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("waited {DEADLINE:?} for the end of {what}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Looks until `found` answers something.
pub(crate) fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A gateway that runs; dropped, it is killed.
pub(crate) struct Gateway {
    child: Child,
    lines: mpsc::Receiver<String>,
    stderr: Option<thread::JoinHandle<Vec<u8>>>,
    /// Where it listens.
    pub(crate) urls: Vec<String>,
}

pub(crate) const WS: &str = "ws://127.0.0.1:0";
pub(crate) const LINES: &str = "tcp://127.0.0.1:0?framing=lines&receipts=json";
pub(crate) const TCP: &str = "tcp://127.0.0.1:0";

impl Gateway {
    /// Starts a gateway with its data in `data`, which listens on `urls`, with further arguments, and waits until it
    /// does.
    pub(crate) fn start(data: &Path, urls: &[&str], more: &[&str]) -> Self {
        let mut args = vec!["serve", "--json", "--data", data.to_str().unwrap()];
        for url in urls {
            args.extend(["--listen", url]);
        }
        args.extend(more);
        let mut gateway = Self::spawn(command(&args));
        for _ in urls {
            gateway.next_url();
        }
        gateway
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let (found, lines) = mpsc::sync_channel(10_000);
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if found.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, stderr: Some(stderr), urls: Vec::new() }
    }

    /// Waits for the next URL that it says it listens on.
    pub(crate) fn next_url(&mut self) -> String {
        let Ok(line) = self.lines.recv_timeout(DEADLINE) else {
            // It ended, or hangs: what it said tells more.
            let _ = self.child.kill();
            let said = self.stderr.take().unwrap().join().unwrap();
            panic!("the gateway does not say where it listens: {}", String::from_utf8_lossy(&said));
        };
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["event"], "listening", "{line}");
        let url = event["endpoint"].as_str().unwrap().to_owned();
        self.urls.push(url.clone());
        url
    }

    /// The same, of one that was started without `--json`.
    pub(crate) fn listening_line(&mut self) {
        let line = self.lines.recv_timeout(DEADLINE).expect("the line that says where it listens");
        let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
        self.urls.push(url.to_owned());
    }

    /// `host:port` of a listener.
    pub(crate) fn address(&self, at: usize) -> String {
        let (_, rest) = self.urls[at].split_once("://").unwrap();
        rest.split(['/', '?']).next().unwrap().to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stores a line each over its first listener, which speaks lines; all are sent before an answer is read.
    pub(crate) fn store(&self, texts: &[&str]) {
        let mut client = Lines::dial(self, 0);
        assert!(client.send(&texts.iter().map(|text| format!("{text}\n")).collect::<String>()));
        for text in texts {
            let receipt = client.receipt().expect("a receipt");
            assert_eq!(receipt["receipt"], "stored", "{text}: {receipt}");
        }
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(self) -> Ended {
        self.signal("-TERM");
        self.ended()
    }

    /// How it ended, once it did.
    pub(crate) fn ended(mut self) -> Ended {
        let code = wait(&mut self.child, "the gateway");
        let stderr = self.stderr.take().unwrap().join().unwrap();
        let stdout: Vec<_> = self.lines.iter().collect();
        Ended {
            code,
            stdout: stdout.join("\n").into_bytes(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // An error says that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A haul peer that accepts a connection and says nothing more: what is delivered to it never ends.
pub(crate) struct Silent {
    pub(crate) url: String,
    taken: mpsc::Receiver<()>,
}

impl Silent {
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let (take, taken) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            stream.write_all(b"haul.v1\n").unwrap();
            // The preface, and a byte of the first packet.
            stream.read_exact(&mut [0; 9]).unwrap();
            take.send(()).unwrap();
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        Self { url, taken }
    }

    /// Waits until something was sent to it.
    pub(crate) fn has_taken_something(&self) {
        self.taken.recv_timeout(DEADLINE).expect("something is sent to the silent peer");
    }
}

/// A client that speaks lines and reads JSON receipts.
pub(crate) struct Lines {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Lines {
    pub(crate) fn dial(gateway: &Gateway, at: usize) -> Self {
        let stream = TcpStream::connect(gateway.address(at)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    /// Sends lines; `false` if the gateway is gone.
    pub(crate) fn send(&mut self, text: &str) -> bool {
        self.stream.write_all(text.as_bytes()).is_ok()
    }

    /// The next receipt; `None` if the gateway is gone.
    pub(crate) fn receipt(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(1..) if line.ends_with('\n') => Some(serde_json::from_str(&line).unwrap()),
            Ok(_) => None,
            Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("waited {DEADLINE:?} for a receipt")
            }
            Err(_) => None,
        }
    }

    /// Sends one line and reads that it was stored.
    pub(crate) fn store(&mut self, text: &str) -> Value {
        assert!(self.send(&format!("{text}\n")), "the gateway is gone");
        let receipt = self.receipt().expect("a receipt");
        assert_eq!(receipt["receipt"], "stored", "{receipt}");
        receipt
    }
}

/// `haul log cat` of `data`.
pub(crate) fn cat(data: &Path, more: &[&str]) -> Vec<u8> {
    let ended = haul(&[&["log", "cat", "--data", data.to_str().unwrap()], more].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout
}

/// `haul log verify` finds nothing wrong.
pub(crate) fn verify(data: &Path) {
    let ended = haul(&["log", "verify", "--data", data.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{}{}", String::from_utf8_lossy(&ended.stdout), ended.stderr);
}

/// `haul tap --status` of `data`.
pub(crate) fn status(data: &Path) -> Value {
    let ended = haul(&["tap", "--status", "--json", "--data", data.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_slice(&ended.stdout).unwrap()
}
