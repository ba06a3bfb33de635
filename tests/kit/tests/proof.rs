//! What catches what: every promise of a suite has something that breaks it, and the README says so.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use haul_kit::Failure;
use tokio::sync::Semaphore;

/// Faults, each with the check that catches it.
pub(crate) fn caught<How: Debug>(table: &[(How, &'static str)]) -> Vec<(String, &'static str)> {
    table.iter().map(|(how, check)| (format!("{how:?}"), *check)).collect()
}

/// Every promise of `suite` is broken by something in `caught`, and the README's table has these rows.
pub(crate) fn proves(suite: &str, promises: &[(&'static str, &'static str)], caught: &[(String, &str)]) {
    let mut rows = String::new();
    for (check, promise) in promises {
        let faults: Vec<_> =
            caught.iter().filter(|(_, by)| by == check).map(|(how, _)| format!("`{how}`")).collect();
        assert!(!faults.is_empty(), "nothing breaks the promise that {promise} ({suite}, {check})");
        rows.push_str(&format!("| {suite} | {promise} | `{check}` | {} |\n", faults.join(", ")));
    }
    let readme = include_str!("../README.md");
    assert!(readme.contains(&rows), "the README's table should have these rows:\n{rows}");
}

/// Each of these faults is caught by its check, and by it alone of those that were run.
pub(crate) async fn each_is_caught<How, Fut>(
    table: &'static [(How, &'static str)],
    failed: impl Fn(How, &'static str) -> Fut,
) where
    How: Copy + Debug,
    Fut: Future<Output = Vec<&'static str>> + Send + 'static,
{
    // Most of them wait until the check's patience is at its end.
    let at_once = Arc::new(Semaphore::new(8));
    let mut running = Vec::new();
    for (how, check) in table {
        let (turn, failing) = (at_once.clone(), failed(*how, check));
        let run = tokio::spawn(async move {
            let _turn = turn.acquire().await.expect("it is not closed");
            failing.await
        });
        running.push((how, check, run));
    }
    for (how, check, run) in running {
        assert_eq!(run.await.expect("the suite does not panic"), [*check], "{how:?}");
    }
}

/// How long a check waits for what a broken thing may never do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How long a check waits for what a sound thing does, however slow the machine.
pub(crate) const ALL_TIME: Duration = Duration::from_secs(20);

/// The checks that failed, whose words name who broke which promise.
pub(crate) fn names(failures: &[Failure]) -> Vec<&'static str> {
    for failure in failures {
        let words = failure.to_string();
        assert!(words.contains(&failure.subject) && words.contains(failure.promise), "{words}");
        assert!(!failure.seen.is_empty(), "{words} does not say what was seen");
    }
    failures.iter().map(|failure| failure.check).collect()
}
