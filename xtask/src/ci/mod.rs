//! `cargo xtask ci`: the checks that a change must pass before it lands, each timed.

mod arrows;
mod builds;
mod deny;
mod features;
mod full;
mod policy;
mod readmes;
mod rooms;
mod sizes;
mod suites;
mod unused;
mod words;

use std::time::{Duration, Instant};

use crate::docs;
use crate::process::{AIM, Deadline, Result};
use crate::workspace::Workspace;

/// The arguments of `ci`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these steps; all unless given
    steps: Vec<String>,
    /// Print the steps and what they check
    #[arg(long)]
    list: bool,
}

/// What a step sees.
pub(crate) struct Context {
    pub(crate) workspace: Workspace,
    pub(crate) deadline: Deadline,
}

/// A check.
struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Context) -> Result,
}

/// All checks, those that answer at once first.
const STEPS: &[Step] = &[
    Step { name: "fmt", what: "rustfmt changes nothing", run: builds::fmt },
    Step { name: "arrows", what: "crates depend downwards only", run: arrows::check },
    Step { name: "rooms", what: "crates of one role have the same files", run: rooms::check },
    Step { name: "suites", what: "crates run all conformance suites of their role", run: suites::check },
    Step { name: "full", what: "the umbrella's groups and `full` hold all there is", run: full::check },
    Step {
        name: "readmes",
        what: "each README has its sections, and is its crate's documentation",
        run: readmes::check,
    },
    Step { name: "sizes", what: "source files keep within their lines", run: sizes::check },
    Step { name: "words", what: "no path of a machine in any file", run: words::check },
    Step { name: "unused", what: "no dependency that nothing uses", run: unused::check },
    Step { name: "clippy", what: "no warning in any target", run: builds::clippy },
    Step { name: "rustdoc", what: "no warning in the documentation", run: builds::rustdoc },
    Step { name: "features", what: "each feature compiles alone", run: features::check },
    Step { name: "fuzz", what: "no input breaks a reader of foreign bytes", run: builds::fuzz },
    Step { name: "docs", what: "the generated pages of docs/ are up to date", run: docs::check },
    Step { name: "deny", what: "licences, bans and sources of dependencies", run: deny::check },
];

/// Runs the steps, then prints how long each took; fails if one did.
pub(crate) fn run(args: Args) -> Result {
    if args.list {
        STEPS.iter().for_each(|step| println!("{:9} {}", step.name, step.what));
        return Ok(());
    }
    if let Some(unknown) = args.steps.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        return Err(format!("there is no step {unknown}; cargo xtask ci --list names them"));
    }
    let wanted = |step: &&Step| args.steps.is_empty() || args.steps.iter().any(|name| name == step.name);
    let context = Context { workspace: Workspace::load()?, deadline: Deadline::of_run_or_from_now()? };
    let mut rows = Vec::new();
    for step in STEPS.iter().filter(wanted) {
        if context.deadline.passed() {
            rows.push(Row { name: step.name, took: Duration::ZERO, outcome: Err("no time was left".into()) });
            break;
        }
        println!("\n== {}: {}", step.name, step.what);
        let started = Instant::now();
        let outcome = (step.run)(&context);
        if let Err(why) = &outcome {
            println!("{why}");
        }
        rows.push(Row { name: step.name, took: started.elapsed(), outcome });
    }
    table(&rows, context.deadline);
    let failed: Vec<&str> = rows.iter().filter(|row| row.outcome.is_err()).map(|row| row.name).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

struct Row {
    name: &'static str,
    took: Duration,
    outcome: Result,
}

fn table(rows: &[Row], deadline: Deadline) {
    println!("\n{:9} {:>8}", "step", "seconds");
    for Row { name, took, outcome } in rows {
        let word = if outcome.is_ok() { "ok" } else { "failed" };
        println!("{name:9} {:>8.1}  {word}", took.as_secs_f64());
    }
    let all: Duration = rows.iter().map(|row| row.took).sum();
    println!("{:9} {:>8.1}", "all", all.as_secs_f64());
    if let Some(taken) = deadline.taken() {
        let (minutes, aim) = (taken.as_secs_f64() / 60.0, AIM.as_secs() / 60);
        let word = if taken > AIM { "MORE THAN THE AIM" } else { "within the aim" };
        println!("the whole run so far: {minutes:.1} minutes, {word} of {aim}");
    }
}

/// An error that lists what is wrong, or none.
fn none_of(wrong: Vec<String>) -> Result {
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}
