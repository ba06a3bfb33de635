//! The crates of the workspace, as `cargo metadata` tells them.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::process::{Result, cargo, stdout_of};

/// The workspace.
pub(crate) struct Workspace {
    /// Where its root is.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// Its crates, by folder.
    pub(crate) packages: Vec<Package>,
}

/// A crate of the workspace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) description: String,
    /// Relative to the root, with slashes.
    pub(crate) folder: String,
    pub(crate) published: bool,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// What a crate depends on.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// The versions it accepts; `*` for any.
    pub(crate) req: String,
    /// `dev`, `build`, or neither.
    pub(crate) kind: Option<String>,
    /// Where it lies, for a crate of the workspace.
    pub(crate) path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Found>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Found {
    name: String,
    description: Option<String>,
    manifest_path: PathBuf,
    publish: Option<Vec<String>>,
    features: BTreeMap<String, Vec<String>>,
    dependencies: Vec<Dependency>,
}

impl Workspace {
    /// Reads the workspace that this program belongs to.
    pub(crate) fn load() -> Result<Self> {
        let text = stdout_of(cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
        let found: Metadata = serde_json::from_str(&text).map_err(|why| format!("cargo metadata: {why}"))?;
        let root = found.workspace_root;
        env::set_current_dir(&root).map_err(|why| format!("{}: {why}", root.display()))?;
        let mut packages: Vec<_> = found.packages.into_iter().map(|package| package.within(&root)).collect();
        packages.sort_by(|a, b| a.folder.cmp(&b.folder));
        Ok(Self { root, target: found.target_directory, packages })
    }

    /// The crate called `name`.
    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// The text of `path`, relative to the root.
    pub(crate) fn read(&self, path: &str) -> Result<String> {
        std::fs::read_to_string(self.root.join(path)).map_err(|why| format!("{path}: {why}"))
    }

    /// The files that git tracks, and those that it would: all but the ignored.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let mut git = std::process::Command::new("git");
        git.current_dir(&self.root).args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
        let listed = stdout_of(&mut git)?;
        let names = listed.split('\0').filter(|name| !name.is_empty() && self.root.join(name).is_file());
        Ok(names.map(str::to_owned).collect())
    }
}

impl Found {
    fn within(self, root: &Path) -> Package {
        let folder = self.manifest_path.parent().unwrap_or(root);
        Package {
            folder: folder.strip_prefix(root).unwrap_or(folder).to_string_lossy().into_owned(),
            name: self.name,
            description: self.description.unwrap_or_default(),
            published: self.publish.is_none_or(|registries| !registries.is_empty()),
            features: self.features,
            dependencies: self.dependencies,
        }
    }
}

impl Package {
    /// The role that its folder names, such as `layers`, and its own folder's name; both the same where it has no role.
    pub(crate) fn place(&self) -> (&str, &str) {
        let inner = self.folder.strip_prefix("crates/").unwrap_or(&self.folder);
        inner.split_once('/').unwrap_or((inner, inner))
    }

    /// True for the role `role`.
    pub(crate) fn is_a(&self, role: &str) -> bool {
        self.folder.starts_with("crates/") && self.place().0 == role
    }
}

/// Crates made up for the tests of the checks.
#[cfg(test)]
pub(crate) mod made_up {
    use super::*;

    /// A published crate that depends on `on`.
    pub(crate) fn package(name: &str, folder: &str, on: &[&str]) -> Package {
        let dependencies = on.iter().map(|name| dependency(name, None)).collect();
        let (name, folder) = (name.to_owned(), folder.to_owned());
        Package { name, folder, published: true, dependencies, ..Package::default() }
    }

    /// A dependency on a crate of the workspace.
    pub(crate) fn dependency(name: &str, kind: Option<&str>) -> Dependency {
        let (name, req) = (name.to_owned(), "^0.1.0".to_owned());
        Dependency { name, req, kind: kind.map(str::to_owned), path: Some("/somewhere".into()) }
    }

    /// A workspace of these crates in `root`.
    pub(crate) fn workspace(root: &Path, packages: Vec<Package>) -> Workspace {
        Workspace { root: root.to_owned(), target: root.join("target"), packages }
    }
}
