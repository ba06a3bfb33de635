//! Licences, bans and sources of dependencies, as `deny.toml` says.

use super::Context;
use crate::process::Result;
use crate::tools::DENY;

pub(super) fn check(context: &Context) -> Result {
    let mut deny = DENY.command(&context.workspace, context.deadline)?;
    let args =
        ["--all-features", "--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
    context.deadline.succeed(deny.current_dir(&context.workspace.root).args(args))
}
