//! Servers of our own, each in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to start or to stop, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Postgres {
    pub(crate) port: u16,
    program: Child,
    folder: TempDir,
    more: Vec<String>,
}

impl Postgres {
    /// A server with further settings (`name=value`); `None` after saying what did not run.
    pub(crate) fn start(more: &[&str]) -> Option<Self> {
        Self::start_with(more, |_| {})
    }

    /// The same, after `prepare` changed what is in its folder `data`.
    pub(crate) fn start_with(more: &[&str], prepare: impl FnOnce(&Path)) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let template = template()?;
        run(Command::new("cp").arg("-R").arg(template).arg(folder.path().join("data")));
        prepare(&folder.path().join("data"));
        let (port, more) = (free_port(), more.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let program = spawn(folder.path(), port, &more);
        let (mut server, started) = (Self { port, program, folder, more }, Instant::now());
        while !server.listens_or_ended() {
            let log = || std::fs::read_to_string(server.folder().join("log")).unwrap_or_default();
            assert!(started.elapsed() < PATIENCE, "postgres does not start within {PATIENCE:?}: {}", log());
            // Somebody took the port meanwhile.
            server.port = free_port();
            server.program = spawn(server.folder(), server.port, &server.more);
        }
        Some(server)
    }

    /// Its endpoint, with options.
    pub(crate) fn url(&self, options: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable&{options}", self.port)
    }

    /// The folder of its Unix socket.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What psql, which haul's authors did not write, answers.
    pub(crate) fn psql(&self, sql: &str) -> String {
        let output = self.try_psql(sql);
        output.unwrap_or_else(|said| panic!("psql -c {sql:?}: {said}"))
    }

    fn try_psql(&self, sql: &str) -> Result<String, String> {
        let mut psql = haul_services::postgres("psql", self.folder.path()).expect("it was there");
        psql.arg("-h").arg(self.folder.path()).args(["-p", &self.port.to_string(), "-U", "postgres"]);
        let output = psql.args(["-v", "ON_ERROR_STOP=1", "-qAtXc", sql]).output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap().trim_end().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// The processes of the server, the first of them last.
    pub(crate) fn processes(&self) -> Vec<String> {
        let others = self.psql("select pid from pg_stat_activity where pid <> pg_backend_pid()");
        others.lines().map(str::to_owned).chain([self.program.id().to_string()]).collect()
    }

    /// Kills it, and starts it again with what it had on disk.
    pub(crate) fn kill_and_start(&mut self) {
        self.kill();
        self.start_again();
    }

    pub(crate) fn kill(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }

    /// Ends connections and stops, as an administrator does it.
    pub(crate) fn stop(&mut self) {
        signal("-INT", &[self.program.id().to_string()]);
        self.program.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        let started = Instant::now();
        loop {
            self.program = spawn(self.folder.path(), self.port, &self.more);
            // What a killed server left behind keeps its memory for a moment.
            if self.listens_or_ended() {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "postgres does not start again within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn listens_or_ended(&mut self) -> bool {
        let started = Instant::now();
        while self.try_psql("select 1").is_err() {
            if self.program.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(started.elapsed() < PATIENCE, "postgres neither answers nor ends");
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

impl Drop for Postgres {
    /// Its own processes end with it only if it ends itself.
    fn drop(&mut self) {
        let own = [self.program.id().to_string()];
        signal("-CONT", &own);
        signal("-QUIT", &own);
        let started = Instant::now();
        while self.program.try_wait().is_ok_and(|ended| ended.is_none()) {
            if started.elapsed() > PATIENCE {
                let _ = self.program.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Sends a signal to those of the processes that did not end.
pub(crate) fn signal(signal: &str, processes: &[String]) {
    let _ = Command::new("kill").arg(signal).args(processes).stderr(Stdio::null()).status();
}

/// Free now; a server cannot be handed the socket itself.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(folder: &Path, port: u16, more: &[String]) -> Child {
    let mut server = haul_services::postgres("postgres", folder).expect("it was there");
    server
        .args(["-D", "data", "-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-k"])
        .arg(folder);
    // What a killed server wrote stays; only a machine that dies needs the disk.
    for setting in ["fsync=off"].into_iter().chain(more.iter().map(String::as_str)) {
        server.args(["-c", setting]);
    }
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// A folder that a server was never run on: to make one takes seconds, to copy it none.
fn template() -> Option<PathBuf> {
    static MADE: Mutex<()> = Mutex::new(());
    let _one = MADE.lock().unwrap_or_else(|broken| broken.into_inner());
    let made = TempDir::new().unwrap();
    let mut initdb = haul_services::postgres("initdb", made.path())?;
    let version = run(haul_services::postgres("postgres", made.path())?.arg("--version"));
    let template = Path::new(env!("CARGO_TARGET_TMPDIR")).join(version.trim().replace(' ', "-"));
    if !template.exists() {
        run(initdb.args([
            "-D",
            "data",
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        ]));
        let copy = PathBuf::from(format!("{}.{}", template.display(), std::process::id()));
        run(Command::new("cp").arg("-R").arg(made.path().join("data")).arg(&copy));
        // Another run may have been faster.
        if std::fs::rename(&copy, &template).is_err() {
            std::fs::remove_dir_all(&copy).unwrap();
        }
    }
    Some(template)
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
