//! Cargo's further tools, installed once under the target directory.

use std::{fs, path::PathBuf, process::Command};

use crate::process::{Deadline, Result, cargo};
use crate::workspace::Workspace;

/// A program that `cargo install` brings, at one version.
pub(crate) struct Tool {
    /// The package and its program.
    pub(crate) name: &'static str,
    /// The version that the checks were written against.
    pub(crate) version: &'static str,
}

/// Licences, bans and sources.
pub(crate) const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

/// Unused dependencies.
pub(crate) const MACHETE: Tool = Tool { name: "cargo-machete", version: "0.9.2" };

impl Tool {
    /// The program, installed where it is missing or of another version.
    pub(crate) fn command(&self, workspace: &Workspace, deadline: Deadline) -> Result<Command> {
        let root = workspace.target.join("tools");
        let program = root.join("bin").join(self.name);
        // cargo install keeps a record of what it installed; reading it back takes longer than this mark.
        let mark: PathBuf = root.join(format!("{}-{}", self.name, self.version));
        if !program.is_file() || !mark.is_file() {
            println!("installing {} {} into {}", self.name, self.version, root.display());
            let mut install = cargo();
            // As built for release, with link-time optimisation, it would take several times as long as it ever saves.
            install.env("CARGO_PROFILE_DEV_DEBUG", "0");
            install.args(["install", "--locked", "--debug", "--quiet", "--force"]);
            install.args([self.name, "--version", self.version]);
            install.arg("--root").arg(&root);
            deadline.succeed(&mut install)?;
            fs::write(&mark, "").map_err(|why| format!("{}: {why}", mark.display()))?;
        }
        Ok(Command::new(program))
    }
}
