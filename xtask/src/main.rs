//! The chores of haul: every one is `cargo xtask <command>`.

mod bench;
mod ci;
mod docs;
mod fuzz;
mod process;
mod services;
mod soak;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// The chores of haul
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Run everything that can run here, and list by name what did not run
    Test(test::Args),
    /// Run the checks that a change must pass before it lands
    Ci(ci::Args),
    /// Show or install the real counterparts of the tests
    Services(services::Args),
    /// Measure haul against its peers
    Bench(bench::Args),
    /// Give the readers of foreign bytes what libFuzzer makes up
    Fuzz(fuzz::Args),
    /// Run the long variants of the tests: crashes, faults, random histories
    Soak(soak::Args),
    /// Write the generated pages of docs/ and build the API's documentation
    Docs(docs::Args),
}

fn main() -> ExitCode {
    let done = match Chore::parse() {
        Chore::Test(args) => test::run(args),
        Chore::Ci(args) => ci::run(args),
        Chore::Services(args) => services::run(args),
        Chore::Bench(args) => bench::run(args),
        Chore::Fuzz(args) => fuzz::run(args),
        Chore::Soak(args) => soak::run(args),
        Chore::Docs(args) => docs::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
