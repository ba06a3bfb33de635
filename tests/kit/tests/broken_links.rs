//! Links.

use std::time::Duration;

use haul_core::{Connection, Limits, Link};
use haul_kit::{Pairs, connection};

use crate::faulty::{Common, Fault, breaks, connect};
use crate::proof::{ALL_TIME, PATIENCE, caught, each_is_caught, names, proves};

/// Pairs of `mem` whose links are changed.
fn pairs(
    limits: fn(Limits) -> Limits,
    change: impl Fn(Link) -> Link + Clone + Send + Sync + 'static,
) -> Pairs {
    Pairs::new(move |wanted| {
        let change = change.clone();
        async move {
            let (a, b) = haul_mem::pair_with(limits(wanted));
            let remade = async |end: Connection| connect(change(end.into_link().await.expect("a link")));
            (remade(a).await, remade(b).await)
        }
    })
}

fn broken(fault: Fault) -> Pairs {
    let common = Common::default();
    pairs(|limits| limits, move |link| breaks(link, fault, &common))
}

async fn failed(
    section: &'static str,
    pairs: Pairs,
    checks: Vec<&'static str>,
    patience: Duration,
) -> Vec<&'static str> {
    let suite = connection::Suite::new(section, pairs).only(&checks).connections(20);
    names(&suite.patience(patience).failures().await)
}

const CAUGHT: &[(Fault, &str)] = &[
    (Fault::EndsCleanlyOnAbort, "states"),
    (Fault::Miscounts, "statistics"),
    (Fault::Miscounts, "discards"),
    (Fault::LosesPings, "pings"),
    (Fault::Drops, "order"),
    (Fault::Reorders, "order"),
    (Fault::Duplicates, "order"),
    (Fault::Truncates, "order"),
    (Fault::Corrupts, "order"),
    (Fault::LosesTheEmpty, "sizes"),
    (Fault::LosesKinds, "kinds"),
    (Fault::LosesMetadata, "metadata"),
    (Fault::Reorders, "batch"),
    (Fault::ForgetsToFlush, "flush"),
    (Fault::AnswersOkWithoutSending, "flush"),
    (Fault::Corrupts, "both_ways"),
    (Fault::Reorders, "many_senders"),
    (Fault::MixesConnections, "many"),
    (Fault::LosesUnreliable, "unreliable"),
    (Fault::EndsBothOnFinish, "half_close"),
    (Fault::HangsOnClose, "close_drains"),
    (Fault::LosesTheLast, "close_drains"),
    (Fault::ForgetsTheReason, "close_reason"),
    (Fault::HangsOnClose, "both_close"),
    (Fault::SwallowsTheEnd, "after_close"),
    (Fault::EndsCleanlyOnAbort, "abort"),
    (Fault::LosesTheLast, "drop_drains"),
    (Fault::SwallowsTheEnd, "split_halves"),
    (Fault::SwallowsFailures, "lost_is_told"),
    (Fault::GrowsWithoutBound, "slow_reader"),
    (Fault::GrowsWithoutBound, "never_reads"),
    (Fault::SwallowsFailures, "blocked_send_ends"),
    (Fault::Truncates, "sends"),
    (Fault::Drops, "receives"),
    (Fault::Drops, "flushes"),
    (Fault::LosesTheLast, "closes"),
    (Fault::Duplicates, "delivers"),
    (Fault::ClaimsMore, "levels"),
    (Fault::AnswersForThePeer, "wait"),
    (Fault::ForgetsWhyRefused, "refusals"),
    (Fault::AcceptsTheRefused, "batches"),
    (Fault::AnswersForThePeer, "cut"),
    (Fault::Drops, "into_link"),
    (Fault::Drops, "stream_and_sink"),
];

/// What is wrong with what a link says of itself, or with its bounds.
#[derive(Clone, Copy, Debug)]
enum Said {
    DeclaresLess,
    DeclaresNoCloseFrames,
    DeclaresThePast,
    HasStreamsAllTheSame,
    TakesAnySize,
    WaitsForEver,
}

const SAID: &[(Said, &str)] = &[
    (Said::DeclaresLess, "capabilities"),
    (Said::DeclaresNoCloseFrames, "capabilities"),
    (Said::DeclaresThePast, "capabilities"),
    (Said::HasStreamsAllTheSame, "single_stream"),
    (Said::TakesAnySize, "too_large"),
    (Said::TakesAnySize, "oversize_received"),
    (Said::TakesAnySize, "batch"),
    (Said::WaitsForEver, "idle"),
];

fn saying(said: Said) -> Pairs {
    let limits = match said {
        Said::TakesAnySize => |limits| Limits { max_packet: 64 << 20, ..limits },
        _ => |limits| limits,
    };
    pairs(limits, move |mut link| {
        match said {
            Said::DeclaresLess => link.info.receipts = false,
            Said::DeclaresNoCloseFrames => link.info.close_frames = false,
            Said::DeclaresThePast => link.info.opened_at = std::time::UNIX_EPOCH,
            Said::WaitsForEver => link.limits.idle_deadline = None,
            Said::HasStreamsAllTheSame | Said::TakesAnySize => {}
        }
        link
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_link_is_caught_by_its_check() {
    each_is_caught(CAUGHT, |fault, check| failed("haul-mem", broken(fault), vec![check], PATIENCE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_link_that_says_what_is_not_so_is_caught_by_its_check() {
    let said = |said, check| {
        // It has streams, where `haul-tcp` has none.
        let section = if matches!(said, Said::HasStreamsAllTheSame) { "haul-tcp" } else { "haul-mem" };
        failed(section, saying(said), vec![check], PATIENCE)
    };
    each_is_caught(SAID, said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_only_passes_on_is_not_caught() {
    let checks: Vec<_> = connection::Suite::promises().into_iter().map(|(check, _)| check).collect();
    assert_eq!(failed("haul-mem", broken(Fault::Sound), checks, ALL_TIME).await, [""; 0]);
}

#[test]
fn every_promise_of_connections_is_broken_by_something() {
    let caught = [caught(SAID), caught(CAUGHT), crate::broken_streams::caught()].concat();
    proves("connection", &connection::Suite::promises(), &caught);
}
