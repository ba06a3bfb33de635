//! Disks that are full or cannot be written.

use std::path::Path;
use std::process::Command;

use crate::program::{Gateway, LINES, Lines, cat, haul, verify};

/// A small file system in memory; gone when it is dropped.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    /// `None`, after saying what does not run, where it cannot be mounted.
    fn mount(at: &'a Path, options: &str) -> Option<Self> {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "haul-test"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at)),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
                haul_services::not_run("tmpfs", &format!("mounting one needs root: {why}"));
                None
            }
            Err(why) => {
                haul_services::not_run("tmpfs", &format!("mount: {why}"));
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.0).status().unwrap().success());
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        // Lazily: a gateway that a failed test left may still have it open.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_what_it_cannot_store_and_keeps_what_it_stored() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(dir.path(), "size=1m") else { return };
    let gateway = Gateway::start(dir.path(), &[LINES], &[]);
    let mut client = Lines::dial(&gateway, 0);
    let mut stored = Vec::new();
    let refusal = loop {
        let text = format!("{:06}{}", stored.len(), "x".repeat(10_000));
        client.send(&format!("{text}\n"));
        match client.receipt() {
            Some(receipt) if receipt["receipt"] == "stored" => stored.push(text),
            Some(receipt) => break receipt,
            None => panic!("it closed without a refusal"),
        }
        assert!(stored.len() < 110, "1 MiB cannot hold {} packets of 10 kB", stored.len());
    };
    assert_eq!((&refusal["receipt"], &refusal["kind"]), (&"refused".into(), &"io".into()), "{refusal}");
    let ended = gateway.ended();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("make room"), "{}", ended.stderr);
    assert!(stored.len() > 50, "only {} were stored", stored.len());

    small.remount("size=8m");
    let gateway = Gateway::start(dir.path(), &[LINES], &[]);
    Lines::dial(&gateway, 0).store("there is room again");
    let ended = gateway.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    verify(dir.path());
    let log = String::from_utf8(cat(dir.path(), &[])).unwrap();
    let found: Vec<_> = log.lines().collect();
    for text in &stored {
        assert!(found.contains(&text.as_str()), "{} was stored and is gone", &text[..6]);
    }
    assert_eq!(found.last(), Some(&"there is room again"));
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_small) = Small::mount(dir.path(), "size=1m,ro") else { return };
    let data = dir.path().join("data");
    let ended = haul(&["serve", "--listen", LINES, "--data", data.to_str().unwrap()]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let (path, stderr) = (data.to_str().unwrap(), &ended.stderr);
    assert!(stderr.contains(path) && stderr.contains("Read-only"), "{stderr}");
    assert!(ended.stdout.is_empty(), "it said that it listens");
}
