//! Dependencies that nothing uses, and shared versions that no crate takes.

use std::collections::BTreeSet;

use super::{Context, none_of};
use crate::process::Result;
use crate::tools::MACHETE;
use crate::workspace::Workspace;

pub(super) fn check(context: &Context) -> Result {
    let mut machete = MACHETE.command(&context.workspace, context.deadline)?;
    let crates = context
        .deadline
        .succeed(machete.current_dir(&context.workspace.root).args(["crates", "tests", "xtask"]));
    let shared = shared(&context.workspace);
    none_of([crates, shared].into_iter().filter_map(Result::err).collect())
}

fn shared(workspace: &Workspace) -> Result {
    let manifest: toml::Table =
        workspace.read("Cargo.toml")?.parse().map_err(|why| format!("Cargo.toml: {why}"))?;
    let dependencies = manifest["workspace"].get("dependencies").and_then(toml::Value::as_table);
    none_of(untaken(dependencies.into_iter().flat_map(|table| table.keys().map(String::as_str)), workspace))
}

fn untaken<'a>(listed: impl Iterator<Item = &'a str>, workspace: &Workspace) -> Vec<String> {
    let taken: BTreeSet<&str> = workspace
        .packages
        .iter()
        .flat_map(|package| &package.dependencies)
        .map(|it| it.name.as_str())
        .collect();
    listed
        .filter(|name| !taken.contains(name) && workspace.package(name).is_none())
        .map(|name| format!("Cargo.toml: no crate takes workspace dependency {name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::made_up::{package, workspace};

    #[test]
    fn a_shared_version_that_nobody_takes_is_found() {
        let workspace = workspace("/nowhere".as_ref(), vec![package("haul-core", "crates/core", &["bytes"])]);
        let found = untaken(["bytes", "haul-core", "left-over"].into_iter(), &workspace);
        assert_eq!(found, ["Cargo.toml: no crate takes workspace dependency left-over"]);
    }
}
