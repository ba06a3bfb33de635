//! Every published crate's README has the same sections in the same order, and is the crate's documentation.

use super::policy::{PROGRAMS, SECTIONS};
use super::{Context, none_of};
use crate::process::Result;
use crate::workspace::Package;

pub(super) fn check(context: &Context) -> Result {
    let Context { workspace, .. } = context;
    let mut wrong = Vec::new();
    for package in workspace.packages.iter().filter(|package| package.published) {
        let folder = &package.folder;
        match workspace.read(&format!("{folder}/README.md")) {
            Ok(text) => wrong.extend(sections(package, &text)),
            Err(why) => wrong.push(why),
        }
        let lib = workspace.read(&format!("{folder}/src/lib.rs"));
        if !PROGRAMS.contains(&package.name.as_str())
            && !lib?.contains(r#"#![doc = include_str!("../README.md")]"#)
        {
            wrong.push(format!("{folder}/src/lib.rs: its documentation is not its README"));
        }
    }
    none_of(wrong)
}

fn sections(package: &Package, text: &str) -> Option<String> {
    let program = PROGRAMS.contains(&package.name.as_str());
    let file = format!("{}/README.md", package.folder);
    let found = headings(text);
    if found.first().map(String::as_str) != Some(&format!("# {}", package.name)) {
        return Some(format!("{file}: its first heading is not `# {}`", package.name));
    }
    let mut rest = found.iter();
    let wanted = SECTIONS.iter().filter(|section| !program || !section.starts_with("Use "));
    for section in wanted {
        if !rest.any(|heading| *heading == format!("## {section}")) {
            return Some(format!("{file}: section `## {section}` is missing or out of order"));
        }
    }
    None
}

/// The headings outside code.
fn headings(text: &str) -> Vec<String> {
    let mut code = false;
    let outside = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    });
    outside.filter(|line| line.starts_with("# ") || line.starts_with("## ")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::made_up::package;

    const README: &str = "# haul-ws\nIt is.\n## Use through `haul`\n## Use alone\n```sh\n# a comment\n## Guarantees\n```\n\
                          ## Options\n## Guarantees\n## Dependencies and why\n## Licence\n";

    fn found(name: &str, text: &str) -> Option<String> {
        sections(&package(name, "crates/protocols/ws", &[]), text)
    }

    #[test]
    fn sections_in_order_with_others_between_are_fine() {
        assert_eq!(found("haul-ws", README), None);
    }

    #[test]
    fn a_section_that_is_missing_or_misplaced_is_found() {
        let without = README.replace("## Options\n## Guarantees\n", "");
        assert!(
            found("haul-ws", &without).is_some_and(|said| said.contains("## Guarantees")),
            "code is no heading"
        );
        let swapped = README.replace("## Use alone\n", "") + "## Use alone\n";
        assert!(found("haul-ws", &swapped).is_some_and(|said| said.contains("out of order")));
        assert!(found("haul-tcp", README).is_some_and(|said| said.contains("# haul-tcp")));
    }

    #[test]
    fn a_program_is_not_used_as_a_library() {
        let text = "# haul-cli\n## Guarantees\n## Dependencies and why\n## Licence\n";
        assert_eq!(found("haul-cli", text), None);
    }
}
