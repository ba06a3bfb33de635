//! Cuts at random points, and an oracle.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haul_core::{CloseReason, Deliver, ErrorKind, Info, Level, Packet, PacketId, Receiver};
use tokio::time::{sleep, timeout};

use super::net::{Net, Plan, counted, endpoint, layer, refused, soon};
use crate::ReconnectOptions;

const PACKETS: u64 = 400;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Packets of deliveries are numbered from here.
const DELIVERED: u64 = 1 << 32;

#[derive(Clone, Copy)]
struct Sizes {
    /// Bytes of a packet, at most.
    packet: u64,
    /// Bytes after which a link is cut, at most.
    cut: u64,
    /// Links that are cut, or refused.
    links: usize,
    /// Milliseconds that either end pauses now and then, at most.
    pause: u64,
}

fn plans(random: &mut Random, sizes: Sizes) -> Vec<Plan> {
    let plan = |random: &mut Random| match random.below(4) {
        0 => refused(),
        _ => Plan::CutAfter(1 + random.below(sizes.cut) as usize),
    };
    (0..sizes.links).map(|_| plan(random)).collect()
}

fn numbered(number: u64, random: &mut Random, sizes: Sizes) -> Packet {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(8 + random.below(sizes.packet) as usize, 0);
    match random.below(3) {
        0 => Packet::binary(payload).with_id(PacketId::random()),
        _ => Packet::binary(payload),
    }
}

fn number(packet: &Packet) -> u64 {
    u64::from_be_bytes(packet.payload()[..8].try_into().unwrap())
}

/// What one link of the server received: numbers, and whether each had an id.
type Link = Vec<(u64, bool)>;

/// Reads what comes, now and then late, and sends numbers of its own as it goes; until a clean close.
async fn serve(mut net: Net, links: Arc<Mutex<Vec<Link>>>, mut random: Random, pause: u64) {
    let mut ours = 0u64;
    loop {
        let mut server = net.accept().await.connection;
        links.lock().unwrap().push(Link::new());
        loop {
            if random.below(8) == 0 {
                sleep(Duration::from_millis(random.below(pause))).await;
            }
            let packet = match server.recv().await {
                Ok(Some(packet)) => packet,
                Ok(None) => return,
                Err(_) => break,
            };
            let seen = (number(&packet), packet.id().is_some());
            links.lock().unwrap().last_mut().unwrap().push(seen);
            ours += 1;
            if server.send(Packet::binary(ours.to_be_bytes().to_vec())).await.is_err() {
                break;
            }
        }
    }
}

/// Gaps, how many packets they counted, and the numbers received, until a clean close.
async fn receive(mut receiver: Receiver) -> (u64, u64, Vec<u64>) {
    let (mut gaps, mut lost, mut got) = (0, 0, Vec::new());
    loop {
        match receiver.recv().await {
            Ok(Some(packet)) => got.push(number(&packet)),
            Ok(None) => return (gaps, lost, got),
            Err(why) => {
                assert_eq!(why.kind(), ErrorKind::Gap, "{why}");
                gaps += 1;
                lost += counted(&why);
            }
        }
    }
}

const SMALL: Sizes = Sizes { packet: 200, cut: 4_000, links: 30, pause: 200 };

struct Outcome {
    links: Vec<Link>,
    gaps: u64,
    lost: u64,
    got: Vec<u64>,
    /// Sent with an id.
    ids: Vec<u64>,
}

