use std::time::Duration;

use super::*;

fn names(files: &[Sibling]) -> Vec<String> {
    files.iter().map(|file| file.path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn rotation_replaces_nothing_and_keeps_the_order_even_when_the_clock_goes_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut made = Vec::new();
    for (content, time) in [("a", 1_000), ("b", 1_000), ("c", 2_000), ("d", 1_500)] {
        fs::write(&path, content).unwrap();
        made.push(rotate(&path, at(time)).unwrap());
    }
    let files = rotated(&path, None).unwrap();
    assert_eq!(
        names(&files),
        [
            "log.19700101T001640Z.0",
            "log.19700101T001640Z.1",
            "log.19700101T003320Z.0",
            "log.19700101T003320Z.1"
        ]
    );
    assert_eq!(files.iter().map(|file| file.path.clone()).collect::<Vec<_>>(), made);
    let contents: Vec<_> = files.iter().map(|file| fs::read_to_string(&file.path).unwrap()).collect();
    assert_eq!(contents, ["a", "b", "c", "d"]);
}

#[cfg(unix)]
#[test]
fn a_name_that_is_taken_by_something_else_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let taken = directory.path().join("log.19700101T001640Z.0");
    std::os::unix::fs::symlink("elsewhere", &taken).unwrap();
    fs::write(&path, "a").unwrap();
    assert_eq!(rotate(&path, at(1_000)).unwrap(), directory.path().join("log.19700101T001640Z.1"));
    assert!(fs::symlink_metadata(&taken).unwrap().is_symlink());
}

#[test]
fn only_the_oldest_files_of_our_own_naming_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    for time in [1_000, 2_000, 3_000] {
        fs::write(&path, "x").unwrap();
        rotate(&path, at(time)).unwrap();
    }
    for other in ["log.1", "log.backup", "log.19700101T001640Z.0.gz", "logs.19700101T001640Z.0"] {
        fs::write(directory.path().join(other), "x").unwrap();
    }
    retain(&path, 1).unwrap();
    let mut left: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let expected = [
        "log.1",
        "log.19700101T001640Z.0.gz",
        "log.19700101T005000Z.0",
        "log.backup",
        "logs.19700101T001640Z.0",
    ];
    assert_eq!(left, expected);
}

#[test]
fn numbered_files_are_older_the_larger_their_number_and_the_file_itself_is_last() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    for name in ["log", "log.1", "log.2", "log.10", "log.3.gz", "log.checkpoint"] {
        fs::write(directory.path().join(name), "x").unwrap();
    }
    fs::write(directory.path().join("log.4"), "").unwrap();
    assert_eq!(names(&all(&path, None, None).unwrap()), ["log.10", "log.2", "log.1", "log"]);
}
