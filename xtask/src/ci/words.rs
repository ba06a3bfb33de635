//! No file tells of a machine: paths that only one has.

use super::policy::WORDS;
use super::{Context, none_of};
use crate::process::Result;

pub(super) fn check(context: &Context) -> Result {
    let Context { workspace, .. } = context;
    let mut wrong = Vec::new();
    for file in workspace.files()? {
        // What is not text has no lines to read.
        if let Ok(text) = std::fs::read_to_string(workspace.root.join(&file)) {
            wrong.extend(found(&file, &text, WORDS));
        }
    }
    none_of(wrong)
}

fn found<'a>(file: &'a str, text: &'a str, words: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
    let lines = text.lines().enumerate();
    lines.filter_map(move |(at, line)| {
        let word = words.iter().find(|word| line.contains(**word))?;
        Some(format!("{file}:{}: {word} is a path of one machine", at + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_machine_is_found_with_its_line() {
        let said: Vec<_> = found("a.md", "fine\nsee /there/x\n", &["/there/"]).collect();
        assert_eq!(said, ["a.md:2: /there/ is a path of one machine"]);
    }
}
