//! The seeds of the fuzz targets, and every input that ever broke one: each breaks nothing now.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use haul_fuzz::TARGETS;

fn corpus() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name")).collect()
}

#[test]
fn every_input_of_the_corpus_keeps_the_promises_of_its_target() {
    for target in TARGETS {
        let folder = corpus().join(target.name);
        let inputs = names(&folder);
        assert!(!inputs.is_empty(), "{} has no seeds", target.name);
        for input in inputs {
            println!("{}/{input}", target.name);
            (target.run)(&fs::read(folder.join(input)).expect("an input"));
        }
    }
}

#[test]
fn every_folder_of_the_corpus_is_a_targets() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names(&corpus()), targets);
}
