//! Servers of our own, each in a folder of its own.

use std::fs::File;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to start, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Ferret {
    pub(crate) port: u16,
    program: Child,
    folder: TempDir,
    more: Vec<String>,
}

impl Ferret {
    /// A server with further options; `None` after saying what did not run.
    pub(crate) fn start(more: &[&str]) -> Option<Self> {
        haul_services::ferretdb()?;
        let folder = TempDir::new().unwrap();
        let (port, more) = (free_port(), more.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let program = spawn(&folder, port, &more);
        let (mut server, started) = (Self { port, program, folder, more }, Instant::now());
        while !server.listens_or_ended() {
            let log = std::fs::read_to_string(server.folder.path().join("log")).unwrap_or_default();
            assert!(started.elapsed() < PATIENCE, "ferretdb does not start within {PATIENCE:?}: {log}");
            // Somebody took the port meanwhile.
            server.port = free_port();
            server.program = spawn(&server.folder, server.port, &server.more);
        }
        Some(server)
    }

    /// The endpoint of a database, with options.
    pub(crate) fn url(&self, options: &str) -> String {
        format!("mongodb://127.0.0.1:{}/db?{options}", self.port)
    }

    /// What a program of pymongo's, which haul's authors did not write, prints: `db` is the database.
    pub(crate) fn pymongo(&self, program: &str) -> Option<String> {
        let begin = format!(
            "import pymongo, sys\ndb = pymongo.MongoClient('mongodb://127.0.0.1:{}').db\n",
            self.port
        );
        let output = haul_services::python_pymongo()?.arg("-c").arg(begin + program).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
    }

    /// Stops its threads where they are: it is there, and does nothing.
    pub(crate) fn stand_still(&self) {
        self.signal("-STOP");
        let started = Instant::now();
        while !self.stands_still() {
            assert!(started.elapsed() < PATIENCE, "ferretdb does not stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn stands_still(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.program.id())).unwrap();
        let state = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("stat")).unwrap();
        // Its name stands in brackets, its state behind them.
        threads.flatten().all(|thread| state(thread).rsplit(") ").next().unwrap().starts_with('T'))
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.program.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill {signal}");
    }

    pub(crate) fn kill(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }

    /// Asks it to end, as an administrator does it.
    pub(crate) fn stop(&mut self) {
        self.signal("-TERM");
        self.program.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        let started = Instant::now();
        loop {
            self.program = spawn(&self.folder, self.port, &self.more);
            if self.listens_or_ended() {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "ferretdb does not start again within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn listens_or_ended(&mut self) -> bool {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if self.program.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(started.elapsed() < PATIENCE, "ferretdb neither listens nor ends");
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

impl Drop for Ferret {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Free now; a server cannot be handed the socket itself.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(folder: &TempDir, port: u16, more: &[String]) -> Child {
    let mut server = haul_services::ferretdb().expect("it was there");
    let here = folder.path().display();
    server
        .args(["--handler=sqlite", "--debug-addr=-", "--telemetry=disable", "--log-level=warn"])
        // What a killed server wrote stays; only a machine that dies needs the disk.
        .arg(format!("--sqlite-url=file:{here}/?_pragma=synchronous(off)&_pragma=busy_timeout(60000)"))
        .arg(format!("--state-dir={here}"))
        .arg(format!("--listen-addr=127.0.0.1:{port}"))
        .args(more);
    let log = File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
    server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}
