//! `haul completions`: a script for the shell.

use clap::CommandFactory;

use crate::args::{Cli, Completions};
use crate::exit::Failure;
use crate::output::Output;

pub(crate) fn run(args: &Completions, out: Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "haul", &mut script);
    out.bytes(&script)
}
