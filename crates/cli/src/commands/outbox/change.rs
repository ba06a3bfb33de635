//! `haul outbox replay` and `haul outbox purge`: with the outbox's locks.

use haul::outbox::{Offline, Which};
use serde_json::json;

use super::{Place, Purge, Replay, explained};
use crate::exit::Failure;
use crate::output::{Output, count};

pub(super) async fn replay(args: &Replay, out: Output) -> Result<(), Failure> {
    let outbox = open(&args.place).await?;
    let replayed = outbox.replay(&args.letters.which()).await;
    outbox.close().await?;
    let letters = replayed.map_err(explained)?;
    match out.json {
        true => out.object(&json!({ "event": "replayed", "letters": letters })),
        false => {
            let what = count(letters, "dead letter");
            out.line(&format!("{what} put back: delivered when a program has the outbox open again"))
        }
    }
}

pub(super) async fn purge(args: &Purge, out: Output) -> Result<(), Failure> {
    let which = args.letters.which();
    if !args.yes {
        let what = match (args.pending, &which) {
            (true, _) => "all packets that wait",
            (false, Which::All) => "all dead letters",
            (false, Which::These(_)) => "these dead letters",
        };
        let message = format!("purge: this removes {what} of {} for good", args.place.dir.display());
        return Err(Failure::usage(message).with_hint("say --yes if they are to be gone; export prints them"));
    }
    let outbox = open(&args.place).await?;
    let purged = match args.pending {
        true => outbox.purge_pending().await,
        false => outbox.purge_dead(&which).await,
    };
    outbox.close().await?;
    let gone = purged.map_err(explained)?;
    let what = if args.pending { "packet" } else { "dead letter" };
    match out.json {
        true => out.object(&json!({ "event": "purged", "what": what, "count": gone })),
        false => out.line(&format!("{} removed", count(gone, what))),
    }
}

async fn open(place: &Place) -> Result<Offline, Failure> {
    Offline::open(&place.dir, place.key()?.as_ref()).await.map_err(explained)
}
