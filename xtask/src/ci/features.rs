//! Each feature compiles alone, and so does each crate without any.

use super::{Context, none_of};
use crate::process::{Result, cargo};
use crate::workspace::Package;

pub(super) fn check(context: &Context) -> Result {
    let mut wrong = Vec::new();
    for package in context.workspace.packages.iter().filter(|package| package.published) {
        for feature in alone(package) {
            println!("{} alone with {}", package.name, if feature.is_empty() { "nothing" } else { feature });
            let mut command = cargo();
            command.args(["clippy", "--quiet", "--no-default-features", "--package", &package.name]);
            command.args(["--features", feature, "--", "-D", "warnings"]);
            wrong.extend(context.deadline.succeed(&mut command).err());
        }
    }
    none_of(wrong)
}

/// The features to try alone: none, and each but `default` and those that only group others.
fn alone(package: &Package) -> Vec<&str> {
    if package.features.is_empty() {
        // The workspace's own checks build it as it is.
        return Vec::new();
    }
    let groups =
        |parts: &Vec<String>| parts.len() > 1 && parts.iter().all(|part| package.features.contains_key(part));
    let single = package.features.iter().filter(|(name, parts)| *name != "default" && !groups(parts));
    std::iter::once("").chain(single.map(|(name, _)| name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::made_up::package;

    #[test]
    fn each_feature_is_tried_alone_but_not_their_groups() {
        let mut package = package("haul", "crates/haul", &[]);
        assert_eq!(alone(&package), Vec::<&str>::new());
        for (name, parts) in [
            ("default", &["tcp"][..]),
            ("tcp", &["dep:haul-tcp"]),
            ("ws", &["tcp", "dep:haul-ws"]),
            ("protocols", &["tcp", "ws"]),
            ("config", &[]),
        ] {
            package.features.insert(name.into(), parts.iter().map(|part| part.to_string()).collect());
        }
        assert_eq!(alone(&package), ["", "config", "tcp", "ws"]);
    }
}
