//! Lines of source files.

use super::policy::LINES;
use super::{Context, none_of};
use crate::process::Result;

pub(super) fn check(context: &Context) -> Result {
    let Context { workspace, .. } = context;
    let mut counted = Vec::new();
    for file in workspace.files()?.into_iter().filter(|file| file.ends_with(".rs")) {
        counted.push((workspace.read(&file)?.lines().count(), file));
    }
    counted.sort_unstable_by(|a, b| b.cmp(a));
    let (long, wrong) = judged(&counted, LINES);
    long.iter().for_each(|line| println!("{line}"));
    let lines: Vec<usize> = counted.iter().map(|(lines, _)| *lines).collect();
    println!(
        "{} files, {} lines, median {}",
        lines.len(),
        lines.iter().sum::<usize>(),
        lines[lines.len() / 2]
    );
    none_of(wrong)
}

/// The files that are long, and those that are too long.
fn judged(counted: &[(usize, String)], (told, most): (usize, usize)) -> (Vec<String>, Vec<String>) {
    let over = |bound: usize| counted.iter().filter(move |(lines, _)| *lines > bound);
    let long = over(told)
        .filter(|(lines, _)| *lines <= most)
        .map(|(lines, file)| format!("long: {file}, {lines} lines"));
    let wrong = over(most)
        .map(|(lines, file)| format!("{file}: {lines} lines, more than {most}; split it by concern"));
    (long.collect(), wrong.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_told_and_too_long_ones_fail() {
        let files = [
            (501, "c.rs".to_owned()),
            (500, "b.rs".to_owned()),
            (251, "a.rs".to_owned()),
            (250, "ok.rs".to_owned()),
        ];
        let (long, wrong) = judged(&files, (250, 500));
        assert_eq!(long, ["long: b.rs, 500 lines", "long: a.rs, 251 lines"]);
        assert_eq!(wrong, ["c.rs: 501 lines, more than 500; split it by concern"]);
    }
}
