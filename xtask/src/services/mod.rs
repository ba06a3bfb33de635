//! `cargo xtask services`: the real counterparts of the tests, from `tests/services/list.toml`.

mod install;
mod list;
mod start;

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use crate::process::{Result, answers};
use crate::workspace::Workspace;

pub(crate) use list::{Counterpart, Need};
pub(crate) use start::Server;

/// The arguments of `services`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand)]
enum What {
    /// Show which are here (what `services` does by itself)
    List,
    /// Install what is missing
    Install,
    /// Print the variables that tell tests where they are, for a shell's `eval`
    Env,
}

/// The counterparts, and which of them are here.
pub(crate) struct Services {
    place: Place,
    list: Vec<Counterpart>,
}

/// Where counterparts are installed.
pub(crate) struct Place {
    folder: PathBuf,
}

impl Services {
    /// Reads the list.
    pub(crate) fn load(workspace: &Workspace) -> Result<Self> {
        let list = list::parse(&workspace.read("tests/services/list.toml")?)?;
        Ok(Self { place: Place { folder: workspace.target.join("services") }, list })
    }

    /// Those that are not here.
    pub(crate) fn missing(&self) -> Vec<&Counterpart> {
        self.list.iter().filter(|counterpart| !self.place.has(counterpart)).collect()
    }

    /// Installs what is missing; each failure is told, and the others go on. Whoever asks needs [`missing`] after.
    ///
    /// [`missing`]: Self::missing
    pub(crate) fn install(&self) {
        let mut installer = install::Installer::new(&self.place);
        for counterpart in self.missing() {
            println!("installing {}", counterpart.name);
            if let Err(why) = installer.install(counterpart) {
                eprintln!("could not install {}: {why}", counterpart.name);
            }
        }
    }

    /// What tests are told of those that are here and need no start.
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        let here =
            self.list.iter().filter(|counterpart| counterpart.start.is_none() && self.place.has(counterpart));
        here.flat_map(|counterpart| self.place.variables(counterpart)).collect()
    }

    /// Starts the servers that are here: each with what tests are told of it, or why it did not start.
    pub(crate) fn start(&self) -> Vec<(&Counterpart, Result<Started>)> {
        let servers =
            self.list.iter().filter_map(|counterpart| Some((counterpart, counterpart.start.as_ref()?)));
        let here = servers.filter(|(counterpart, _)| self.place.has(counterpart));
        here.map(|(counterpart, words)| (counterpart, self.place.start(counterpart, words))).collect()
    }
}

/// A server, and what tests are told of it.
pub(crate) struct Started {
    /// It runs as long as this is held.
    pub(crate) server: Server,
    pub(crate) variables: BTreeMap<String, String>,
}

impl Place {
    /// True if `counterpart` is here.
    fn has(&self, counterpart: &Counterpart) -> bool {
        let installed = match counterpart.package() {
            list::Package::Apt(_) => true,
            list::Package::Pip(spec) | list::Package::Npm(spec) | list::Package::Maven(spec) => {
                self.mark(spec).is_file()
            }
            list::Package::Go(go) => self.mark(&go.module).is_file(),
        };
        let mut words = counterpart.detect.iter().map(|word| self.filled_for(counterpart, word));
        let Some(program) = words.next() else { return false };
        installed && answers(Command::new(program).args(words))
    }

    /// `text` with the places of what is installed here.
    fn filled(&self, text: &str) -> String {
        let python = self.python().join("bin/python");
        text.replace("{python}", &python.to_string_lossy())
            .replace("{node}", "node")
            .replace("{node_modules}", &self.node().join("node_modules").to_string_lossy())
    }

    /// The same, with the places of what is `counterpart`'s alone.
    fn filled_for(&self, counterpart: &Counterpart, text: &str) -> String {
        let text = self.filled(text);
        match counterpart.package() {
            list::Package::Maven(spec) => text.replace("{jars}", &self.jars(spec).to_string_lossy()),
            list::Package::Go(go) => text.replace("{program}", &self.program(go).to_string_lossy()),
            _ => text,
        }
    }

    fn variables(&self, counterpart: &Counterpart) -> BTreeMap<String, String> {
        let filled = |value: &String| self.filled_for(counterpart, value);
        counterpart.variables.iter().map(|(name, value)| (name.clone(), filled(value))).collect()
    }

    fn start(&self, counterpart: &Counterpart, words: &[String]) -> Result<Started> {
        let words: Vec<String> = words.iter().map(|word| self.filled(word)).collect();
        let server = start::start(&words, &self.folder.join(&counterpart.name))?;
        let mut variables = self.variables(counterpart);
        let port = server.port.to_string();
        variables.values_mut().for_each(|value| *value = value.replace("{port}", &port));
        Ok(Started { server, variables })
    }

    fn python(&self) -> PathBuf {
        self.folder.join("python")
    }

    fn node(&self) -> PathBuf {
        self.folder.join("node")
    }

    /// Where the jars of this very version are.
    fn jars(&self, spec: &str) -> PathBuf {
        self.folder.join("java").join(spec.replace(':', "-"))
    }

