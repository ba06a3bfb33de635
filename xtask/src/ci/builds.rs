//! The checks that cargo itself makes.

use super::Context;
use super::policy::{FUZZ_SECONDS, FUZZ_SEED};
use crate::fuzz::Fuzzer;
use crate::process::{Result, cargo};

/// rustfmt changes nothing.
pub(super) fn fmt(context: &Context) -> Result {
    context.deadline.succeed(cargo().args(["fmt", "--all", "--check"]))
}

/// Clippy and the compiler have nothing to say of any target.
pub(super) fn clippy(context: &Context) -> Result {
    let args =
        ["clippy", "--workspace", "--all-targets", "--all-features", "--quiet", "--", "-D", "warnings"];
    context.deadline.succeed(cargo().args(args))
}

/// Rustdoc has nothing to say.
pub(super) fn rustdoc(context: &Context) -> Result {
    let mut command = cargo();
    command.env("RUSTDOCFLAGS", "-D warnings");
    command.args(["doc", "--workspace", "--no-deps", "--all-features", "--quiet"]);
    context.deadline.succeed(&mut command)
}

/// libFuzzer finds no input that breaks a target.
pub(super) fn fuzz(context: &Context) -> Result {
    Fuzzer::build(&context.workspace, context.deadline)?.run(&[], FUZZ_SECONDS, Some(FUZZ_SEED))
}
