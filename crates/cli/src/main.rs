//! The `haul` program: it parses arguments, calls the crates of haul, and prints.

mod args;
mod commands;
mod ends;
mod exit;
mod latency;
mod layers;
mod output;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use exit::{Code, Failure};
use output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = Output::new(&cli.global);
    match run(cli, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out.failure(&failure);
            ExitCode::from(failure.code as u8)
        }
    }
}

fn run(cli: Cli, out: Output) -> Result<(), Failure> {
    let log = commands::log_settings(&cli.command)?;
    telemetry::init(&cli.global, log, out)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(commands::run(cli.command, out));
    // A read of stdin that is under way cannot be stopped: do not wait for it.
    runtime.shutdown_background();
    done
}

/// Resolves at ctrl-c or SIGTERM.
async fn stopped() -> Result<(), Failure> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => pressed?,
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await?;
    Ok(())
}

/// `doing` with a bound. Errors: code 5, after saying what took too long.
async fn within<T>(
    limit: std::time::Duration,
    what: String,
    doing: impl Future<Output = T>,
) -> Result<T, Failure> {
    tokio::time::timeout(limit, doing).await.map_err(|_| {
        Failure::new(Code::Timeout, format!("{what}: no answer within {}", output::time(limit)))
            .with_hint("see with haul probe URL whether it answers at all, or give a longer --timeout")
    })
}
