//! The configurations in the guides are what the program takes.

use std::path::{Path, PathBuf};

use crate::program::{command, run};

/// The whole `haul.toml`s of a guide: its blocks that have a `[serve]`.
fn configurations(guide: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(guide).unwrap_or_else(|why| panic!("{}: {why}", guide.display()));
    let blocks = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.filter(|block| block.contains("[serve]\n")).map(str::to_owned).collect()
}

/// `haul validate` of `text`, its secrets given. `None` where a connector is not in this program.
fn validate(text: &str) -> Option<Result<(), String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("haul.toml");
    std::fs::write(&file, text.replace("/var/lib/haul", folder.path().to_str().unwrap())).unwrap();
    let mut validate = command(&["validate", file.to_str().unwrap()]);
    for name in text.split("${").skip(1).map(|rest| rest.split('}').next().unwrap_or_default()) {
        validate.env(name, "secret");
    }
    let ended = run(validate, "haul validate");
    if ended.stderr.contains("is not among those compiled in") {
        return None;
    }
    Some(if ended.code == Some(0) { Ok(()) } else { Err(ended.stderr) })
}

fn guides() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides")
}

fn each_is_valid(guide: &str, count: usize) {
    let found = configurations(&guides().join(guide));
    assert_eq!(found.len(), count, "{guide}");
    for text in found {
        match validate(&text) {
            Some(valid) => valid.unwrap_or_else(|why| panic!("{guide}: {why}\n{text}")),
            None => haul_services::not_run(guide, "a connector of it is in the program's feature full alone"),
        }
    }
}

#[test]
fn the_stacks_are_valid() {
    each_is_valid("stacks.md", 4);
}

#[test]
fn what_scales_out_is_valid() {
    each_is_valid("scale-out.md", 1);
}

#[test]
fn a_configuration_with_a_mistake_is_not() {
    let stacks = configurations(&guides().join("stacks.md"));
    let found = stacks.iter().map(|text| validate(&text.replace("sink = ", "snik = ")));
    let refused = found.filter(|found| matches!(found, Some(Err(why)) if why.contains("sink"))).count();
    assert_eq!(refused, stacks.len());
}
