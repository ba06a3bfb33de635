//! Benchmarks of haul against its peers, in the same program and the same run.
//!
//! A ratio is the median of interleaved pairs with its 90 % bootstrap interval; CPU per packet stands beside it. A bar
//! is met when the interval reaches it.

mod allocations;
mod crowd;
mod measure;
mod memory;
mod parts;
mod peers;
mod report;
mod work;

use std::time::Duration;

use clap::Parser;

/// Measures haul against its peers and prints the ratios.
#[derive(Parser)]
struct Args {
    /// Only bars whose name contains this.
    filter: Option<String>,
    /// Pairs of runs for each ratio.
    #[arg(long, default_value_t = 15)]
    pairs: usize,
    /// Length of one run in milliseconds.
    #[arg(long, default_value_t = 1000)]
    millis: u64,
    /// Where the report goes, and where the journal's bar writes its files: a folder on a real disk.
    #[arg(long, default_value = "target/bench")]
    out: std::path::PathBuf,
    /// What this process does for another one of the benchmark.
    #[arg(long, hide = true, num_args = 1..)]
    part: Option<Vec<String>>,
}

fn main() -> std::io::Result<()> {
    let args = Args::parse();
    if let Some(part) = args.part {
        parts::run(&part);
        return Ok(());
    }
    let run = measure::Run { pairs: args.pairs, length: Duration::from_millis(args.millis) };
    let filter = args.filter.unwrap_or_default();
    let rows = work::all(&run, &filter, &args.out);
    report::print(&rows);
    report::write(&rows, &args.out)
}
