//! The `haul` program for the end-to-end tests, built together with the tests.

use std::process::{Command, Stdio};

use serde::Deserialize;

use super::Plan;
use crate::process::{Deadline, Result, cargo, shown};

#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds the tests and the program, and answers where the program is.
///
/// Cargo builds it together with the tests where those of its own crate start it too; so it shares their features, and
/// every crate that both need is built once.
pub(crate) fn build(plan: &Plan, deadline: Deadline) -> Result<String> {
    let mut tests = cargo();
    tests.args(["test", "--no-run"]).args(plan.selection());
    let alone = if plan.release { &["--release"][..] } else { &[] };
    let mut program = cargo();
    program.args(["build", "--package=haul-cli", "--bin=haul"]).args(alone);
    for command in [&mut tests, &mut program] {
        command.args(["--all-features", "--message-format=json-render-diagnostics"]);
        let messages = run(command, deadline)?;
        let mut read = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
        if let Some(found) = read.find_map(found) {
            return Ok(found);
        }
    }
    Err(format!("{}: it built no program haul", shown(&program)))
}

fn run(command: &mut Command, deadline: Deadline) -> Result<String> {
    let mut child = deadline.spawn(command.stdout(Stdio::piped()))?;
    let out = child.stdout.take().expect("it is piped");
    std::thread::scope(|scope| {
        let read = scope.spawn(move || std::io::read_to_string(out));
        let status = deadline.wait(command, child)?;
        let text = read.join().expect("reading does not panic");
        if !status.success() {
            return Err(format!("{}: {status}", shown(command)));
        }
        text.map_err(|why| format!("{}: {why}", shown(command)))
    })
}

fn found(message: Message) -> Option<String> {
    let (target, profile) = (message.target?, message.profile?);
    let built = message.reason == "compiler-artifact" && !profile.test;
    (built && target.name == "haul" && target.kind == ["bin"]).then_some(message.executable)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &str, test: bool) -> Option<String> {
        let text = format!(
            r#"{{"reason":"compiler-artifact","target":{{"name":"haul","kind":["{kind}"]}},
                "profile":{{"test":{test}}},"executable":"/t/debug/haul"}}"#
        );
        found(serde_json::from_str(&text).expect("a message of cargo"))
    }

    #[test]
    fn the_program_is_told_from_the_library_and_from_its_own_tests() {
        assert_eq!(message("bin", false).as_deref(), Some("/t/debug/haul"));
        assert_eq!(message("bin", true), None);
        assert_eq!(message("lib", false), None);
    }
}
