//! Crates of one role have the same files, so that whoever has seen one has seen all.

use std::path::Path;

use super::policy::MISSING_ROOMS;
use super::{Context, none_of};
use crate::process::Result;
use crate::workspace::{Package, Workspace};

pub(super) fn check(context: &Context) -> Result {
    let Context { workspace, .. } = context;
    let wrong = workspace.packages.iter().flat_map(|package| wrong(workspace, package, MISSING_ROOMS));
    none_of(wrong.collect())
}

/// A word of `lib.rs`, and what it is for.
const REGISTERS: [(&str, &str); 2] =
    [("pub const SCHEMES", "the schemes it knows"), ("pub fn register", "its registration")];

fn wrong(workspace: &Workspace, package: &Package, missing: &[(&str, &[&str])]) -> Vec<String> {
    let (role, folder) = package.place();
    let tolerated =
        missing.iter().find(|(name, _)| *name == package.name).map_or(&[][..], |(_, files)| files);
    let mut wrong = Vec::new();
    for room in rooms(package) {
        let there = workspace.root.join(&package.folder).join("src").join(room).is_file();
        match (there, tolerated.contains(room)) {
            (false, false) => wrong.push(format!("{}: src/{room} is missing", package.folder)),
            (true, true) => wrong.push(format!("{}: policy.rs says it has no src/{room}", package.folder)),
            _ => {}
        }
    }
    let role = package.folder.starts_with("crates/").then_some(role);
    if role == Some("protocols") && !tolerated.contains(&"dialer.rs") {
        let lib = workspace.read(&format!("{}/src/lib.rs", package.folder)).unwrap_or_default();
        for (word, what) in REGISTERS.iter().filter(|(word, _)| !lib.contains(word)) {
            wrong.push(format!("{}: src/lib.rs lacks `{word}`, {what}", package.folder));
        }
    }
    if package.is_a("connectors") && reads(workspace, package) && !tolerated.contains(&"source.rs") {
        wrong.push(format!("{}: it reads, and has no src/source.rs", package.folder));
    }
    let (haul, name) = (package.folder.starts_with("crates/"), &package.name);
    if haul && *name != format!("haul-{folder}") && *name != folder {
        wrong.push(format!("{}: it is called {name}, and its folder {folder}", package.folder));
    }
    wrong
}

/// True for a connector whose source is written somewhere else than in `source.rs`.
fn reads(workspace: &Workspace, package: &Package) -> bool {
    let src = workspace.root.join(&package.folder).join("src");
    let files = std::fs::read_dir(&src).into_iter().flatten().flatten().map(|entry| entry.path());
    let source = |path: &Path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("Source for "));
    !src.join("source.rs").is_file() && files.filter(|path| path.is_file()).any(|path| source(&path))
}

fn rooms(package: &Package) -> &'static [&'static str] {
    if package.is_a("protocols") {
        &["lib.rs", "dialer.rs", "listener.rs", "link.rs"]
    } else if package.is_a("connectors") {
        &["lib.rs", "config.rs", "sink.rs"]
    } else if package.is_a("layers") {
        &["lib.rs"]
    } else {
        &[]
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::workspace::made_up::{package, workspace};

    /// What is found of a protocol with these files.
    fn found(files: &[(&str, &str)], missing: &[(&str, &[&str])]) -> Vec<String> {
        let root = tempfile::tempdir().expect("a folder");
        let src = root.path().join("crates/protocols/ws/src");
        fs::create_dir_all(&src).expect("it is made");
        for (name, text) in files {
            fs::write(src.join(name), text).expect("it is written");
        }
        let package = package("haul-ws", "crates/protocols/ws", &[]);
        wrong(&workspace(root.path(), vec![]), &package, missing)
    }

    const LIB: (&str, &str) = ("lib.rs", "pub const SCHEMES: &[&str] = &[];\npub fn register() {}");

    #[test]
    fn a_missing_room_is_found() {
        let files = [LIB, ("dialer.rs", ""), ("listener.rs", ""), ("link.rs", "")];
        assert_eq!(found(&files, &[]), Vec::<String>::new());
        assert_eq!(found(&files[..3], &[]), ["crates/protocols/ws: src/link.rs is missing"]);
        assert_eq!(found(&files[..3], &[("haul-ws", &["link.rs"])]), Vec::<String>::new());
    }

    #[test]
    fn an_exception_that_nobody_needs_is_found() {
        let files = [LIB, ("dialer.rs", ""), ("listener.rs", ""), ("link.rs", "")];
        let said = found(&files, &[("haul-ws", &["link.rs"])]);
        assert_eq!(said, ["crates/protocols/ws: policy.rs says it has no src/link.rs"]);
    }

    #[test]
    fn a_source_in_another_room_is_found() {
        let root = tempfile::tempdir().expect("a folder");
        let src = root.path().join("crates/connectors/file/src");
        fs::create_dir_all(&src).expect("it is made");
        for (name, text) in [("lib.rs", ""), ("config.rs", ""), ("sink.rs", "impl Source for Follow {}")] {
            fs::write(src.join(name), text).expect("it is written");
        }
        let package = package("haul-file", "crates/connectors/file", &[]);
        let workspace = workspace(root.path(), vec![]);
        assert_eq!(
            wrong(&workspace, &package, &[]),
            ["crates/connectors/file: it reads, and has no src/source.rs"]
        );
        fs::write(src.join("source.rs"), "").expect("it is written");
        assert_eq!(wrong(&workspace, &package, &[]), Vec::<String>::new());
    }

    #[test]
    fn a_protocol_that_does_not_register_is_found() {
        let files = [("lib.rs", ""), ("dialer.rs", ""), ("listener.rs", ""), ("link.rs", "")];
        assert_eq!(found(&files, &[]).len(), 2);
    }

    #[test]
    fn a_crate_that_is_not_called_as_its_folder_is_found() {
        let package = package("haul-socket", "crates/layers/ws", &[]);
        let said = wrong(&workspace("/nowhere".as_ref(), vec![]), &package, &[("haul-socket", &["lib.rs"])]);
        assert_eq!(said, ["crates/layers/ws: it is called haul-socket, and its folder ws"]);
    }
}
