//! What the crates of haul say about themselves, on stderr.

use haul::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

use crate::args::Global;
use crate::exit::Failure;
use crate::output::Output;

/// Begins to print events. `HAUL_LOG` is the filter if it is set; else `-v` and `-q` say how much, and else `log`, what
/// the configuration says.
pub(crate) fn init(global: &Global, log: Option<Log>, out: Output) -> Result<(), Failure> {
    let by_flags = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "info",
        (_, 2) => "debug",
        _ => "trace",
    };
    let flagged = global.quiet || global.verbose > 0;
    let json = log.as_ref().is_some_and(|log| log.format == LogFormat::Json);
    let (directives, origin) = match (std::env::var("HAUL_LOG"), log) {
        (Ok(directives), _) => (directives, "HAUL_LOG"),
        (Err(_), Some(log)) if !flagged => (log.filter, "filter in [log]"),
        _ => (by_flags.to_owned(), "-v"),
    };
    let filter = EnvFilter::try_new(&directives)
        .map_err(|why| Failure::usage(format!("{origin}={directives}: {why}")))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(out.color_err() && !json);
    match json {
        true => subscriber.json().init(),
        // Which module speaks is for who debugs.
        false => subscriber.with_target(global.verbose > 1).init(),
    }
    Ok(())
}