    /// Where the program of this very version is.
    fn program(&self, go: &list::Go) -> PathBuf {
        self.folder.join("go").join(go.module.replace(['/', '@', '.'], "-"))
    }

    /// What says that this very version was installed.
    fn mark(&self, spec: &str) -> PathBuf {
        self.folder.join("installed").join(spec.replace('/', "_"))
    }
}

/// Shows, installs, or tells a shell.
pub(crate) fn run(args: Args) -> Result {
    let services = Services::load(&Workspace::load()?)?;
    match args.what.unwrap_or(What::List) {
        What::List => show(&services),
        What::Env => {
            for (name, value) in services.variables() {
                println!("export {name}='{}'", value.replace('\'', r"'\''"));
            }
        }
        What::Install => {
            services.install();
            show(&services);
            let missing = services.missing();
            if !missing.is_empty() {
                return Err(format!("still missing: {}", names(&missing)));
            }
        }
    }
    Ok(())
}

/// Their names, with commas.
pub(crate) fn names(counterparts: &[&Counterpart]) -> String {
    counterparts.iter().map(|counterpart| counterpart.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn show(services: &Services) {
    let missing: Vec<&str> = services.missing().iter().map(|missing| missing.name.as_str()).collect();
    for counterpart in &services.list {
        let here = if missing.contains(&counterpart.name.as_str()) { "missing" } else { "here" };
        println!("{here:8} {:9} {:18} {}", counterpart.need.to_string(), counterpart.name, counterpart.what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(text: &str) -> Services {
        let folder = PathBuf::from("/nowhere/services");
        Services { place: Place { folder }, list: list::parse(text).expect("the list is well formed") }
    }

    #[test]
    fn only_what_is_here_is_told_to_tests() {
        let services = services(
            r#"
            [[counterpart]]
            name = "sh"
            what = "a shell"
            need = "required"
            apt = "dash"
            detect = ["sh", "-c", "true"]
            variables = { HAUL_SH = "sh" }
            [[counterpart]]
            name = "gone"
            what = "what nobody has"
            need = "optional"
            double = "the mock sink"
            apt = "gone"
            detect = ["sh", "-c", "false"]
            variables = { HAUL_GONE = "gone" }
            "#,
        );
        assert_eq!(names(&services.missing()), "gone");
        assert_eq!(services.variables().into_iter().collect::<Vec<_>>(), [("HAUL_SH".into(), "sh".into())]);
    }

    #[test]
    fn another_version_of_a_package_counts_as_missing() {
        let services = services(
            r#"
            [[counterpart]]
            name = "python-x"
            what = "x"
            need = "required"
            pip = "x==2"
            detect = ["sh", "-c", "true"]
            variables = {}
            "#,
        );
        assert_eq!(names(&services.missing()), "python-x");
    }

    #[test]
    fn tests_are_told_where_the_jars_of_a_version_are() {
        let text = r#"
            [[counterpart]]
            name = "x"
            what = "x"
            need = "required"
            maven = "org.x:x:2"
            detect = ["true"]
            variables = { HAUL_X = "{jars}/*" }
        "#;
        let services = services(text);
        let told = services.place.variables(&services.list[0]);
        assert_eq!(told["HAUL_X"], "/nowhere/services/java/org.x-x-2/*");
    }

    #[test]
    fn a_program_of_go_is_looked_for_and_told_where_it_is_built() {
        let text = r#"
            [[counterpart]]
            name = "x"
            what = "x"
            need = "required"
            go = { module = "example.org/x@v1.2.0", program = "cmd/x" }
            detect = ["{program}", "--version"]
            variables = { HAUL_X = "{program}" }
        "#;
        let services = services(text);
        let told = services.place.variables(&services.list[0]);
        assert_eq!(told["HAUL_X"], "/nowhere/services/go/example-org-x-v1-2-0");
        assert_eq!(names(&services.missing()), "x");
    }

    #[test]
    fn tests_are_told_where_a_server_listens_and_only_once_it_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let listens = "$s = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', LocalPort => shift); sleep 100";
        let list = format!(
            r#"
            [[counterpart]]
            name = "server"
            what = "a server"
            need = "required"
            apt = "perl"
            detect = ["true"]
            start = ["perl", "-MIO::Socket::INET", "-e", "{listens}", "{{port}}"]
            variables = {{ HAUL_SERVER = "tcp://127.0.0.1:{{port}}" }}
            "#
        );
        let place = Place { folder: folder.path().to_owned() };
        let services = Services { place, list: list::parse(&list).expect("the list is well formed") };
        assert_eq!(services.variables(), BTreeMap::new());
        let (_, started) = services.start().pop().expect("it is here");
        let started = started.expect("it starts");
        assert_eq!(started.variables["HAUL_SERVER"], format!("tcp://127.0.0.1:{}", started.server.port));
    }

    #[test]
    fn places_are_filled_in() {
        let place = Place { folder: "/t/services".into() };
        assert_eq!(place.filled("{python}"), "/t/services/python/bin/python");
        assert_eq!(
            place.filled("require('{node_modules}/ws')"),
            "require('/t/services/node/node_modules/ws')"
        );
    }
}