async fn run(seed: u64, sizes: Sizes) -> Outcome {
    let mut random = Random(seed);
    let net = Net::new(plans(&mut random, sizes));
    let mut info = Info::new("pipe", "haul.v1");
    info.receipts = true;
    let plans = net.plans();
    let options = ReconnectOptions {
        base: Duration::from_millis(sizes.pause),
        cap: Duration::from_millis(10 * sizes.pause),
        ..ReconnectOptions::default()
    };
    let reconnect = net.reconnect(layer(options));
    let (sender, receiver) = reconnect.connect_lazy_as(endpoint(), info).split();
    let links = Arc::default();
    let serving = tokio::spawn(serve(net, Arc::clone(&links), Random(!seed), sizes.pause));
    let receiving = tokio::spawn(receive(receiver));
    let (mut deliveries, mut ids) = (Vec::new(), Vec::new());
    for n in 0..PACKETS {
        let packet = numbered(n, &mut random, sizes);
        ids.extend(packet.id().map(|_| n));
        soon("room", sender.send(packet)).await.unwrap();
        if random.below(10) == 0 {
            sleep(Duration::from_millis(random.below(sizes.pause))).await;
        }
        if random.below(10) == 0 {
            let (sender, packet) = (sender.clone(), numbered(DELIVERED + n, &mut random, sizes));
            deliveries.push(tokio::spawn(async move { sender.deliver(packet).await }));
        }
    }
    for delivery in deliveries {
        let receipt = soon("a receipt", delivery).await.unwrap().unwrap();
        assert_eq!(receipt.level, Level::Acknowledged);
    }
    if let Err(why) = soon("the flush", sender.flush()).await {
        assert_eq!(why.kind(), ErrorKind::Gap, "{why}");
        soon("the next flush, as a loss is told once", sender.flush()).await.unwrap();
    }
    // A receipt over a link that is not cut comes after all gaps.
    let mut done = false;
    for n in PACKETS.. {
        let packet = numbered(DELIVERED + n, &mut random, sizes);
        soon("a receipt", sender.deliver(packet)).await.unwrap();
        if std::mem::replace(&mut done, plans.lock().unwrap().is_empty()) {
            break;
        }
    }
    soon("the close", sender.close(CloseReason::NORMAL)).await.unwrap();
    let (gaps, lost, got) = soon("the end", receiving).await.unwrap();
    soon("the server", serving).await.unwrap();
    let links = links.lock().unwrap().clone();
    Outcome { links, gaps, lost, got, ids }
}

/// Runs the seeds and answers how many gaps there were, and how many packets went missing.
async fn check(seeds: std::ops::Range<u64>, sizes: Sizes) -> (u64, u64) {
    let (mut all_gaps, mut all_missing) = (0, 0);
    for seed in seeds {
        let Outcome { links, gaps, lost, got, ids } = run(seed, sizes).await;
        let sent = |link: &Link| link.iter().filter(|(n, _)| *n < DELIVERED).copied().collect::<Vec<_>>();
        let links: Vec<_> = links.iter().map(sent).collect();
        for link in &links {
            assert!(link.is_sorted(), "seed {seed}: out of order within a link: {link:?}");
        }
        let without_id: Vec<_> = links.iter().flatten().filter(|(_, id)| !id).map(|(n, _)| *n).collect();
        assert!(
            without_id.is_sorted_by(|a, b| a < b),
            "seed {seed}: doubled or out of order: {without_id:?}"
        );
        let there: HashSet<_> = links.iter().flatten().map(|(n, _)| *n).collect();
        for (n, arrived) in ids.iter().map(|n| (n, there.contains(n))) {
            assert!(arrived, "seed {seed}: packet {n} has an id and never arrived");
        }
        let missing = PACKETS - there.len() as u64;
        assert!(missing <= lost, "seed {seed}: {missing} missing, {lost} told");
        assert!(got.is_sorted_by(|a, b| a < b), "seed {seed}: received {got:?}");
        all_gaps += gaps;
        all_missing += missing;
    }
    (all_gaps, all_missing)
}

#[tokio::test(start_paused = true)]
async fn whatever_is_cut_nothing_is_doubled_without_an_id_lost_in_silence_or_out_of_order() {
    let (gaps, missing) = check(0..40, SMALL).await;
    assert!(gaps > 200, "the seeds cut too little: {gaps} gaps");
    assert!(missing > 20, "the seeds lose too little: {missing} packets");
}

#[tokio::test(start_paused = true)]
async fn large_packets_too() {
    let (gaps, missing) = check(100..106, Sizes { packet: 20_000, cut: 300_000, links: 12, ..SMALL }).await;
    assert!(gaps > 30, "the seeds cut too little: {gaps} gaps");
    assert!(missing > 0, "the seeds lose too little");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_threads_and_a_running_clock_too() {
    let work = check(200..204, Sizes { pause: 2, ..SMALL });
    let (gaps, _) = timeout(Duration::from_secs(60), work).await.expect("all seeds within a minute");
    assert!(gaps > 20, "the seeds cut too little: {gaps} gaps");
}
