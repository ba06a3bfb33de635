//! `cargo xtask soak`: the long variants of the tests.

use crate::fuzz::Fuzzer;
use crate::process::{Deadline, Result};
use crate::test;
use crate::workspace::Workspace;

/// What the names of tests with a long variant contain.
const LONG: [&str; 5] = ["soak_", "kill_", "history::", "faults::", "codec::"];

/// The arguments of `soak`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each test named `soak_*`, and each of random fault schedules, runs
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// The seed of random histories; each test's own unless given
    #[arg(long)]
    seed: Option<u64>,
    /// How often a crash test kills what it tests
    #[arg(long, default_value_t = 100)]
    kills: u64,
    /// How many random histories, faults or inputs a test tries
    #[arg(long, default_value_t = 20_000)]
    histories: u64,
    /// How long each fuzz target runs; they run where no crate and no test is chosen
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    fuzz_seconds: u64,
    /// Only this crate; may be given more than once
    #[arg(short, long = "package", value_name = "CRATE")]
    packages: Vec<String>,
    /// Only tests whose path contains one of these; all with a long variant unless given
    filters: Vec<String>,
}

/// Runs the tests that have a long variant, for release, with the numbers turned up; then the fuzz targets.
pub(crate) fn run(args: Args) -> Result {
    let fuzz = args.packages.is_empty() && args.filters.is_empty();
    let mut filters = if args.filters.is_empty() { LONG.map(str::to_owned).to_vec() } else { args.filters };
    // A test with a long variant says how much it tried.
    filters.push("--show-output".into());
    let mut variables = vec![
        ("HAUL_SOAK_MINUTES".to_owned(), args.minutes.to_string()),
        ("HAUL_FAULT_SECONDS".to_owned(), (60 * args.minutes).to_string()),
        ("HAUL_KILLS".to_owned(), args.kills.to_string()),
        ("HAUL_HISTORIES".to_owned(), args.histories.to_string()),
        // What proptest reads: the property tests of parsers and codecs.
        ("PROPTEST_CASES".to_owned(), args.histories.to_string()),
    ];
    variables.extend(args.seed.map(|seed| ("HAUL_SEED".to_owned(), seed.to_string())));
    let plan =
        test::Plan { release: true, packages: args.packages, filters, variables, ..test::Plan::default() };
    test::run_with(plan)?;
    if fuzz {
        let fuzzer = Fuzzer::build(&Workspace::load()?, Deadline::of_run()?)?;
        fuzzer.run(&[], args.fuzz_seconds, args.seed.map(|seed| seed as u32))?;
    }
    Ok(())
}
