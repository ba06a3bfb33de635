//! `haul tap`: watches what flows through a running gateway.

use std::collections::BTreeMap;
use std::path::Path;

use haul::{Connection, ErrorKind, Metadata, Packet};
use serde_json::{Value, json};

use super::data::{self, DataArgs};
use crate::exit::{Code, Failure};
use crate::output::{Output, Paint, count, noted, packet_json, said, shown};

/// Watch what flows through a running gateway
///
/// Every packet is shown once it is stored; with --route, every packet given to the route's sink, or to those of its
/// layers, once that has answered, with the answer: what is tried again is shown again. If they come faster than they can
/// be shown, some are left out, and how many is said in their place; the gateway is not slowed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// What goes to this route's sink, and what becomes of it, instead of what is stored
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only packets of this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only packets with this metadata, or this field of a JSON payload: /user/plan=pro
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    filter: Vec<(String, String)>,
    /// End after so many packets
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Show what the gateway is doing, once, as JSON, instead
    #[arg(long, conflicts_with_all = ["route", "session", "filter", "count"])]
    status: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it looks like name=value".to_owned()),
    }
}

pub(crate) async fn run(args: Args, out: Output) -> Result<(), Failure> {
    let dir = args.data.dir()?;
    let mut connection = data::gateway(&dir).await.map_err(|why| nobody(why, &dir))?;
    if args.status {
        return status(&mut connection, out).await;
    }
    let filter: BTreeMap<_, _> = args.filter.into_iter().collect();
    let wish = json!({ "do": "tap", "route": args.route, "session": args.session, "filter": filter });
    connection.send(Packet::json(&wish)?).await?;
    let mut stop = std::pin::pin!(crate::stopped());
    let (mut left, mut first) = (args.count.unwrap_or(u64::MAX), true);
    while left > 0 {
        let packet = tokio::select! {
            stopped = &mut stop => return stopped,
            received = connection.recv() => received?,
        };
        let Some(packet) = packet else {
            return Err(
                Failure::new(Code::Connect, "the gateway ended").with_hint("start it again, and then this")
            );
        };
        if let (true, Some(why)) = (first, packet.metadata().get("haul.refused")) {
            return Err(Failure::usage(format!("tap: {why}")));
        }
        first = false;
        left -= u64::from(show(packet, out)?);
    }
    Ok(connection.close(haul::CloseReason::NORMAL).await?)
}

fn nobody(why: haul::Error, dir: &Path) -> Failure {
    let why = why.while_doing(format!("reach the gateway on {}", dir.display()));
    Failure::connecting(why).with_hint("check that it runs, and name its data folder with --data DIR")
}

async fn status(connection: &mut Connection, out: Output) -> Result<(), Failure> {
    connection.send(Packet::json(&json!({ "do": "status" }))?).await?;
    let gone = || haul::Error::new(ErrorKind::Closed, "the gateway ended");
    let status: Value = connection.recv().await?.ok_or_else(gone)?.parse_json()?;
    match out.json {
        true => out.object(&status),
        false => out.line(&format!("{status:#}")),
    }
}

/// Shows what came; answers whether it was a packet and not a note of the gateway's.
fn show(mut packet: Packet, out: Output) -> Result<bool, Failure> {
    if packet.metadata().get("haul.tap").is_some() {
        out.remark("watching; ctrl-c ends it");
        return Ok(false);
    }
    if let Some(lost) = packet.metadata().get("haul.gap") {
        let lost: u64 = lost.parse().unwrap_or(0);
        match out.json {
            true => out.object(&json!({ "event": "gap", "lost": lost }))?,
            false => out.warn(&format!("{} left out: they came too fast", count(lost, "packet"))),
        }
        return Ok(false);
    }
    let facts = take_facts(packet.metadata_mut());
    if out.json {
        let mut object = packet_json("packet", &packet);
        for (name, value) in facts {
            object[name] = match name {
                "seq" => value.parse::<u64>().map_or(Value::Null, Value::from),
                _ => value.into(),
            };
        }
        out.object(&object)?;
    } else {
        let of = |name: &str| facts.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
        let session = haul::event_log::session_name(of("session"));
        let delivered = !of("outcome").is_empty();
        let well = of("error").is_empty() && of("outcome") != "abandoned";
        let (head, mark) = match (delivered, well) {
            (false, _) => {
                (format!("{} {} {}", of("seq"), of("protocol"), of("peer")), out.paint(Paint::Good, "<"))
            }
            (true, true) => (of("receiver").to_owned(), out.paint(Paint::Good, ">")),
            (true, false) => (of("receiver").to_owned(), out.paint(Paint::Bad, "x")),
        };
        let head = [out.paint(Paint::Faint, &head), out.paint(Paint::Name, &session), mark];
        let mut line = (head.join(" ") + " ").into_bytes();
        line.extend(shown(&packet, None, out.terminal));
        line.extend(out.paint(Paint::Faint, &noted(packet.metadata())).into_bytes());
        if delivered {
            let outcome = [" =", of("outcome"), of("reference"), of("error")];
            let outcome: Vec<_> = outcome.into_iter().filter(|part| !part.is_empty()).collect();
            line.extend(out.paint(Paint::Faint, &said(&outcome.join(" "))).into_bytes());
        }
        line.push(b'\n');
        out.bytes(&line)?;
    }
    Ok(true)
}

/// What the gateway said about the packet, taken out of its metadata.
fn take_facts(metadata: &mut Metadata) -> Vec<(&'static str, String)> {
    let names = [
        ("seq", "haul.seq"),
        ("session", "haul.session"),
        ("at", "haul.at"),
        ("protocol", "haul.protocol"),
        ("peer", "haul.peer"),
        ("route", "haul.route"),
        ("receiver", "haul.receiver"),
        ("outcome", "haul.outcome"),
        ("reference", "haul.reference"),
        ("error", "haul.error"),
    ];
    let taken = names.map(|(name, key)| Some((name, metadata.remove(key)?.into_owned())));
    taken.into_iter().flatten().collect()
}
