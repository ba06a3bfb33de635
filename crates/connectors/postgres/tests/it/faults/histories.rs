//! Random histories by seed: all that was answered is there, once, and all that was there is read.

use std::collections::BTreeSet;
use std::time::Duration;

use haul_core::{DeliverAll, Level, Packet, Receipt, Sent, Source, Status};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::server::Postgres;
use crate::support::{queue, sink, soon};

const PACKETS: u32 = 1000;

/// Delivers all packets in batches of random sizes, each until it is answered: at least once. Answers those that nobody
/// could tell apart, as they have no id, and that may be there twice.
async fn deliver(url: String, seed: u64) -> BTreeSet<String> {
    let (sink, mut dice) = (sink(&url), SmallRng::seed_from_u64(seed));
    let all: Vec<_> = (0..PACKETS).map(|number| Packet::text(number.to_string())).collect();
    let mut all =
        all.into_iter().map(|packet| if dice.random_bool(0.7) { packet.identified() } else { packet });
    let (mut sizes, mut twice) = (SmallRng::seed_from_u64(seed ^ 1), BTreeSet::new());
    loop {
        let mut rest: Vec<_> = all.by_ref().take(sizes.random_range(1..40)).collect();
        if rest.is_empty() {
            return twice;
        }
        while !rest.is_empty() {
            let outcomes = sink.deliver_all(rest.clone()).await.unwrap();
            let mut left = Vec::new();
            for (packet, outcome) in rest.into_iter().zip(outcomes) {
                let Err(why) = outcome else { continue };
                assert_eq!(why.status(), Status::Transient, "{why}");
                if why.sent() == Sent::Maybe && packet.id().is_none() {
                    twice.insert(packet.as_text().unwrap().to_owned());
                }
                left.push(packet);
            }
            rest = left;
            // Faults come in between.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Reads until every packet was acknowledged.
async fn read(url: String) {
    let (mut source, mut seen) = (queue(&url), BTreeSet::new());
    while seen.len() < PACKETS as usize {
        let delivery = source.next().await.unwrap().unwrap();
        let number: u32 = delivery.packet().as_text().unwrap().parse().unwrap();
        assert!(number < PACKETS, "packet {number} was never sent");
        // One whose acknowledgement fails comes again.
        if delivery.ack(Receipt::new(Level::Stored, None)).await.is_ok() {
            seen.insert(number);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_kills_shutdowns_and_lost_connections_nothing_is_missing_or_invented() {
    let Some(mut postgres) = Postgres::start(&[]) else { return };
    let seed = haul_services::seed(7);
    println!("seed {seed}");
    let (to, from) =
        (postgres.url("table=kept&create=true"), postgres.url("table=read&create=true&poll=20ms"));
    let filled: Vec<_> = (0..PACKETS).map(|number| Packet::text(number.to_string())).collect();
    for outcome in sink(&postgres.url("table=read&create=true")).deliver_all(filled).await.unwrap() {
        outcome.unwrap();
    }
    let (sending, reading) = (tokio::spawn(deliver(to, seed)), tokio::spawn(read(from)));
    let mut dice = SmallRng::seed_from_u64(seed ^ 2);
    for _ in 0..haul_services::kills() {
        tokio::time::sleep(Duration::from_millis(dice.random_range(20..200))).await;
        let fault = dice.random_range(0..3);
        tokio::task::block_in_place(|| match fault {
            0 => postgres.kill_and_start(),
            1 => {
                postgres.stop();
                postgres.start_again();
            }
            _ => {
                let all = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                    where application_name = 'haul'";
                postgres.psql(all);
            }
        });
    }
    let twice = soon("all to be answered", sending).await.unwrap();
    soon("all to be read", reading).await.unwrap();
    let text = "encode(payload, 'escape')";
    let there = postgres.psql(&format!("select {text} from kept group by 1 order by {text}::int"));
    let want: Vec<_> = (0..PACKETS).map(|number| number.to_string()).collect();
    assert_eq!(there.lines().collect::<Vec<_>>(), want, "what is there once or more");
    let more = postgres.psql(&format!("select {text} from kept group by 1 having count(*) > 1"));
    let invented: Vec<_> = more.lines().filter(|text| !twice.contains(*text)).collect();
    assert_eq!(invented, Vec::<&str>::new(), "what is there twice though nothing was unknown");
    assert_eq!(postgres.psql("select count(*) from read"), "0");
}
