//! `tests/services/list.toml`: the counterparts by name. Its keys are explained in the README beside it.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

use crate::process::Result;

/// A program or library that haul's authors did not write, and that haul is tested against.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counterpart {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) need: Need,
    /// What stands in for it where it is missing.
    pub(crate) double: Option<String>,
    apt: Option<String>,
    pip: Option<String>,
    npm: Option<String>,
    maven: Option<String>,
    go: Option<Go>,
    pub(super) detect: Vec<String>,
    /// The command that starts it, where it is a server.
    pub(super) start: Option<Vec<String>>,
    pub(super) variables: BTreeMap<String, String>,
}

/// A program in a module of Go, which is built here.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Go {
    /// `module@version`.
    pub(super) module: String,
    /// The folder of the program in it.
    pub(super) program: String,
    /// The file in which the program looks for its version, where the module comes without it.
    pub(super) version_file: Option<String>,
}

/// Whether continuous integration can go without it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Need {
    Required,
    Optional,
}

/// What brings a counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Package<'a> {
    Apt(&'a str),
    Pip(&'a str),
    Npm(&'a str),
    Maven(&'a str),
    Go(&'a Go),
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Required => "required",
            Self::Optional => "optional",
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    counterpart: Vec<Counterpart>,
}

/// Reads the list.
pub(super) fn parse(text: &str) -> Result<Vec<Counterpart>> {
    let list: List = toml::from_str(text).map_err(|why| format!("tests/services/list.toml: {why}"))?;
    for counterpart in &list.counterpart {
        counterpart
            .check()
            .map_err(|why| format!("tests/services/list.toml: {}: {why}", counterpart.name))?;
    }
    Ok(list.counterpart)
}

impl Go {
    /// The version of the module.
    pub(super) fn version(&self) -> Option<&str> {
        self.module.split_once('@').map(|(_, version)| version)
    }
}

impl Counterpart {
    /// The package that brings it.
    pub(super) fn package(&self) -> Package<'_> {
        let apt = self.apt.as_deref().map(Package::Apt);
        let pip = self.pip.as_deref().map(Package::Pip);
        let npm = self.npm.as_deref().map(Package::Npm);
        let maven = self.maven.as_deref().map(Package::Maven);
        let go = self.go.as_ref().map(Package::Go);
        apt.or(pip).or(npm).or(maven).or(go).expect("the list was checked: one of them is there")
    }

    fn check(&self) -> Result {
        let packages = [&self.apt, &self.pip, &self.npm, &self.maven].into_iter().flatten().count();
        if packages + usize::from(self.go.is_some()) != 1 {
            return Err(
                "exactly one of apt, pip, npm, maven and go must name the package that brings it".into()
            );
        }
        if self.go.as_ref().is_some_and(|go| go.version().is_none()) {
            return Err("go.module must be module@version".into());
        }
        if self.maven.as_ref().is_some_and(|spec| spec.split(':').count() != 3) {
            return Err("maven must be group:artifact:version".into());
        }
        if self.detect.is_empty() {
            return Err("detect must be a command".into());
        }
        if self.start.as_ref().is_some_and(|start| !start.iter().any(|word| word.contains("{port}"))) {
            return Err("start must tell the server its {port}".into());
        }
        match (self.need, &self.double) {
            (Need::Required, Some(_)) => Err("what is required has no double".into()),
            (Need::Optional, None) => Err("what is optional names its double".into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NC: &str = r#"
        [[counterpart]]
        name = "nc"
        what = "netcat"
        need = "required"
        apt = "netcat-openbsd"
        detect = ["nc", "-h"]
        variables = { HAUL_NC = "nc" }
    "#;

    fn refused(from: &str, to: &str) -> String {
        parse(&NC.replace(from, to)).expect_err("the list is wrong")
    }

    #[test]
    fn the_list_of_the_workspace_is_well_formed() {
        let list = parse(include_str!("../../../tests/services/list.toml")).expect("it is read at each run");
        assert!(list.iter().any(|counterpart| counterpart.package() == Package::Apt("netcat-openbsd")));
    }

    #[test]
    fn a_wrong_entry_is_refused_by_name() {
        assert!(
            refused("apt = \"netcat-openbsd\"", "")
                .contains("nc: exactly one of apt, pip, npm, maven and go")
        );
        assert!(refused("apt = \"netcat-openbsd\"", "maven = \"a:b\"").contains("group:artifact:version"));
        let go = "go = { module = \"example.org/x\", program = \"cmd/x\" }";
        assert!(refused("apt = \"netcat-openbsd\"", go).contains("module@version"));
        assert!(refused("apt =", &format!("{go}\napt =")).contains("exactly one"));
        assert!(refused("apt =", "pip = \"x\"\napt =").contains("exactly one"));
        assert!(refused("\"required\"", "\"optional\"").contains("names its double"));
        assert!(refused("apt =", "double = \"x\"\napt =").contains("has no double"));
        assert!(refused("[\"nc\", \"-h\"]", "[]").contains("detect must be a command"));
        assert!(refused("apt =", "start = [\"nc\", \"-l\"]\napt =").contains("its {port}"));
        assert!(refused("what =", "colour =").contains("colour"));
    }
}
