//! Runs checks, each in a task of its own with a deadline, and says which promise was broken.

use std::any::Any;
use std::fmt;
use std::time::{Duration, Instant};

use haul_core::BoxFuture;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

/// No check takes longer than this.
const CHECK_DEADLINE: Duration = Duration::from_secs(180);

/// How long a check waits for one thing.
const PATIENCE: Duration = Duration::from_secs(20);

tokio::task_local! {
    static PATIENT_FOR: Duration;
}

/// How long the running check waits for one thing.
pub(crate) fn patience() -> Duration {
    PATIENT_FOR.try_with(|patience| *patience).unwrap_or(PATIENCE)
}

/// Starts a task that is as patient as its check.
pub(crate) fn go<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(PATIENT_FOR.scope(patience(), work))
}

/// The answer of a task of [`go`]; its panic goes on here.
pub(crate) async fn done<T>(what: &str, task: JoinHandle<T>) -> T {
    match crate::soon(what, task).await {
        Ok(answer) => answer,
        Err(failed) => std::panic::resume_unwind(panic_of(failed)),
    }
}

fn panic_of(failed: JoinError) -> Box<dyn Any + Send> {
    match failed.try_into_panic() {
        Ok(panic) => panic,
        Err(failed) => Box::new(failed.to_string()),
    }
}

/// One promise and how it is tested.
pub(crate) struct Check<Cx> {
    pub(crate) name: &'static str,
    pub(crate) promise: &'static str,
    pub(crate) run: fn(Cx) -> BoxFuture<'static, ()>,
}

/// Lists checks: function and promise.
macro_rules! checks {
    ($cx:ty; $($path:ident $(:: $more:ident)* => $promise:literal),* $(,)?) => {
        &[$($crate::run::Check {
            name: $crate::run::last(stringify!($path $(:: $more)*)),
            promise: $promise,
            run: |cx: $cx| Box::pin($path $(:: $more)*(cx)),
        }),*]
    };
}
pub(crate) use checks;

/// The last part of a path.
pub(crate) const fn last(path: &str) -> &str {
    let bytes = path.as_bytes();
    let mut at = bytes.len();
    while at > 0 && bytes[at - 1] != b':' && bytes[at - 1] != b' ' {
        at -= 1;
    }
    path.split_at(at).1
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whose: the section of `capabilities.toml`.
    pub subject: String,
    /// The name of the check.
    pub check: &'static str,
    /// What was promised.
    pub promise: &'static str,
    /// What was seen instead.
    pub seen: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} breaks its promise that {} (check {}): {}",
            self.subject, self.promise, self.check, self.seen
        )
    }
}

/// What is run of a suite, and how patiently.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) subject: String,
    pub(crate) only: Option<Vec<&'static str>>,
    pub(crate) patience: Duration,
}

impl Plan {
    pub(crate) fn new(subject: &str) -> Self {
        Self { subject: subject.to_owned(), only: None, patience: PATIENCE }
    }

    /// Runs `checks` and answers which promises were broken.
    pub(crate) async fn failures<Cx: Clone + Send + 'static>(
        &self,
        checks: &[Check<Cx>],
        cx: Cx,
    ) -> Vec<Failure> {
        let mut failures = Vec::new();
        if let Some(only) = &self.only {
            for name in only {
                assert!(checks.iter().any(|check| check.name == *name), "there is no check {name}");
            }
        }
        for check in checks {
            if self.only.as_ref().is_some_and(|only| !only.contains(&check.name)) {
                continue;
            }
            let began = Instant::now();
            let work = timeout(CHECK_DEADLINE, (check.run)(cx.clone()));
            let result = tokio::spawn(PATIENT_FOR.scope(self.patience, work)).await;
            println!("{}: {} took {:.2?}", self.subject, check.name, began.elapsed());
            let seen = match result {
                Ok(Ok(())) => continue,
                Ok(Err(_)) => format!("not done within {CHECK_DEADLINE:?}"),
                Err(failed) => text_of(panic_of(failed)),
            };
            failures.push(Failure {
                subject: self.subject.clone(),
                check: check.name,
                promise: check.promise,
                seen,
            });
        }
        failures
    }
}

/// Panics with the broken promises, if there are any.
pub(crate) fn report(failures: &[Failure]) {
    let all: Vec<_> = failures.iter().map(Failure::to_string).collect();
    assert!(all.is_empty(), "{} broken promises:\n{}", all.len(), all.join("\n"));
}

fn text_of(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => match panic.downcast::<&'static str>() {
            Ok(text) => (*text).to_owned(),
            Err(_) => "a panic without words".to_owned(),
        },
    }
}

/// The settings that every suite has, and its two ways to run.
macro_rules! runs {
    ($suite:ty, $checks:expr) => {
        impl $suite {
            /// The checks, each with the promise that it tests.
            pub fn promises() -> Vec<(&'static str, &'static str)> {
                let checks: &[crate::run::Check<$suite>] = $checks;
                checks.iter().map(|check| (check.name, check.promise)).collect()
            }

            /// Runs these checks only.
            #[must_use]
            pub fn only(mut self, checks: &[&'static str]) -> Self {
                self.plan.only = Some(checks.to_vec());
                self
            }

            /// How long a check waits for one thing; 20 s otherwise.
            #[must_use]
            pub fn patience(mut self, patience: std::time::Duration) -> Self {
                self.plan.patience = patience;
                self
            }

            /// Runs the suite and answers which promises were broken.
            pub async fn failures(self) -> Vec<crate::Failure> {
                let plan = self.plan.clone();
                plan.failures($checks, self).await
            }

            /// Runs the suite. Panics with the promises that were broken.
            pub async fn run(self) {
                crate::run::report(&self.failures().await);
            }
        }
    };
}
pub(crate) use runs;
