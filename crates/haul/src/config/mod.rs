//! `haul.toml`: what the gateway listens on, where packets go on to, and through which layers.
//!
//! ```toml
//! [serve]
//! listen = ["ws://0.0.0.0:8080", "tcp://0.0.0.0:9000?framing=lines"]
//! data = "/var/lib/haul"
//!
//! [events]
//! retain = "100GiB"
//!
//! [[route]]
//! name = "alerts"
//! filter = { level = "error" }
//! sink = "ws://collector:8080/in?token=${COLLECTOR_TOKEN}"
//! backoff = { base = "200ms", cap = "1m" }
//! layers = [
//!     { type = "retry", attempts = 5, base = "100ms" },
//!     { type = "timeout", after = "5s" },
//! ]
//! connect = { session = {}, heartbeat = { interval = "5s" }, or = ["quic://collector:9000"] }
//!
//! [profile.production.log]
//! format = "json"
//! ```
//!
//! **Profiles** are `dev` (the default), `staging` and `production`. The tables under `[profile.NAME]` are laid over
//! the rest when that profile is chosen: tables key by key, values and lists (`[[route]]` too) whole.
//!
//! **`${VAR}`** in any text stands for an environment variable, which must be set; `$${` stands for `${`. Only what the
//! chosen profile uses is looked up.
//!
//! **Environment**: `HAUL_<SECTION>_<KEY>` overrides `key` in `[section]`: `HAUL_SERVE_DATA=/srv/haul`,
//! `HAUL_SERVE_MAX_CONNECTIONS=100`, `HAUL_LOG_FILTER=debug`. A list is written with commas or as TOML. Routes are not
//! overridden this way; they take `${VAR}`. `HAUL_PROFILE` chooses the profile. A variable whose section is known and
//! whose key is not, or whose section nearly is, is an error; others (`HAUL_SERVICE_HOST`, which Kubernetes sets) are
//! not ours and left alone.
//!
//! **Unknown keys** are errors, in the profiles not chosen too, with the line and the nearest known key.

#[cfg(all(feature = "auth", feature = "http"))]
mod auth;
mod display;
mod environment;
mod explain;
mod layer;
mod model;
mod parts;
mod stack;
mod tree;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use haul_core::{Error, ErrorKind, Result};

pub use environment::Environment;
pub use layer::Layer;
pub use model::{Backoff, Config, Log, LogFormat, Route, Serve, Session};
#[cfg(feature = "balance")]
pub use parts::Balance;
pub use parts::Members;
#[cfg(feature = "queue")]
pub use parts::{Queue, Rule};

/// Which overrides of `haul.toml` apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// On a developer's machine.
    #[default]
    Dev,
    /// As in production, but not for real.
    Staging,
    /// For real.
    Production,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 3] = [Self::Dev, Self::Staging, Self::Production];

    /// The name, as `[profile.NAME]` and `HAUL_PROFILE` have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|profile| profile.as_str() == text);
        found.ok_or_else(|| {
            let message = format!("there is no profile {text:?}; there are dev, staging and production");
            Error::new(ErrorKind::Config, message)
        })
    }
}

impl Config {
    /// Reads the file at `path`, with the environment of this process.
    ///
    /// `profile` is the chosen one; without it `HAUL_PROFILE` says, and else it is `dev`.
    ///
    /// Errors: `NotFound` or `Io` if it cannot be read, `Config` for what is wrong in it, with file and line.
    pub fn load(path: impl AsRef<Path>, profile: Option<Profile>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|why| Error::from(why).while_doing(format!("read {}", path.display())))?;
        Self::parse(&text, &path.display().to_string(), profile, &Environment::of_process())
    }

    /// The defaults, with the environment of this process over them: what applies where there is no file.
    ///
    /// Errors: `Config` for a variable whose value or key is wrong.
    pub fn without_file() -> Result<Self> {
        Self::parse("", "the environment", None, &Environment::of_process())
    }

    /// Parses `text`; `name` stands for it in errors. Profile and errors: as [`load`](Self::load).
    pub fn parse(
        text: &str,
        name: &str,
        profile: Option<Profile>,
        environment: &Environment,
    ) -> Result<Self> {
        let source = explain::Source { name, text };
        let profile = match (profile, environment.get("HAUL_PROFILE")) {
            (Some(profile), _) => profile,
            (None, Some(named)) => named.parse().map_err(|why: Error| why.while_doing("HAUL_PROFILE"))?,
            (None, None) => Profile::default(),
        };
        let file = tree::File::parse(source)?;
        for other in Profile::ALL.into_iter().filter(|other| *other != profile) {
            file.check(other)?;
        }
        let chosen = file.with_profile(profile, environment)?;
        environment.override_keys(source, chosen)
    }
}
