//! Real lines: what a machine's logs and this repository's history hold, and awkward ones.

use std::process::Command;

/// Lines of a few awkward kinds: empty, long, with every control character but the line feed, of many scripts.
fn awkward() -> Vec<String> {
    let controls: String = (0..32u8).filter(|byte| *byte != b'\n').map(char::from).collect();
    let scripts =
        "Zürich Ελλάδα Москва 東京 القاهرة 🚚👩‍👩‍👧 e\u{301} \u{202e}abc\u{202c} \u{feff} \u{fffd} \u{10ffff}";
    vec![
        String::new(),
        controls,
        scripts.to_owned(),
        "x".repeat(70_000),
        "trailing space and CR \r".to_owned(),
        r#"{"json":"\u0000\n","n":1e400}"#.to_owned(),
        "\0".repeat(300),
        "\u{7f}\u{80}\u{85}\u{2028}".to_owned(),
    ]
}

/// At least `count` lines: the package manager's logs, `git log` as JSON, again and again with their number before
/// them, awkward ones among them. Ends with a line feed.
pub(crate) fn lines(count: usize) -> String {
    let mut real = Vec::new();
    for file in ["/var/log/dpkg.log", "/var/log/apt/history.log"] {
        // A machine without them has the rest.
        let text = std::fs::read(file).unwrap_or_default();
        real.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
    }
    let format = r#"--format={"commit":"%H","author":"%an","at":"%aI","subject":"%f"}"#;
    if let Ok(log) = Command::new("git").args(["log", format]).output() {
        real.extend(String::from_utf8_lossy(&log.stdout).lines().map(str::to_owned));
    }
    real.extend(
        (0..1000).map(|number| format!(r#"{{"level":"info","request":{number},"took_ms":{}}}"#, number % 97)),
    );
    let awkward = awkward();
    let mut text = String::with_capacity(count * 100);
    for number in 0..count {
        let round = number / real.len();
        match number % 5000 {
            at if at < awkward.len() => text.push_str(&awkward[at]),
            _ if round == 0 => text.push_str(&real[number % real.len()]),
            _ => text.push_str(&format!("{round} {}", real[number % real.len()])),
        }
        text.push('\n');
    }
    text
}
