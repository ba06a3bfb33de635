//! Packets and batches delivered through stacks, in tokio's own time: a seed is always the same history.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use haul_core::{Batch, Deliver, DeliverAll, Packet, PacketId, Receipt, Result, Sent, Shared};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::faulty::{Taken, Temper, Tempers};
use super::stacks::{Draw, Role, Stack};
use super::{is_bad, seeds, text_of};

/// Packets of a history.
const PACKETS: u32 = 60;

/// What the sender of a packet knows in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It is there.
    Accepted,
    /// It is nowhere.
    Unsent,
    /// It may be there.
    Maybe,
}

impl Known {
    fn of(outcome: &Result<Receipt>, packet: &Packet) -> Self {
        match outcome {
            Ok(receipt) => {
                assert_eq!(receipt.reference.as_deref(), packet.as_text(), "another packet's receipt");
                Self::Accepted
            }
            Err(why) if why.sent() == Sent::No => Self::Unsent,
            Err(_) => Self::Maybe,
        }
    }

    /// What is known after another try.
    fn and(self, later: Self) -> Self {
        match (self, later) {
            (Self::Accepted, _) | (_, Self::Accepted) => Self::Accepted,
            (Self::Unsent, Self::Unsent) => Self::Unsent,
            _ => Self::Maybe,
        }
    }
}

/// How packets go into a stack of their role.
trait Sends: Role {
    /// Packets in one call, at most.
    const MOST: usize;

    /// What is known of each packet after one call.
    fn send(stack: &Shared<Self>, packets: Vec<Packet>) -> impl Future<Output = Vec<Known>> + Send;
}

impl Sends for Packet {
    const MOST: usize = 1;

    async fn send(stack: &Shared<Self>, packets: Vec<Packet>) -> Vec<Known> {
        let [packet] = &packets[..] else { panic!("it sends one at a time") };
        vec![Known::of(&stack.deliver(packet.clone()).await, packet)]
    }
}

impl Sends for Batch {
    const MOST: usize = 8;

    async fn send(stack: &Shared<Self>, packets: Vec<Packet>) -> Vec<Known> {
        match stack.deliver_all(packets.clone()).await {
            Ok(outcomes) => {
                assert_eq!(outcomes.len(), packets.len(), "outcomes");
                outcomes.iter().zip(&packets).map(|(outcome, packet)| Known::of(outcome, packet)).collect()
            }
            Err(why) => packets.iter().map(|packet| Known::of(&Err(why.clone()), packet)).collect(),
        }
    }
}

/// Sends packets in one call, or in several if they may come twice; some senders lose patience.
async fn sender<In: Sends>(stack: Shared<In>, packets: Vec<Packet>, mut dice: SmallRng) -> Vec<Known> {
    sleep(Duration::from_millis(dice.random_range(0..60))).await;
    let patience = match dice.random_ratio(1, 6) {
        true => Duration::from_millis(dice.random_range(0..30)),
        // Every call ends by itself.
        false => Duration::from_secs(3600),
    };
    let tries = if packets.iter().all(|packet| packet.id().is_some()) { 3 } else { 1 };
    let mut known: Vec<Known> = vec![Known::Unsent; packets.len()];
    for _ in 0..dice.random_range(1..=tries) {
        let later = match timeout(patience, In::send(&stack, packets.clone())).await {
            Ok(later) => later,
            Err(_) if patience < Duration::from_secs(1) => vec![Known::Maybe; packets.len()],
            Err(_) => panic!("a call did not end within an hour"),
        };
        for (known, later) in known.iter_mut().zip(later) {
            *known = known.and(later);
        }
        if known.iter().all(|known| *known == Known::Accepted) {
            break;
        }
    }
    known
}

/// Packets of which some may come twice, and say so by their id.
fn packets(dice: &mut SmallRng) -> Vec<Packet> {
    let one = |number| {
        let packet = Packet::text(text_of(number)).with("number", number.to_string());
        match dice.random() {
            true => packet.with_id(PacketId::from_bytes(dice.random())),
            false => packet,
        }
    };
    (0..PACKETS).map(one).collect()
}

