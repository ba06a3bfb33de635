//! Every crate of a role runs the conformance suites of that role, for each section of `capabilities.toml`.

use std::collections::BTreeMap;

use super::policy::OTHER_SUITES;
use super::{Context, none_of};
use crate::process::Result;
use crate::workspace::{Package, Workspace};

const CAPABILITIES: &str = "tests/kit/capabilities.toml";

pub(super) fn check(context: &Context) -> Result {
    let Context { workspace, .. } = context;
    let sections = toml::from_str(&workspace.read(CAPABILITIES)?);
    let sections = sections.map_err(|why| format!("{CAPABILITIES}: {why}"))?;
    let mut tests = BTreeMap::new();
    for file in workspace.files()?.into_iter().filter(|file| file.ends_with(".rs")) {
        let owner = workspace.packages.iter().find(|package| is_test_of(package, &file));
        if let Some(package) = owner {
            let text: &mut String = tests.entry(package.name.clone()).or_default();
            text.push_str(&bare(&workspace.read(&file)?));
        }
    }
    none_of(wrong(workspace, &sections, &tests, OTHER_SUITES))
}

/// What `capabilities.toml` says, by section and role.
type Sections = BTreeMap<String, BTreeMap<String, toml::Table>>;

fn is_test_of(package: &Package, file: &str) -> bool {
    let inside = file.strip_prefix(&package.folder).and_then(|rest| rest.strip_prefix("/tests/"));
    !package.folder.is_empty() && inside.is_some()
}

/// The code of a file without comments and white space, so that a call reads the same however it is wrapped.
fn bare(text: &str) -> String {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(str::split_whitespace).collect()
}

fn wrong(
    workspace: &Workspace,
    sections: &Sections,
    tests: &BTreeMap<String, String>,
    other: &[(&str, &[&str])],
) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in workspace.packages.iter().filter(|package| package.published) {
        let said: Vec<_> = sections.iter().filter(|(name, _)| owner(name) == package.name).collect();
        let has = |role: &str| said.iter().any(|(_, roles)| roles.contains_key(role));
        let instead = other.iter().find(|(name, _)| *name == package.name).map(|(_, roles)| *roles);
        let needed = instead.map_or_else(|| needs(workspace, package, &said), |roles| roles.to_vec());
        let missing = needed.into_iter().filter(|role| !has(role));
        wrong.extend(missing.map(|role| {
            format!("{CAPABILITIES}: no section [{}.{role}], which {} needs", package.name, package.folder)
        }));
    }
    let gone = other.iter().filter(|(name, _)| workspace.package(name).is_none());
    wrong.extend(gone.map(|(name, _)| format!("policy.rs names other suites for {name}, which is no crate")));
    for (section, roles) in sections {
        let name = owner(section);
        let Some(package) = workspace.package(name) else {
            wrong.push(format!("{CAPABILITIES}: section {section:?} is of no crate"));
            continue;
        };
        let code = tests.get(name).map_or("", String::as_str);
        let uncalled = roles.keys().filter(|role| !calls(code, section, role));
        wrong.extend(uncalled.map(|role| {
            format!(
                "{}/tests: nothing calls {role}::suite({section:?}, ..), as {CAPABILITIES} has its section",
                package.folder
            )
        }));
    }
    wrong
}

/// The crate that a section is of: `haul-tcp` for `haul-tcp/lines`.
fn owner(section: &str) -> &str {
    section.split('/').next().unwrap_or(section)
}

/// The roles that the crate's sections must have.
fn needs(
    workspace: &Workspace,
    package: &Package,
    said: &[(&String, &BTreeMap<String, toml::Table>)],
) -> Vec<&'static str> {
    if package.is_a("protocols") {
        let multiplexes = said.iter().any(|(_, roles)| {
            let connection = roles.get("connection").and_then(|connection| connection.get("multiplex"));
            connection.and_then(toml::Value::as_bool).unwrap_or_default()
        });
        let mut needed = vec!["connection", "listener", "dialer"];
        needed.extend(multiplexes.then_some("multiplex"));
        needed
    } else if package.is_a("connectors") {
        let reads = workspace.root.join(&package.folder).join("src/source.rs").is_file();
        let mut needed = vec!["sink"];
        needed.extend(reads.then_some("source"));
        needed
    } else if package.is_a("layers") {
        vec!["layer"]
    } else {
        vec![]
    }
}

