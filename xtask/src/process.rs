//! Commands: what they answered, and the deadline of continuous integration over them.

use std::{
    env,
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What a chore answers: nothing, or why it failed.
pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// Cargo, the one that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
}

/// True under continuous integration.
pub(crate) fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true")
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let name = program.rsplit('/').next().unwrap_or(&program).to_owned();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(name).chain(args).collect::<Vec<_>>().join(" ")
}

/// Runs `command` with this program's output; an error if it fails.
pub(crate) fn succeed(command: &mut Command) -> Result {
    let status = command.status().map_err(|why| format!("{}: {why}", shown(command)))?;
    ended(command, status)
}

/// What `command` printed; an error, with what it said, if it fails.
pub(crate) fn stdout_of(command: &mut Command) -> Result<String> {
    let out = command.output().map_err(|why| format!("{}: {why}", shown(command)))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        return Err(format!("{}: {}\n{said}", shown(command), out.status));
    }
    String::from_utf8(out.stdout).map_err(|_| format!("{}: its output is not UTF-8", shown(command)))
}

/// True if `command` starts and succeeds; what it prints goes nowhere.
pub(crate) fn answers(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

fn ended(command: &Command, status: ExitStatus) -> Result {
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", shown(command))) }
}

/// When a run must have ended; what still runs then is stopped.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<SystemTime>);

/// How long a run of continuous integration may take, from its first command.
pub(crate) const BUDGET: Duration = Duration::from_secs(80 * 60);

/// How long it should take.
pub(crate) const AIM: Duration = Duration::from_secs(60 * 60);

impl Deadline {
    /// The end of the run of which `.ci/run` wrote the start (seconds since 1970) to `HAUL_CI_STARTED`.
    pub(crate) fn of_run() -> Result<Self> {
        let Ok(text) = env::var("HAUL_CI_STARTED") else { return Ok(Self(None)) };
        let started: u64 = text.parse().map_err(|why| format!("HAUL_CI_STARTED={text}: {why}"))?;
        Ok(Self(Some(UNIX_EPOCH + Duration::from_secs(started) + BUDGET)))
    }

    /// The end of that run, or of one that starts now.
    pub(crate) fn of_run_or_from_now() -> Result<Self> {
        let given = Self::of_run()?;
        Ok(Self(Some(given.0.unwrap_or_else(|| SystemTime::now() + BUDGET))))
    }

    /// True once the time is over.
    pub(crate) fn passed(self) -> bool {
        self.0.is_some_and(|end| SystemTime::now() >= end)
    }

    /// How long the run has taken, where its end is known.
    pub(crate) fn taken(self) -> Option<Duration> {
        let left = self.0?.duration_since(SystemTime::now()).unwrap_or_default();
        Some(BUDGET.saturating_sub(left))
    }

    /// Starts `command`, in a process group of its own where it may have to be stopped.
    pub(crate) fn spawn(self, command: &mut Command) -> Result<Child> {
        if self.0.is_some() {
            command.process_group(0);
        }
        command.spawn().map_err(|why| format!("{}: {why}", shown(command)))
    }

    /// Waits for `child`, which [`spawn`](Self::spawn) started; at the deadline stops it and all that it started.
    pub(crate) fn wait(self, command: &Command, mut child: Child) -> Result<ExitStatus> {
        let failed = |why: std::io::Error| format!("{}: {why}", shown(command));
        if self.0.is_none() {
            return child.wait().map_err(failed);
        }
        loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                return Ok(status);
            }
            if self.passed() {
                stop_group(child.id());
                drop(child.wait());
                return Err(format!("{}: stopped after {} minutes", shown(command), BUDGET.as_secs() / 60));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs `command` with this program's output; an error if it fails or has to be stopped.
    pub(crate) fn succeed(self, command: &mut Command) -> Result {
        let child = self.spawn(command)?;
        let status = self.wait(command, child)?;
        ended(command, status)
    }
}

/// Ends the process group of `leader`, which the caller started, at once.
pub(crate) fn stop_group(leader: u32) {
    drop(Command::new("sh").args(["-c", &format!("kill -s KILL -- -{leader} 2>/dev/null")]).status());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_past_the_deadline_is_stopped_with_all_it_started() {
        let deadline = Deadline(Some(SystemTime::now()));
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 100 & wait"]).stdout(Stdio::piped());
        let mut child = deadline.spawn(&mut command).expect("it starts");
        let mut out = child.stdout.take().expect("it is piped");
        let said = deadline.wait(&command, child).expect_err("the deadline has passed");
        assert!(said.contains("stopped after 80 minutes"), "{said}");
        let (done, ended) = std::sync::mpsc::sync_channel(1);
        thread::spawn(move || done.send(std::io::copy(&mut out, &mut std::io::sink()).is_ok()));
        let closed = ended.recv_timeout(Duration::from_secs(60));
        assert_eq!(closed, Ok(true), "sleep holds its output for as long as it runs");
    }

    #[test]
    fn a_command_that_fails_is_named() {
        let said = succeed(Command::new("sh").args(["-c", "exit 3"])).expect_err("it exits with 3");
        assert_eq!(said, "sh -c exit 3: exit status: 3");
    }
}