/// Sends packets through a stack, and judges: what is known of them. Errors: what is wrong.
async fn history<In: Sends>(seed: u64, lies: bool) -> Result<Vec<Known>, String> {
    let temper = Tempers::new(Mutex::new(Temper { faults: 30, lies }));
    let mut draw = Draw::new(seed, temper);
    let storeys = draw.dice.random_range(1..5);
    let stack: Stack<In> = draw.stack(storeys);
    let packets = packets(&mut draw.dice);
    let mut senders = JoinSet::new();
    let mut first = 0;
    while first < packets.len() {
        let count = draw.dice.random_range(1..=In::MOST.min(packets.len() - first));
        let some = packets[first..first + count].to_vec();
        let (service, dice) = (stack.service.clone(), SmallRng::from_rng(&mut draw.dice));
        senders.spawn(async move { (first, sender::<In>(service, some, dice).await) });
        first += count;
    }
    let mut known = vec![Known::Maybe; packets.len()];
    while let Some(ended) = senders.join_next().await {
        let (first, some) = ended.map_err(|why| format!("{why}, by {}", stack.what))?;
        known[first..first + some.len()].copy_from_slice(&some);
    }
    judge(&stack, &packets, &known, &draw.taken).map_err(|why| format!("{why}, by {}", stack.what))?;
    Ok(known)
}

/// What the sinks have is what the senders know. Errors: what is wrong.
fn judge<In: Role>(
    stack: &Stack<In>,
    packets: &[Packet],
    known: &[Known],
    taken: &Taken,
) -> Result<(), String> {
    let mut copies = vec![Vec::new(); packets.len()];
    for (sink, packet) in taken.all() {
        let number = packets.iter().position(|sent| *sent == packet);
        copies[number.ok_or_else(|| format!("sink {sink} has {packet:?}, which nobody sent"))?].push(sink);
    }
    for ((packet, known), copies) in packets.iter().zip(known).zip(copies) {
        let text = packet.as_text().unwrap();
        let wrong = |what: &str| Err(format!("{text} {what}: {known:?}, and at sinks {copies:?}"));
        let sinks = copies.iter().collect::<HashSet<_>>().len();
        match known {
            Known::Accepted if sinks < stack.least => return wrong("was accepted and is not there"),
            Known::Unsent if sinks > 0 => return wrong("was not sent and is there"),
            _ => {}
        }
        if packet.id().is_none() && copies.len() > stack.most {
            return wrong("must not come twice");
        }
        if is_bad(packet) && *known == Known::Accepted {
            return wrong("is bad and was accepted");
        }
    }
    Ok(())
}

/// A history for each seed, and how many packets of all were accepted, not sent, or may have been.
async fn all_go_well<In: Sends>(seeds: impl Iterator<Item = u64>) -> [usize; 3] {
    let (mut counts, mut tried) = ([0; 3], 0);
    for seed in seeds {
        tried += 1;
        let known = history::<In>(seed, false).await.unwrap_or_else(|why| panic!("HAUL_SEED={seed}: {why}"));
        for known in known {
            counts[known as usize] += 1;
        }
    }
    println!("{tried} histories, and of their packets {counts:?} were accepted, not sent, or may have been");
    counts
}

#[tokio::test(start_paused = true)]
async fn whatever_layers_do_with_packets_none_is_lost_invented_or_doubled() {
    let counts = all_go_well::<Packet>(seeds(0, 5000)).await;
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}: it tests less than it says");
}

#[tokio::test(start_paused = true)]
async fn whatever_layers_do_with_batches_none_is_lost_invented_or_doubled() {
    let counts = all_go_well::<Batch>(seeds(1_000_000, 5000)).await;
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}: it tests less than it says");
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_takes_nothing_and_says_it_did_is_seen() {
    for seed in 0..20 {
        let why = history::<Packet>(seed, true).await.unwrap_err();
        assert!(why.contains("was accepted and is not there"), "HAUL_SEED={seed}: {why}");
    }
}
