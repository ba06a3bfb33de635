//! `cargo xtask docs`: the pages of `docs/` that are written by programs, and the API's documentation.

use std::{fs, process::Command};

use crate::ci::Context;
use crate::process::{Deadline, Result, cargo, in_ci, stdout_of};
use crate::test;
use crate::workspace::{Package, Workspace};

/// The arguments of `docs`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only compare the pages with what would be written
    #[arg(long)]
    check: bool,
}

/// Writes the pages and builds the API's documentation, or checks that the pages are up to date.
pub(crate) fn run(args: Args) -> Result {
    let context = Context { workspace: Workspace::load()?, deadline: Deadline::of_run()? };
    if args.check {
        return check(&context);
    }
    for (path, text) in pages(&context)? {
        fs::write(context.workspace.root.join(path), text).map_err(|why| format!("{path}: {why}"))?;
        println!("wrote {path}");
    }
    context.deadline.succeed(cargo().args(["doc", "--workspace", "--no-deps", "--all-features"]))
}

/// The pages are what would be written now.
pub(crate) fn check(context: &Context) -> Result {
    let mut old = Vec::new();
    for (path, text) in pages(context)? {
        if context.workspace.read(path).ok().as_ref() != Some(&text) {
            old.push(path);
        }
    }
    if old.is_empty() {
        Ok(())
    } else {
        Err(format!("out of date: {}; run cargo xtask docs", old.join(", ")))
    }
}

/// The written pages: path and text.
fn pages(context: &Context) -> Result<[(&'static str, String); 2]> {
    let mut program = if in_ci() {
        // The tests have built it already.
        Command::new(test::program(&test::Plan::default(), context.deadline)?)
    } else {
        let mut run = cargo();
        run.args(["run", "--quiet", "--package", "haul-cli", "--"]);
        run
    };
    let cli = stdout_of(program.args(["docs", "markdown"]))?;
    Ok([("docs/crates.md", crates(&context.workspace.packages)), ("docs/cli.md", cli)])
}

fn crates(packages: &[Package]) -> String {
    let mut page = String::from(
        "# The crates\n\nWritten by `cargo xtask docs`. The arrows between them are in [architecture](architecture.md).\n\n\
         | folder | crate | what it is | published |\n|---|---|---|---|\n",
    );
    for Package { folder, name, description, published, .. } in packages {
        let published = if *published { "yes" } else { "no" };
        page += &format!("| [{folder}](../{folder}) | `{name}` | {description} | {published} |\n");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::made_up::package;

    #[test]
    fn the_page_of_crates_has_a_row_for_each() {
        let mut ws = package("haul-ws", "crates/protocols/ws", &[]);
        ws.description = "WebSocket connections for haul".into();
        let page = crates(&[ws]);
        let row = "| [crates/protocols/ws](../crates/protocols/ws) | `haul-ws` | WebSocket connections for haul | yes |";
        assert_eq!(page.lines().last(), Some(row));
    }
}
