//! Where a gateway keeps its data, and what its configuration says.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use haul::Connection;
use haul::config::{Config, Profile};
use haul::event_log::Options;
use haul::serve::tap_endpoint;

use crate::exit::Failure;

/// The configuration that is read where none is named.
const FILE: &str = "haul.toml";

/// Which configuration.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ConfigArgs {
    /// Read this configuration [default: haul.toml, if there is one]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Which overrides of the configuration apply: dev, staging or production [default: HAUL_PROFILE, or dev]
    #[arg(long, value_name = "PROFILE", value_parser = |text: &str| text.parse::<Profile>())]
    pub(crate) profile: Option<Profile>,
}

impl ConfigArgs {
    /// The file that is read, if one is.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        let found = || Path::new(FILE).exists().then(|| PathBuf::from(FILE));
        self.config.clone().or_else(found)
    }

    pub(crate) fn load(&self) -> Result<Config, Failure> {
        Ok(match self.file() {
            Some(file) => Config::load(file, self.profile)?,
            None => Config::without_file()?,
        })
    }
}

/// Which gateway's data.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct DataArgs {
    /// The gateway's data folder [default: HAUL_EVENTS_DIR, or what haul.toml says, or haul-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl DataArgs {
    /// How its gateway opens the event log.
    pub(crate) fn log_options(&self) -> Result<Options, Failure> {
        Ok(super::serve::Args::of(self.config.clone()).plan()?.options.log_options())
    }

    pub(crate) fn dir(&self) -> Result<PathBuf, Failure> {
        match self.data.clone().or_else(events_dir) {
            Some(dir) => Ok(dir),
            None => Ok(self.config.load()?.serve.data),
        }
    }
}

/// A connection to the gateway that has the data folder `dir`. Errors: also where none runs.
pub(crate) async fn gateway(dir: &Path) -> haul::Result<Connection> {
    haul::registry().connect(tap_endpoint(dir)?).await
}

/// The folder that the environment names.
pub(crate) fn events_dir() -> Option<PathBuf> {
    std::env::var_os("HAUL_EVENTS_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// A time as RFC 3339 has it, in UTC, to the microsecond.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    haul::serve::rfc3339(at)
}

/// How long ago a time is, in one unit.
pub(crate) fn ago(at: SystemTime) -> String {
    match SystemTime::now().duration_since(at).map(|age| age.as_secs()) {
        Ok(seconds @ 0..120) => format!("{seconds} s ago"),
        Ok(seconds @ 120..7200) => format!("{} min ago", seconds / 60),
        Ok(seconds @ 7200..172_800) => format!("{} h ago", seconds / 3600),
        Ok(seconds) => format!("{} days ago", seconds / 86_400),
        Err(_) => rfc3339(at),
    }
}
