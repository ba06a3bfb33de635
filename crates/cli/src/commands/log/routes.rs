//! `haul log routes` and `haul log forget`: who has a place in the log.

use std::path::Path;
use std::time::Duration;

use haul::event_log::EventLog;
use haul::{Connection, Error, ErrorKind, Packet, Result};
use serde_json::{Value, json};

use super::open;
use crate::commands::data::{DataArgs, gateway};
use crate::exit::{Code, Failure};
use crate::output::{Output, count, size};

/// How long closing the log may take once a route is forgotten.
const CLOSE: Duration = Duration::from_secs(10);

#[derive(clap::Args, Debug)]
pub(super) struct Routes {
    #[command(flatten)]
    data: DataArgs,
}

#[derive(clap::Args, Debug)]
pub(super) struct Forget {
    /// The route, as routes lists it
    route: String,
    #[command(flatten)]
    data: DataArgs,
}

pub(super) async fn list(args: &Routes, out: Output) -> Result<(), Failure> {
    let (view, dir) = open(&args.data)?;
    let attached = attached(&dir).await;
    let mut rows = Vec::new();
    for route in view.routes()? {
        // Without a gateway nobody knows which there will be.
        let used = attached.as_ref().map(|names| names.contains(&route.name));
        if out.json {
            out.object(&json!({
                "event": "route",
                "name": route.name,
                "position": route.position,
                "behind": route.events,
                "bytes": route.bytes,
                "attached": used,
            }))?;
            continue;
        }
        let mut row = vec![
            route.name,
            format!("{} behind", count(route.events, "event")),
            format!("{} kept", size(route.bytes)),
        ];
        if used == Some(false) {
            row.push("no route of the gateway any more".to_owned());
        }
        rows.push(row);
    }
    out.table(&rows)
}

pub(super) async fn forget(args: &Forget, out: Output) -> Result<(), Failure> {
    let (view, dir) = open(&args.data)?;
    let route = &args.route;
    let known = view.routes()?;
    let events = known.iter().find(|known| known.name == *route).map_or(0, |known| known.events);
    let forgotten = match gateway(&dir).await {
        Ok(connection) => ask(connection, json!({ "do": "forget", "route": route })).await.map(drop),
        // None runs, or none that can be asked: then it has the log, and opening it says so.
        Err(_) => forget_in(&dir, args).await?,
    };
    forgotten.map_err(|why| match why.kind() {
        ErrorKind::NotFound => Failure::new(Code::Failed, format!("forget {route}: there is no such route"))
            .with_hint("see with haul log routes which there are"),
        ErrorKind::Config => Failure::new(
            Code::Failed,
            format!("forget {route}: the gateway that runs passes events on to it"),
        )
        .with_hint("take it out of haul.toml and send SIGHUP to the gateway, or stop it"),
        _ => Failure::from(why),
    })?;
    match out.json {
        true => out.object(&json!({ "event": "forgotten", "name": route, "events": events })),
        false => out.line(&format!("forgot {route}, which had yet to get {}", count(events, "event"))),
    }
}

/// Forgets it in a log that nobody has open.
async fn forget_in(dir: &Path, args: &Forget) -> Result<Result<()>, Failure> {
    let log = EventLog::open(dir, args.data.log_options()?).await?;
    let forgotten = log.forget(&args.route).await;
    log.close(CLOSE).await?;
    Ok(forgotten)
}

/// The routes of the gateway that runs, if one does.
async fn attached(dir: &Path) -> Option<Vec<String>> {
    let status = ask(gateway(dir).await.ok()?, json!({ "do": "status" })).await.ok()?;
    let sinks = status["log"]["sinks"].as_array()?;
    Some(sinks.iter().filter_map(|sink| sink["name"].as_str().map(str::to_owned)).collect())
}

/// What the gateway answers. Errors: what it refused.
async fn ask(mut connection: Connection, request: Value) -> Result<Value> {
    connection.send(Packet::json(&request)?).await?;
    let gone = || Error::new(ErrorKind::Closed, "the gateway ended");
    let answer: Value = connection.recv().await?.ok_or_else(gone)?.parse_json()?;
    let Some(why) = answer["refused"].as_str() else {
        return Ok(answer);
    };
    let kind = match answer["kind"].as_str() {
        Some("not_found") => ErrorKind::NotFound,
        Some("config") => ErrorKind::Config,
        _ => ErrorKind::Rejected,
    };
    Err(Error::new(kind, why.to_owned()))
}