/// True if the code, without white space, runs the suite of `role` for `section`; a layer's is run for both its inputs.
fn calls(code: &str, section: &str, role: &str) -> bool {
    let names = |call: &str| code.contains(&format!("{role}::{call}({section:?},"));
    let batches = role != "layer" || names("batch_suite") || names("BatchSuite::new");
    batches && (names("suite") || names("Suite::new"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::workspace::made_up::{package, workspace};

    const SECTIONS: &str = "
        [haul-quic.connection]
        multiplex = true
        [haul-quic.listener]
        [haul-quic.dialer]
        [haul-quic.multiplex]
        ['haul-quic/raw'.connection]
        [haul-retry.layer]
        [haul-file.sink]
        [haul-file.source]
    ";

    const QUIC: &str = "
        connection::suite(\"haul-quic\", over()).await;
        connection::suite(\"haul-quic/raw\", over()).await;
        listener::Suite::new(
            \"haul-quic\",
            over(),
        ).run().await;
        dialer::suite(\"haul-quic\", over()).await;
        multiplex::suite(\"haul-quic\", over()).await;
    ";
    const RETRY: &str = "layer::suite(\"haul-retry\", wrap); layer::batch_suite(\"haul-retry\", wrap);";
    const FILE: &str = "sink::suite(\"haul-file\", rig); source::suite(\"haul-file\", rig);";

    /// What is wrong with three crates that are fine but for `change`.
    fn found(change: impl FnOnce(&mut Sections, &mut BTreeMap<String, String>)) -> Vec<String> {
        let root = tempfile::tempdir().expect("a folder");
        let src = root.path().join("crates/connectors/file/src");
        fs::create_dir_all(&src).expect("it is made");
        fs::write(src.join("source.rs"), "").expect("it is written");
        let crates = vec![
            package("haul-quic", "crates/protocols/quic", &[]),
            package("haul-retry", "crates/layers/retry", &[]),
            package("haul-file", "crates/connectors/file", &[]),
            package("haul-core", "crates/core", &[]),
        ];
        let mut sections = toml::from_str(SECTIONS).expect("it is well-formed");
        let tests = [("haul-quic", QUIC), ("haul-retry", RETRY), ("haul-file", FILE)];
        let mut tests = tests.map(|(name, text)| (name.to_owned(), bare(text))).into();
        change(&mut sections, &mut tests);
        wrong(&workspace(root.path(), crates), &sections, &tests, &[])
    }

    fn without(name: &str, call: &str) -> Vec<String> {
        found(|_, tests| {
            let code = tests.get_mut(name).expect("it is there");
            assert!(code.contains(call));
            *code = code.replace(call, "");
        })
    }

    #[test]
    fn crates_that_run_all_suites_of_their_role_are_fine() {
        assert_eq!(found(|_, _| ()), Vec::<String>::new());
    }

    #[test]
    fn a_section_that_no_test_calls_is_found() {
        assert_eq!(
            without("haul-quic", "connection::suite(\"haul-quic/raw\",over()).await;"),
            [format!(
                "crates/protocols/quic/tests: nothing calls connection::suite(\"haul-quic/raw\", ..), as {CAPABILITIES} \
                 has its section"
            )]
        );
        assert_eq!(without("haul-quic", "listener::").len(), 1);
        assert_eq!(without("haul-retry", "layer::batch_suite").len(), 1);
        assert_eq!(found(|_, tests| tests.clear()).len(), 8);
    }

    #[test]
    fn a_call_in_a_comment_is_none() {
        let said = found(|_, tests| {
            tests.insert("haul-retry".into(), bare(&format!("// {RETRY}")));
        });
        assert_eq!(said.len(), 1);
    }

    #[test]
    fn a_role_without_its_section_is_found() {
        for (name, role) in [
            ("haul-quic", "dialer"),
            ("haul-quic", "multiplex"),
            ("haul-file", "source"),
            ("haul-retry", "layer"),
        ] {
            let said = found(|sections, _| {
                sections.get_mut(name).expect("it is there").remove(role);
            });
            let folder = match name {
                "haul-quic" => "crates/protocols/quic",
                "haul-file" => "crates/connectors/file",
                _ => "crates/layers/retry",
            };
            assert_eq!(said, [format!("{CAPABILITIES}: no section [{name}.{role}], which {folder} needs")]);
        }
    }

    #[test]
    fn a_section_of_no_crate_is_found() {
        let said = found(|sections, _| {
            sections.insert("haul-quick".into(), BTreeMap::new());
        });
        assert_eq!(said, [format!("{CAPABILITIES}: section \"haul-quick\" is of no crate")]);
    }
}
