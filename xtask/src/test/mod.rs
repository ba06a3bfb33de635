//! `cargo xtask test`: one run of cargo over all crates, and a list of what did not run.

mod program;
mod summary;

use std::{
    io::{self, BufRead as _, BufReader, Write},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use crate::process::{Deadline, Result, cargo, in_ci};
use crate::services::{Need, Services, names};
use crate::workspace::Workspace;
pub(crate) use program::build as program;
use summary::Summary;

/// The arguments of `test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install the real counterparts that are missing (implied by CI=true)
    #[arg(long)]
    install: bool,
    /// Only this crate; may be given more than once
    #[arg(short, long = "package", value_name = "CRATE")]
    packages: Vec<String>,
    /// What the test programs are told: filters, their options
    #[arg(last = true)]
    filters: Vec<String>,
}

/// What to run.
#[derive(Default)]
pub(crate) struct Plan {
    /// Install the counterparts that are missing.
    pub(crate) install: bool,
    /// Build for release.
    pub(crate) release: bool,
    /// These crates; all when empty.
    pub(crate) packages: Vec<String>,
    /// What the test programs are told.
    pub(crate) filters: Vec<String>,
    /// Further variables for the tests.
    pub(crate) variables: Vec<(String, String)>,
}

/// Runs the tests.
pub(crate) fn run(args: Args) -> Result {
    let Args { install, packages, filters } = args;
    let variables = if in_ci() { vec![(FAULTS.0.to_owned(), FAULTS.1.to_owned())] } else { Vec::new() };
    run_with(Plan { install: install || in_ci(), packages, filters, variables, ..Plan::default() })
}

/// In continuous integration each test of random fault schedules goes on for so long: four of them on two cores take two
/// minutes.
const FAULTS: (&str, &str) = ("HAUL_FAULT_SECONDS", "60");

/// Runs the tests of `plan`.
pub(crate) fn run_with(plan: Plan) -> Result {
    let workspace = Workspace::load()?;
    let deadline = Deadline::of_run()?;
    let services = Services::load(&workspace)?;
    let mut summary = Summary::default();
    if plan.install {
        services.install();
    }
    let mut absent = services.missing();
    for missing in &absent {
        summary.missing(missing, "not installed; cargo xtask test --install");
    }
    let mut command = plan.command();
    command.envs(services.variables());
    // They run until this function ends.
    let mut servers = Vec::new();
    for (counterpart, started) in services.start() {
        match started {
            Ok(started) => {
                command.envs(started.variables);
                servers.push(started.server);
            }
            Err(why) => {
                summary.missing(counterpart, &why);
                absent.push(counterpart);
            }
        }
    }
    absent.retain(|absent| absent.need == Need::Required);
    if in_ci() && !absent.is_empty() {
        summary.print();
        return Err(format!("required and missing: {}", names(&absent)));
    }

    if plan.needs_program() {
        command.env("HAUL_PROGRAM", program(&plan, deadline)?);
    }
    let summary = Arc::new(Mutex::new(summary));
    let outcome = watch(&mut command, deadline, io::stdout(), &summary);
    let mut summary = summary.lock().expect(READ);
    let running = summary.running();
    summary.print();
    let status = outcome.map_err(|why| match running {
        Some(test) => format!("{why}; still running: {test}"),
        None => why,
    })?;
    summary.verdict(status.success())
}

impl Plan {
    /// The one run of cargo that builds and tests everything: what it builds, it builds once for all crates.
    fn command(&self) -> Command {
        let mut command = cargo();
        command.args(["test", "--all-features", "--no-fail-fast"]).args(self.selection());
        command.arg("--").args(&self.filters);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Which crates, and for which profile.
    fn selection(&self) -> Vec<String> {
        let mut args: Vec<String> =
            self.packages.iter().map(|package| format!("--package={package}")).collect();
        if args.is_empty() {
            args.push("--workspace".into());
        }
        if self.release {
            args.push("--release".into());
        }
        args
    }

    /// True if tests are among it that start the `haul` program.
    fn needs_program(&self) -> bool {
        self.packages.is_empty() || self.packages.iter().any(|package| package == "haul-e2e")
    }
}

/// How long output may come after cargo has ended.
const QUIET: Duration = Duration::from_secs(10);

/// Runs `command`, shows what it prints `to` a person, and reads it.
fn watch(
    command: &mut Command,
    deadline: Deadline,
    to: impl Write + Send + 'static,
    summary: &Arc<Mutex<Summary>>,
) -> Result<ExitStatus> {
    // One pipe for both: the order in which cargo and the tests print tells which crate a test belongs to.
    let pipe = |why: io::Error| format!("pipe for cargo test: {why}");
    let (reader, writer) = io::pipe().map_err(pipe)?;
    command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(pipe)?).stderr(writer);
    let child = deadline.spawn(command)?;
    // The command holds the pipe's other end: reading ends when the last process has closed it.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let (done, read) = mpsc::sync_channel(1);
    let shared = Arc::clone(summary);
    // Not joined: what a test left running would hold the pipe open for ever.
    thread::spawn(move || done.send(show(reader, to, &shared)));
    let status = deadline.wait(command, child)?;
    match read.recv_timeout(QUIET) {
        Ok(shown) => shown.map_err(pipe)?,
        Err(_) => return Err("cargo test ended, and a process that its tests started still runs".into()),
    }
    Ok(status)
}

fn show(from: impl io::Read, mut to: impl Write, summary: &Mutex<Summary>) -> io::Result<()> {
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        // Nobody reads on: the tests go on all the same.
        drop(to.write_all(&line));
        summary.lock().expect(READ).read(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(())
}

const READ: &str = "reading a line does not panic";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_to_both_outputs_is_read_in_order() {
        let summary = Arc::default();
        let script = "echo '     Running a.rs (t/a-01)' >&2; echo 'test x ... FAILED'";
        let deadline = Deadline::of_run().expect("it is a number");
        watch(Command::new("sh").args(["-c", script]), deadline, io::sink(), &summary).expect("it runs");
        let said = summary.lock().expect(READ).running();
        assert_eq!(said.as_deref(), Some("a: a.rs"));
    }
}
