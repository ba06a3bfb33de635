//! Crates depend downwards only: `cli -> haul -> serve -> {clients, mesh, event-log, rpc} -> {layers, connectors,
//! protocols} -> journal -> core`, and nothing but the program and the tests depends on the umbrella.

use super::policy::SIDEWAYS;
use super::{Context, none_of};
use crate::process::Result;
use crate::workspace::{Dependency, Package, Workspace};

pub(super) fn check(context: &Context) -> Result {
    none_of(wrong(&context.workspace, SIDEWAYS))
}

fn wrong(workspace: &Workspace, sideways: &[(&str, &str)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for from in &workspace.packages {
        for arrow in &from.dependencies {
            let Some(to) = arrow.path.as_ref().and_then(|_| workspace.package(&arrow.name)) else { continue };
            if let Some(why) = refusal(from, arrow, to, sideways) {
                wrong.push(format!("{} -> {}: {why}", from.name, to.name));
            }
        }
    }
    for (from, to) in sideways {
        let arrow =
            workspace.package(from).is_some_and(|from| from.dependencies.iter().any(|it| it.name == *to));
        if !arrow {
            wrong.push(format!("{from} -> {to}: allowed in policy.rs, and nobody needs it"));
        }
    }
    wrong
}

fn refusal(from: &Package, arrow: &Dependency, to: &Package, sideways: &[(&str, &str)]) -> Option<String> {
    let (Some(high), Some(low)) = (storey(from), storey(to)) else {
        return Some("policy.rs knows no storey for its folder".into());
    };
    // Tests may use everything, and a crate's own tests use the kit.
    let test = arrow.kind.as_deref() == Some("dev");
    if high == Storey::Tests || (test && low == Storey::Tests) {
        return None;
    }
    if low == Storey::Umbrella && high != Storey::Program {
        return Some("only the program and the tests depend on the umbrella".into());
    }
    if low > high {
        return Some("it points upwards".into());
    }
    if low == high && !test && !sideways.contains(&(&from.name, &to.name)) {
        return Some("both are on one storey".into());
    }
    if from.published && !test && arrow.req == "*" {
        return Some("a crate that is published names the version it needs".into());
    }
    None
}

/// The storeys of the house, from below.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Storey {
    Core,
    Journal,
    Parts,
    Systems,
    Serve,
    Umbrella,
    Program,
    Tests,
}

fn storey(package: &Package) -> Option<Storey> {
    if package.folder == "xtask" || package.folder.starts_with("tests/") {
        return Some(Storey::Tests);
    }
    Some(match package.place().0 {
        "core" => Storey::Core,
        "journal" => Storey::Journal,
        "protocols" | "layers" | "connectors" => Storey::Parts,
        "event-log" | "rpc" | "mesh" | "clients" => Storey::Systems,
        "serve" => Storey::Serve,
        "haul" => Storey::Umbrella,
        "cli" => Storey::Program,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::made_up::{dependency, package, workspace};

    fn found(packages: Vec<Package>, sideways: &[(&str, &str)]) -> Vec<String> {
        wrong(&workspace("/nowhere".as_ref(), packages), sideways)
    }

    fn house() -> Vec<Package> {
        vec![
            package("haul-core", "crates/core", &[]),
            package("haul-tls", "crates/protocols/tls", &["haul-core"]),
            package("haul-ws", "crates/protocols/ws", &["haul-core", "haul-tls"]),
            package("haul-retry", "crates/layers/retry", &["haul-core"]),
            package("haul", "crates/haul", &["haul-core", "haul-ws", "haul-retry"]),
            package("haul-cli", "crates/cli", &["haul"]),
            package("haul-e2e", "tests/e2e", &["haul", "haul-cli"]),
        ]
    }

    fn with(mut house: Vec<Package>, from: &str, arrow: Dependency) -> Vec<String> {
        let package = house.iter_mut().find(|package| package.name == from).expect("it is in the house");
        package.dependencies.push(arrow);
        found(house, &[("haul-ws", "haul-tls")])
    }

    #[test]
    fn arrows_that_point_down_are_fine() {
        assert_eq!(found(house(), &[("haul-ws", "haul-tls")]), Vec::<String>::new());
    }

    #[test]
    fn a_wrong_arrow_is_found() {
        let says = |from, to| with(house(), from, dependency(to, None));
        assert_eq!(says("haul-core", "haul-retry"), ["haul-core -> haul-retry: it points upwards"]);
        assert_eq!(says("haul-retry", "haul-ws"), ["haul-retry -> haul-ws: both are on one storey"]);
        assert_eq!(says("haul-tls", "haul-ws"), ["haul-tls -> haul-ws: both are on one storey"]);
        let umbrella = "haul-retry -> haul: only the program and the tests depend on the umbrella";
        assert_eq!(says("haul-retry", "haul"), [umbrella]);
        assert_eq!(says("haul-retry", "haul-e2e"), ["haul-retry -> haul-e2e: it points upwards"]);
    }

    #[test]
    fn tests_of_a_crate_may_use_its_neighbours_and_the_kit_but_not_the_umbrella() {
        let says = |to| with(house(), "haul-retry", dependency(to, Some("dev")));
        assert_eq!(says("haul-ws"), Vec::<String>::new());
        assert_eq!(says("haul-e2e"), Vec::<String>::new());
        assert_eq!(says("haul").len(), 1);
    }

    #[test]
    fn an_exception_that_nobody_needs_is_found() {
        assert_eq!(
            found(house(), &[("haul-ws", "haul-tls"), ("haul-tls", "haul-ws")]),
            ["haul-tls -> haul-ws: allowed in policy.rs, and nobody needs it"]
        );
        assert_eq!(found(house(), &[]), ["haul-ws -> haul-tls: both are on one storey"]);
    }

    #[test]
    fn a_folder_without_a_storey_and_a_path_without_a_version_are_found() {
        let mut house = house();
        house.push(package("haul-new", "crates/new", &["haul-core"]));
        assert!(found(house.clone(), &[("haul-ws", "haul-tls")])[0].contains("no storey"));
        house.pop();
        let loose = Dependency { req: "*".into(), ..dependency("haul-core", None) };
        assert!(with(house, "haul-retry", loose)[0].contains("names the version"));
    }
}
