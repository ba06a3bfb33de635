//! Installing counterparts: apt-get as root, a virtual environment, folders of npm packages and of Java's, Go's programs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::Place;
use super::list::{Counterpart, Go, Package};
use crate::process::{Result, answers, stdout_of, succeed};

/// Installs counterparts one after the other.
pub(super) struct Installer<'a> {
    place: &'a Place,
    /// Debian's package lists were fetched.
    updated: bool,
}

impl<'a> Installer<'a> {
    pub(super) fn new(place: &'a Place) -> Self {
        Self { place, updated: false }
    }

    /// Installs `counterpart`.
    pub(super) fn install(&mut self, counterpart: &Counterpart) -> Result {
        match counterpart.package() {
            Package::Apt(package) => self.apt(&[package]),
            Package::Pip(spec) => {
                self.pip(spec)?;
                self.mark(spec)
            }
            Package::Npm(spec) => {
                self.npm(spec)?;
                self.mark(spec)
            }
            Package::Maven(spec) => {
                self.maven(spec)?;
                self.mark(spec)
            }
            Package::Go(go) => {
                self.go(go)?;
                self.mark(&go.module)
            }
        }
    }

    fn pip(&mut self, spec: &str) -> Result {
        let venv = self.place.python();
        let python = venv.join("bin/python");
        // A Python that is gone since leaves an environment that does not start.
        if !answers(Command::new(&python).arg("--version")) {
            // Debian keeps what `venv` needs in a package of its own.
            if !answers(Command::new("python3").args(["-c", "import venv, ensurepip"])) {
                self.apt(&["python3", "python3-venv"])?;
            }
            succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        }
        let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        succeed(Command::new(&python).args(quiet).arg(spec))
    }

    fn npm(&mut self, spec: &str) -> Result {
        if !answers(Command::new("npm").arg("--version")) {
            self.apt(&["nodejs", "npm"])?;
        }
        let folder = self.place.node();
        make(&folder)?;
        let quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"];
        succeed(Command::new("npm").arg("install").args(quiet).arg("--prefix").arg(&folder).arg(spec))
    }

    /// A package and all that it needs to run.
    fn maven(&mut self, spec: &str) -> Result {
        if !answers(Command::new("mvn").arg("--version")) {
            self.apt(&["maven", "openjdk-17-jre-headless"])?;
        }
        let folder = self.place.jars(spec);
        make(&folder)?;
        let pom = folder.join("pom.xml");
        fs::write(&pom, project(spec)).map_err(|why| format!("{}: {why}", pom.display()))?;
        let copy = ["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"];
        let to = format!("-DoutputDirectory={}", folder.display());
        succeed(Command::new("mvn").current_dir(&folder).args(copy).arg(to))
    }

    /// A program, built in a copy of its module: with the very sums of what it needs that its authors had.
    fn go(&mut self, go: &Go) -> Result {
        if !answers(Command::new("go").arg("version")) {
            self.apt(&["golang-go"])?;
        }
        let program = self.place.program(go);
        let folder = program.with_extension("module");
        make(program.parent().unwrap_or(&program))?;
        // Unlike `go install`, it does not ask which versions there are: not every proxy says.
        let told = stdout_of(Command::new("go").args(["mod", "download", "-json", &go.module]))?;
        let told: Downloaded = serde_json::from_str(&told).map_err(|why| format!("{}: {why}", go.module))?;
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
        }
        // Go keeps its modules read-only.
        succeed(Command::new("cp").args(["-R", "--no-preserve=mode"]).arg(told.dir).arg(&folder))?;
        if let (Some(file), Some(version)) = (&go.version_file, go.version()) {
            let file = folder.join(file);
            fs::write(&file, version).map_err(|why| format!("{}: {why}", file.display()))?;
        }
        let package = format!("./{}", go.program);
        // Not the version of the repository around it.
        let build = ["build", "-buildvcs=false", "-o"];
        succeed(Command::new("go").current_dir(&folder).args(build).arg(&program).arg(package))
    }

    fn apt(&mut self, packages: &[&str]) -> Result {
        if !self.updated {
            succeed(Command::new("apt-get").args(["update", "-qq"]))?;
            self.updated = true;
        }
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").args([
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
        ]);
        succeed(apt.args(packages))
    }

    fn mark(&self, spec: &str) -> Result {
        let mark = self.place.mark(spec);
        make(mark.parent().unwrap_or(&mark))?;
        fs::write(&mark, "").map_err(|why| format!("{}: {why}", mark.display()))
    }
}

/// What `go mod download` tells of a module.
#[derive(serde::Deserialize)]
struct Downloaded {
    #[serde(rename = "Dir")]
    dir: PathBuf,
}

/// The smallest project that depends on `spec`, which is `group:artifact:version`.
fn project(spec: &str) -> String {
    let mut parts = spec.split(':');
    let mut part = |name| format!("<{name}>{}</{name}>", parts.next().unwrap_or_default());
    let needed = [part("groupId"), part("artifactId"), part("version")].concat();
    format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>haul</groupId><artifactId>services</artifactId>\
         <version>0</version><packaging>pom</packaging>\
         <dependencies><dependency>{needed}</dependency></dependencies></project>\n"
    )
}

fn make(folder: &Path) -> Result {
    fs::create_dir_all(folder).map_err(|why| format!("{}: {why}", folder.display()))
}
