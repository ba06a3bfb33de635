//! Events whose target is known only at run time.
//!
//! `tracing` filters by the metadata of a callsite, which it asks to live for ever. The macros put one into a static
//! for each place in the source; here there is one for each target and level that a program uses, kept for ever and
//! bounded in number.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use haul_core::{Error, ErrorKind, Result};
use tracing::callsite::{Callsite, Identifier};
use tracing::field::FieldSet;
use tracing::metadata::Kind;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};

use crate::Severity;

/// Targets and levels that one program can use.
const MOST: usize = 1_024;

/// The fields of an event, in this order.
pub(crate) const FIELDS: &[&str] = &["message", "bytes", "id", "metadata"];

struct Site(OnceLock<Metadata<'static>>);

impl Callsite for Site {
    // Interest is asked for at each event instead: a subscriber may be installed for one thread only.
    fn set_interest(&self, _interest: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.0.get().expect("set before the site was handed out")
    }
}

/// The metadata for events of `target` and `level`. Errors: `Config` when there are too many.
pub(crate) fn metadata(target: &str, level: Severity) -> Result<&'static Metadata<'static>> {
    type Known = HashMap<(&'static str, Severity), &'static Metadata<'static>>;
    static KNOWN: OnceLock<Mutex<Known>> = OnceLock::new();
    let known = KNOWN.get_or_init(Mutex::default);
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    // The key borrows for ever, the question does not: so by value.
    if let Some((_, found)) = known.iter().find(|((name, at), _)| *name == target && *at == level) {
        return Ok(found);
    }
    if known.len() == MOST {
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "log to target {target}: this program has used {MOST} log targets already, and they are kept for ever"
            ),
        ));
    }
    let target: &'static str = String::leak(target.to_owned());
    let site: &'static Site = Box::leak(Box::new(Site(OnceLock::new())));
    let metadata = site.0.get_or_init(|| {
        let fields = FieldSet::new(FIELDS, Identifier(site));
        Metadata::new("packet", target, tracing_level(level), None, None, None, fields, Kind::EVENT)
    });
    tracing::callsite::register(site);
    known.insert((target, level), metadata);
    Ok(metadata)
}

fn tracing_level(level: Severity) -> Level {
    match level {
        Severity::Error => Level::ERROR,
        Severity::Warn => Level::WARN,
        Severity::Info => Level::INFO,
        Severity::Debug => Level::DEBUG,
        Severity::Trace => Level::TRACE,
    }
}
