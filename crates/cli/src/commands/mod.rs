//! The commands, a file each.

mod bench;
mod completions;
mod connect;
mod data;
mod docs;
mod listen;
pub(crate) mod log;
mod man;
pub(crate) mod outbox;
mod pipe;
mod probe;
mod send;
pub(crate) mod serve;
pub(crate) mod tap;
pub(crate) mod validate;

use crate::args::Command;
use crate::exit::Failure;
use crate::output::Output;

pub(crate) async fn run(command: Command, out: Output) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(args, out).await,
        Command::Validate(args) => validate::run(args, out).await,
        Command::Tap(args) => tap::run(args, out).await,
        Command::Log(args) => log::run(args, out).await,
        Command::Outbox(args) => outbox::run(args, out).await,
        Command::Pipe(args) => pipe::run(args, out).await,
        Command::Connect(args) => connect::run(args, out).await,
        Command::Listen(args) => listen::run(args, out).await,
        Command::Send(args) => send::run(args, out).await,
        Command::Probe(args) => probe::run(args, out).await,
        Command::Bench(args) => bench::run(args, out).await,
        Command::Completions(args) => completions::run(&args, out),
        Command::Man(args) => man::run(&args, out),
        Command::Docs(args) => docs::run(&args, out),
    }
}

/// How the program speaks about itself, where a configuration says so: for the gateway.
pub(crate) fn log_settings(command: &Command) -> Result<Option<haul::config::Log>, Failure> {
    match command {
        Command::Serve(args) => Ok(Some(args.config.load()?.log)),
        _ => Ok(None),
    }
}
