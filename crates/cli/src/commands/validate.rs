//! `haul validate`: reads a configuration and says what it would do.

use std::path::PathBuf;

use haul::config::Profile;
use haul::serve::Gateway;
use serde_json::json;

use super::data::ConfigArgs;
use super::serve::{self, Listed};
use crate::exit::Failure;
use crate::output::{Output, Paint, time};

/// Check a configuration and print what the gateway would do with it
///
/// Every key, URL and option is read, certificates and layers too; nothing is connected to or written.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The configuration [default: haul.toml, if there is one]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Which overrides apply: dev, staging or production [default: HAUL_PROFILE, or dev]
    #[arg(long, value_name = "PROFILE", value_parser = |text: &str| text.parse::<Profile>())]
    profile: Option<Profile>,
}

pub(crate) async fn run(args: Args, out: Output) -> Result<(), Failure> {
    let config = ConfigArgs { config: args.file, profile: args.profile };
    let file = config.file();
    let plan = serve::Args::of(config).plan()?;
    Gateway::check(&plan.options, &haul::registry()).await?;
    let data = plan.options.data.display().to_string();
    if out.json {
        let routes = plan
            .routes
            .iter()
            .map(|Listed { name, sink, around }| json!({ "name": name, "sink": sink, "around": around }));
        return out.object(&json!({
            "event": "valid",
            "file": file,
            "listen": plan.options.listen,
            "data": data,
            "routes": routes.collect::<Vec<_>>(),
            "drain_ms": plan.drain.as_millis() as u64,
        }));
    }
    let read =
        file.map_or("no haul.toml; these are the defaults".to_owned(), |file| file.display().to_string());
    out.line(&format!("{} {read}", out.paint(Paint::Good, "valid:")))?;
    for url in &plan.options.listen {
        out.line(&format!("listen on   {}", haul::Endpoint::parse(url)?))?;
    }
    out.line(&format!("event log   {data}"))?;
    for Listed { name, sink, around } in &plan.routes {
        out.line(&format!("pass on to  {name}: {sink}"))?;
        if !around.is_empty() {
            out.line(&format!("    through {}", around.join(", ")))?;
        }
    }
    out.line(&format!("drain       {}", time(plan.drain)))
}
