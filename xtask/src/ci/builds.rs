//! The checks that cargo itself makes.

use super::Context;
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
