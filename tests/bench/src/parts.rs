//! Measurements that need a process of their own: memory is not what an earlier bar left behind, and a subscriber or a
//! recorder that is set for the whole process reaches no other bar.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::work::{outbox, sse, stack};
use crate::{crowd, memory};

/// This program, running again as one of its parts.
pub(crate) struct Part {
    name: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stdin: Option<ChildStdin>,
}

impl Part {
    /// Starts a part.
    pub(crate) fn start(words: &[&str]) -> Self {
        let program = std::env::current_exe().expect("Linux tells the program's path");
        let mut child = Command::new(program)
            .arg("--part")
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the bench starts itself");
        let stdout = child.stdout.take().expect("it is piped");
        let stdin = child.stdin.take();
        Self { name: words.join(" "), child, lines: BufReader::new(stdout).lines(), stdin }
    }

    /// The next line that the part prints, as numbers.
    pub(crate) fn numbers<const N: usize>(&mut self) -> [f64; N] {
        let line = self.lines.next().and_then(Result::ok).unwrap_or_default();
        let numbers: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        numbers.try_into().unwrap_or_else(|_| panic!("{} answered {line:?}, not {N} numbers", self.name))
    }

    /// Closes its input, which ends a part that waits for that, and waits for its end.
    pub(crate) fn finish(mut self) {
        drop(self.stdin.take());
        let status = self.child.wait().expect("it was started");
        assert!(status.success(), "{} ended with {status}", self.name);
    }
}

/// Runs a part to its end: the numbers that it prints.
pub(crate) fn figures<const N: usize>(words: &[&str]) -> [f64; N] {
    let mut part = Part::start(words);
    let numbers = part.numbers();
    part.finish();
    numbers
}

/// What the started process does.
pub(crate) fn run(words: &[String]) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["connections", url, count] => print(&memory::connections(url, number(count))),
        ["sse-connections", end, count] => print(&sse::connections(end, number(count))),
        ["stack", layers, filter] => print(&stack::cost(number(layers), filter)),
        ["outbox-open", dir] => print(&outbox::open(dir)),
        ["outbox-gateway", dir] => print(&outbox::gateway(dir)),
        ["crowd", url, count] => print(&crowd::serve(url, number(count))),
        ["crowd-clients", url, count] => crowd::clients(url, number(count)),
        _ => panic!("no part is called {words:?}"),
    }
}

/// Prints what a part found.
pub(crate) fn print(numbers: &[f64]) {
    let words: Vec<String> = numbers.iter().map(f64::to_string).collect();
    println!("{}", words.join(" "));
}

fn number(word: &str) -> usize {
    word.parse().expect("a count")
}
