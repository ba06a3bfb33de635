//! What ran and what did not, read from what cargo and the test programs print.

use std::collections::BTreeSet;

use crate::process::Result;
use crate::services::Counterpart;

/// What a run of the tests came to.
#[derive(Default)]
pub(super) struct Summary {
    programs: usize,
    passed: usize,
    failed: usize,
    /// What runs now: a test program, or the doc tests of a crate.
    now: Option<String>,
    /// What runs now has said how it went.
    settled: bool,
    slow: BTreeSet<String>,
    failures: Vec<String>,
    ignored: Vec<String>,
    /// Tests that said that they did not run what they are for.
    idle: BTreeSet<String>,
    missing: Vec<String>,
}

impl Summary {
    /// A counterpart is not here, or does not run.
    pub(super) fn missing(&mut self, counterpart: &Counterpart, why: &str) {
        let double = counterpart.double.as_ref().map(|double| format!(" ({double} stands in for it)"));
        self.missing.push(format!("{}{}: {why}", counterpart.name, double.unwrap_or_default()));
    }

    /// Reads one line.
    pub(super) fn read(&mut self, line: &str) {
        let trimmed = line.trim_start();
        if let Some(told) = line.find("not run: ").map(|at| &line[at + "not run: ".len()..]) {
            self.idle.insert(told.to_owned());
        } else if let Some(program) = trimmed.strip_prefix("Running ").filter(|rest| rest.contains(" (")) {
            self.start(source(program));
        } else if let Some(krate) = trimmed.strip_prefix("Doc-tests ") {
            self.start(format!("doc tests of {krate}"));
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.count(result);
        } else if let Some(test) = line.strip_prefix("test ") {
            self.test(test);
        }
    }

    fn start(&mut self, program: String) {
        self.fell_silent();
        self.programs += 1;
        self.now = Some(program);
        self.settled = false;
        self.slow.clear();
    }

    /// A test program that ends without a result crashed.
    fn fell_silent(&mut self) {
        if let Some(program) = self.now.take().filter(|_| !self.settled) {
            self.failed += 1;
            self.failures.push(format!("{program}: it ended without a result"));
        }
    }

    fn count(&mut self, result: &str) {
        self.settled = true;
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(count), Some(what)) =
                (words.next().and_then(|word| word.parse::<usize>().ok()), words.next())
            else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                _ => {}
            }
        }
    }

    fn test(&mut self, line: &str) {
        let now = self.now.as_deref().unwrap_or("a test program");
        if let Some((test, _)) = line.split_once(" has been running for over") {
            self.slow.insert(test.to_owned());
            return;
        }
        let Some((test, outcome)) = line.rsplit_once(" ... ") else { return };
        self.slow.remove(test);
        if outcome.starts_with("FAILED") {
            self.failures.push(format!("{test} ({now})"));
        } else if let Some(why) = outcome.strip_prefix("ignored") {
            self.ignored.push(format!("{test} ({now}){}", why.replacen(", ", ": ", 1)));
        }
    }

    /// What seems to be running still.
    pub(super) fn running(&self) -> Option<String> {
        let program = self.now.clone().filter(|_| !self.settled)?;
        match self.slow.is_empty() {
            true => Some(program),
            false => {
                let slow: Vec<&str> = self.slow.iter().map(String::as_str).collect();
                Some(format!("{} ({program})", slow.join(", ")))
            }
        }
    }

    /// Prints what ran, and by name what did not.
    pub(super) fn print(&mut self) {
        self.fell_silent();
        println!("\nran {} test programs", self.programs);
        list("failed", &self.failures);
        let idle = self.idle.iter().chain(&self.missing).chain(&self.ignored);
        list("not run", &idle.cloned().collect::<Vec<_>>());
    }

    /// Prints the closing line, and answers whether all that ran is well; `exit` is cargo's own word.
    pub(super) fn verdict(&mut self, exit: bool) -> Result {
        self.fell_silent();
        // The test runner counts as passed what said that it did not run; a test may say so of more than one thing.
        let idle: BTreeSet<&str> =
            self.idle.iter().filter_map(|line| Some(line.rsplit_once(" (")?.1)).collect();
        let skipped = self.ignored.len() + idle.len();
        let passed = self.passed.saturating_sub(idle.len());
        println!("\n{passed} passed, {} failed, {skipped} skipped", self.failed);
        match (self.failed, exit) {
            (0, true) if passed + skipped == 0 => Err("no test ran".into()),
            (0, true) => Ok(()),
            (0, false) => Err("cargo test failed before or beside the tests; see above".into()),
            (failed, _) => Err(format!("{failed} tests failed")),
        }
    }
}

/// `tests/it/main.rs (target/debug/deps/it-0123456789abcdef)` as `it: tests/it/main.rs`.
fn source(running: &str) -> String {
    let (source, program) = running.split_once(" (").unwrap_or((running, ""));
    let file = program.trim_end_matches(')').rsplit('/').next().unwrap_or_default();
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    format!("{name}: {}", source.trim_start_matches("unittests "))
}

fn list(title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    println!("\n{title}:");
    for line in lines {
        println!("  {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "\
     Running unittests src/lib.rs (target/debug/deps/haul_core-0123456789abcdef)

running 3 tests
test wire::a ... ok
test wire::b ... ignored, it needs a week
test wire::c ... FAILED

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/it/main.rs (target/debug/deps/it-0123456789abcdef)
not run: nc: HAUL_NC is not set (feed::nc_reads_its_receipt)
test feed::nc_reads_its_receipt ... ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
   Doc-tests haul_core
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.25s
";

    fn read(text: &str) -> Summary {
        let mut summary = Summary::default();
        text.lines().for_each(|line| summary.read(line));
        summary
    }

    #[test]
    fn results_of_all_programs_are_added_up_and_named() {
        let mut summary = read(RUN);
        assert_eq!((summary.programs, summary.passed, summary.failed), (3, 4, 1));
        assert_eq!(summary.failures, ["wire::c (haul_core: src/lib.rs)"]);
        assert_eq!(summary.ignored, ["wire::b (haul_core: src/lib.rs): it needs a week"]);
        let idle: Vec<_> = summary.idle.iter().collect();
        assert_eq!(idle, ["nc: HAUL_NC is not set (feed::nc_reads_its_receipt)"]);
        assert_eq!(summary.verdict(false), Err("1 tests failed".into()));
    }

    #[test]
    fn a_test_program_that_crashes_counts_as_a_failure() {
        let crash = "     Running tests/it/main.rs (target/debug/deps/it-01)\ntest a ... ok\n";
        assert_eq!(read(crash).verdict(false), Err("1 tests failed".into()));
        let followed = format!("{crash}{RUN}");
        assert_eq!(read(&followed).failures[0], "it: tests/it/main.rs: it ended without a result");
    }

    #[test]
    fn what_does_not_compile_fails_though_no_test_did() {
        assert!(read("error: could not compile").verdict(false).is_err());
    }

    #[test]
    fn a_run_of_no_test_fails() {
        assert_eq!(read("").verdict(true), Err("no test ran".into()));
    }

    #[test]
    fn a_test_that_hangs_is_named() {
        let mut summary = read("     Running tests/it/main.rs (target/debug/deps/it-01)");
        assert_eq!(summary.running().as_deref(), Some("it: tests/it/main.rs"));
        summary.read("test slow::one has been running for over 60 seconds");
        summary.read("test slow::two has been running for over 60 seconds");
        summary.read("test slow::one ... ok");
        assert_eq!(summary.running().as_deref(), Some("slow::two (it: tests/it/main.rs)"));
    }
}
