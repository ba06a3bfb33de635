//! haul.js's own tests, and its types.

use std::path::Path;

use tokio::process::Command;

use crate::browser::soon;

#[tokio::test(flavor = "multi_thread")]
async fn the_modules_own_tests_pass() {
    let Some(node) = haul_services::node() else { return };
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/serve/web/tests");
    let mut tests = Command::from(node);
    // What a silent server is waited for would keep Node.js.
    tests
        .args(["--test", "--test-force-exit"])
        .args(["frames.test.js", "events.test.js", "bounds.test.js", "times.test.js"])
        .current_dir(web);
    let output = soon("node", tests.kill_on_drop(true).output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_types_are_those_of_the_module() {
    let Some(tsc) = haul_services::typescript() else { return };
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/serve/web/tests");
    let mut check = Command::from(tsc);
    check.args(["--noEmit", "--strict", "--target", "es2023", "--module", "nodenext", "types.ts"]);
    let output = soon("tsc", check.current_dir(web).kill_on_drop(true).output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
