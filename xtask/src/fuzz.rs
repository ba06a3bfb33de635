//! `cargo xtask fuzz`: libFuzzer on each target of `tests/fuzz`, built by the stable compiler.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
};

use crate::process::{Deadline, Result, cargo, stdout_of};
use crate::workspace::Workspace;

/// The arguments of `fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the random choices begin, to repeat a run
    #[arg(long)]
    seed: Option<u32>,
    /// Only these targets, the folders of tests/fuzz/corpus; all unless given
    targets: Vec<String>,
}

/// Fuzzes.
pub(crate) fn run(args: Args) -> Result {
    let fuzzer = Fuzzer::build(&Workspace::load()?, Deadline::of_run()?)?;
    fuzzer.run(&args.targets, args.seconds, args.seed)
}

/// What LLVM's coverage for libFuzzer takes, all of it stable: `-Zsanitizer`, which is not, is for memory errors, and
/// there is no unsafe code here.
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "-Coverflow-checks",
];

/// The built program, and where its files are.
pub(crate) struct Fuzzer {
    program: PathBuf,
    /// The corpus of the repository: a folder for each target.
    seeds: PathBuf,
    /// What runs have found that is worth keeping, and what broke a target.
    work: PathBuf,
    deadline: Deadline,
}

impl Fuzzer {
    /// Builds the targets, below the target directory that all share.
    pub(crate) fn build(workspace: &Workspace, deadline: Deadline) -> Result<Self> {
        let work = workspace.target.join("fuzz");
        let host = host()?;
        let mut build = cargo();
        build.args(["build", "--quiet", "--release", "--package=haul-fuzz", "--bin=haul-fuzz"]);
        // With a target named, the flags are not those of build scripts too.
        build.arg("--target").arg(&host).arg("--target-dir").arg(&work);
        build.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
        deadline.succeed(&mut build).map_err(|why| format!("{why}; libFuzzer needs a C++ compiler"))?;
        let program = work.join(host).join("release/haul-fuzz");
        Ok(Self { program, seeds: workspace.root.join("tests/fuzz/corpus"), work, deadline })
    }

    /// Runs `targets`, or all, on every core; prints a row for each. Fails if one was broken.
    pub(crate) fn run(&self, targets: &[String], seconds: u64, seed: Option<u32>) -> Result {
        let all = folders(&self.seeds)?;
        if let Some(unknown) = targets.iter().find(|target| !all.contains(target)) {
            return Err(format!("there is no fuzz target {unknown}; there are {}", all.join(", ")));
        }
        let wanted = all.into_iter().filter(|name| targets.is_empty() || targets.contains(name));
        let queue: Mutex<VecDeque<String>> = Mutex::new(wanted.collect());
        let broken = Mutex::new(Vec::new());
        println!("{:18} {:>9} {:>12} {:>9} {:>7}", "target", "inputs", "coverage", "inputs/s", "corpus");
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    while let Some(target) = { queue.lock().expect(HELD).pop_front() } {
                        match self.one(&target, seconds, seed) {
                            Ok(row) => println!("{target:18} {row}"),
                            Err(why) => broken.lock().expect(HELD).push(why),
                        }
                    }
                });
            }
        });
        let broken = broken.into_inner().expect(HELD);
        if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
    }

    fn one(&self, target: &str, seconds: u64, seed: Option<u32>) -> Result<Row> {
        let failed = |why: std::io::Error| format!("fuzz {target}: {why}");
        let (corpus, found) = (self.work.join("corpus").join(target), self.work.join("found").join(target));
        fs::create_dir_all(&corpus).and_then(|()| fs::create_dir_all(&found)).map_err(failed)?;
        let log = self.work.join(format!("{target}.log"));
        let mut command = Command::new(&self.program);
        command.env("HAUL_FUZZ_TARGET", target).env("RUST_BACKTRACE", "0").current_dir(&self.work);
        command.arg(format!("-max_total_time={seconds}")).arg(format!("-seed={}", seed.unwrap_or(0)));
        command.arg(format!("-artifact_prefix={}/", found.display()));
        command.args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"]);
        command.arg(&corpus).arg(self.seeds.join(target));
        let out = fs::File::create(&log).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(out.try_clone().map_err(failed)?).stderr(out);
        let child = self.deadline.spawn(&mut command)?;
        let status = self.deadline.wait(&command, child)?;
        let said = fs::read(&log).map_err(failed)?;
        let said = String::from_utf8_lossy(&said);
        if status.success() {
            Row::read(&said).map_err(|why| format!("fuzz {target}: {why}"))
        } else {
            Err(broke(target, &said))
        }
    }
}

