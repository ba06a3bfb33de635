//! Runs the program, with a deadline on everything that is waited for.

#![allow(clippy::unwrap_used, reason = "a test that cannot run its program has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A run that is over.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// What was printed, an object per line.
    pub(crate) fn json(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))).collect()
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("HAUL_LOG");
    command
}

/// Runs it to its end, with no input.
pub(crate) fn haul(args: &[&str]) -> Ended {
    haul_with_input(args, b"")
}

/// Runs it to its end in a folder, with no input.
pub(crate) fn haul_in(folder: &Path, args: &[&str]) -> Ended {
    let mut command = command(args);
    command.current_dir(folder);
    run(command, args, b"")
}

/// Runs it to its end.
pub(crate) fn haul_with_input(args: &[&str], input: &[u8]) -> Ended {
    run(command(args), args, input)
}

fn run(mut command: Command, args: &[&str], input: &[u8]) -> Ended {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // An error says that it ended without reading all: the test sees that in what it prints.
    let feeding = thread::spawn(move || drop(stdin.write_all(&input)));
    let stdout = collect(child.stdout.take().unwrap());
    let stderr = collect(child.stderr.take().unwrap());
    let code = wait(&mut child, &format!("haul {}", args.join(" ")));
    feeding.join().unwrap();
    Ended { code, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Runs it, reads one byte of its output and goes away.
pub(crate) fn haul_read_one_byte(args: &[&str]) -> Ended {
    let mut child = command(args).stdin(Stdio::null()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    drop(stdout);
    let stderr = collect(child.stderr.take().unwrap());
    let code = wait(&mut child, "the end after its reader went away");
    Ended { code, stdout: String::new(), stderr: stderr.join().unwrap() }
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, what: &str) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return code(status);
        }
        if start.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("waited {DEADLINE:?} for the end of {what}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| panic!("it was killed: {status}"))
}

/// A run that goes on; dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// Where a listener listens.
    pub(crate) endpoint: String,
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = command(args).stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (found, lines) = mpsc::sync_channel(1_000_000);
        thread::spawn(move || {
            for line in stdout.lines() {
                // A test that has seen enough is gone.
                let Ok(line) = line else { return };
                if found.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, endpoint: String::new() }
    }

    /// A listener, once it has said where.
    pub(crate) fn listen(url: &str, args: &[&str]) -> Self {
        let mut running = Self::start(&[&["listen", url], args].concat());
        let first = running.line("where it listens");
        running.endpoint = match serde_json::from_str::<Value>(&first) {
            Ok(event) => event["endpoint"].as_str().unwrap().to_owned(),
            Err(_) => first.strip_prefix("listening on ").unwrap().to_owned(),
        };
        assert!(!running.endpoint.contains(":0"), "{first}");
        running
    }

    pub(crate) fn line(&mut self, what: &str) -> String {
        self.lines.recv_timeout(DEADLINE).unwrap_or_else(|why| panic!("waited for {what}: {why}"))
    }

    /// The next JSON event.
    pub(crate) fn any_event(&mut self) -> Value {
        serde_json::from_str(&self.line("an event")).unwrap()
    }

    /// The next JSON event of this name.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        loop {
            let event: Value = serde_json::from_str(&self.line(name)).unwrap();
            if event["event"] == name {
                return event;
            }
        }
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Its exit code.
    pub(crate) fn ended(&mut self) -> i32 {
        wait(&mut self.child, "a program that was told to stop")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error says that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port on which nobody listens: it was just free.
pub(crate) fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
