//! `cargo xtask bench`: haul against its peers, in one program.

use crate::process::{Result, cargo, succeed};

/// The arguments of `bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What the benchmark program is told: a filter, its options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds the benchmark for release and runs it.
pub(crate) fn run(args: Args) -> Result {
    let build = ["run", "--profile", "bench", "--package", "haul-bench", "--features", "connectors", "--"];
    succeed(cargo().args(build).args(args.rest))
}