const HELD: &str = "no thread panics while it holds it";

/// What a run of one target came to.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    inputs: u64,
    /// Edges of the program that the seeds reached, and that were reached in the end.
    coverage: (u64, u64),
    speed: u64,
    corpus: u64,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { inputs, coverage: (from, to), speed, corpus } = self;
        write!(f, "{inputs:9} {:>12} {speed:9} {corpus:7}", format!("{from} > {to}"))
    }
}

impl Row {
    /// Reads libFuzzer's lines. An error if the program was built without coverage: then it finds nothing.
    fn read(said: &str) -> Result<Self> {
        let number = |line: &str, word: &str| -> Option<u64> {
            let (_, rest) = line.split_once(word)?;
            rest.trim_start().split(|digit: char| !digit.is_ascii_digit()).next()?.parse().ok()
        };
        let line = |word: &str| said.lines().rfind(|line| line.contains(word)).unwrap_or_default();
        let (begun, done) = (line("\tINITED"), line("\tDONE"));
        let coverage = number(begun, "cov:").zip(number(done, "cov:")).filter(|(from, _)| *from > 0);
        Ok(Self {
            coverage: coverage.ok_or("it measured no coverage")?,
            inputs: number(done, "#").unwrap_or_default(),
            speed: number(done, "exec/s:").unwrap_or_default(),
            corpus: number(done, "corp:").unwrap_or_default(),
        })
    }
}

/// Why a target failed, and what to do with the input.
fn broke(target: &str, said: &str) -> String {
    let written =
        said.lines().find_map(|line| line.split_once("Test unit written to ").map(|(_, path)| path));
    let what =
        said.lines().skip_while(|line| !line.contains("panicked at") && !line.contains("ERROR: libFuzzer"));
    let what: Vec<&str> = what.take(4).collect();
    let input = written.unwrap_or("no input");
    format!(
        "fuzz {target}: broken by {input}\n{}\n\
         To repeat it: cargo run -p haul-fuzz -- {target} {input}\n\
         Mended, the input becomes a test: move it to tests/fuzz/corpus/{target}/ under a name that says what it is",
        what.join("\n")
    )
}

fn host() -> Result<String> {
    let told = stdout_of(Command::new("rustc").arg("-vV"))?;
    let line = told.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".into())
}

fn folders(parent: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(parent).map_err(|why| format!("{}: {why}", parent.display()))?;
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: &str = "\
#9\tINITED cov: 120 ft: 300 corp: 8/2556b exec/s: 0 rss: 31Mb
#64\tNEW    cov: 121 ft: 301 corp: 9/2600b lim: 4 exec/s: 0 rss: 31Mb L: 4/4 MS: 1 ChangeBit-
#4096\tDONE   cov: 130 ft: 400 corp: 20/3Kb lim: 40 exec/s: 2048 rss: 36Mb
";

    #[test]
    fn a_run_tells_how_far_it_came() {
        let row = Row::read(DONE).expect("it is a whole run");
        assert_eq!(row, Row { inputs: 4096, coverage: (120, 130), speed: 2048, corpus: 20 });
    }

    #[test]
    fn a_program_without_coverage_is_an_error() {
        assert!(Row::read(&DONE.replace("cov: 120", "cov: 0")).is_err());
        assert!(Row::read("INFO: no lines of a run").is_err());
    }

    #[test]
    fn what_broke_a_target_is_named_with_its_input() {
        let said = "x\nthread 'main' panicked at src/a.rs:1:1:\nit broke\nTest unit written to /f/crash-01\n";
        let told = broke("frames", said);
        assert!(told.contains("frames: broken by /f/crash-01\nthread 'main' panicked"), "{told}");
        assert!(told.contains("haul-fuzz -- frames /f/crash-01"), "{told}");
    }
}
