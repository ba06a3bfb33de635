//! What every sink promises.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use haul_core::{
    AnySink, Batch, BoxFuture, Deliver, DeliverAll, ErrorKind, Level, Packet, PacketId, Receipt, Result,
    Sent, Service, Sink, Status,
};

use crate::expect::{self, Section};
use crate::packets::{polled, same_bytes};
use crate::run::{Check, Plan, checks, done, go, runs};
use crate::soon;

type ReadBack = Arc<dyn Fn() -> BoxFuture<'static, Vec<Bytes>> + Send + Sync>;

/// A sink to be tested, on nothing that was used before.
#[derive(Clone)]
pub struct Rig {
    sink: AnySink,
    read_back: Option<ReadBack>,
    holds: Arc<Vec<Box<dyn Any + Send + Sync>>>,
}

impl Rig {
    /// A sink that was not used before.
    pub fn new(sink: AnySink) -> Self {
        Self { sink, read_back: None, holds: Arc::default() }
    }

    /// How the payloads of all delivered packets are read again, in the order in which they are stored.
    #[must_use]
    pub fn reads_back<F, Fut>(mut self, read: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<Bytes>> + Send + 'static,
    {
        self.read_back = Some(Arc::new(move || Box::pin(read())));
        self
    }

    /// Keeps a folder or server alive as long as the check runs.
    #[must_use]
    pub fn holds(mut self, thing: impl Any + Send + Sync) -> Self {
        match Arc::get_mut(&mut self.holds) {
            Some(holds) => holds.push(Box::new(thing)),
            None => unreachable!("a rig is not shared before it is made"),
        }
        self
    }
}

impl fmt::Debug for Rig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rig")
    }
}

type Make = Arc<dyn Fn() -> BoxFuture<'static, Rig> + Send + Sync>;

/// Runs the suite. Panics with the promises that were broken.
pub async fn suite<F, Fut>(name: &str, make: F)
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Rig> + Send + 'static,
{
    Suite::new(name, make).run().await;
}

/// The suite, with settings.
#[derive(Clone)]
pub struct Suite {
    pub(crate) plan: Plan,
    expect: expect::Sink,
    make: Make,
}

impl Suite {
    /// The suite for the section `name` of `capabilities.toml`; `make` makes a sink on nothing that was used before.
    pub fn new<F, Fut>(name: &str, make: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Rig> + Send + 'static,
    {
        Self { plan: Plan::new(name), expect: Section::sink(name), make: Arc::new(move || Box::pin(make())) }
    }

    async fn rig(&self) -> Rig {
        let rig = soon("the sink", (self.make)()).await;
        assert_eq!(
            rig.read_back.is_some(),
            self.expect.reads_back,
            "whether packets are read back, against capabilities.toml"
        );
        rig
    }

    /// Delivers, and checks that each packet has its receipt.
    async fn deliver(&self, sink: &AnySink, packets: Vec<Packet>) {
        let ids: Vec<_> = packets.iter().map(Packet::id).collect();
        let outcomes = soon("the outcomes", sink.deliver_all(packets)).await.expect("a batch");
        assert_eq!(outcomes.len(), ids.len(), "outcomes of a batch");
        for (at, (outcome, id)) in outcomes.into_iter().zip(ids).enumerate() {
            let receipt = outcome.unwrap_or_else(|why| panic!("packet {at} was not delivered: {why}"));
            assert_eq!(receipt.level, self.expect.level(), "the level of the receipt of packet {at}");
            assert_eq!(receipt.id, id, "the id in the receipt of packet {at}");
        }
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("plan", &self.plan).finish_non_exhaustive()
    }
}

runs!(Suite, CHECKS);

const CHECKS: &[Check<Suite>] = checks![Suite;
    all_arrive => "everything delivered is there, once and in order, and has a receipt of the declared level",
    single => "single packets are delivered like batches",
    empty => "an empty batch has no outcomes",
    shapes => "payloads of 0 bytes up to 64 KiB come back byte for byte",
    too_large => "a packet above the limit fails alone, and the others of its batch are delivered",
    concurrent => "concurrent calls are all delivered, each batch in its own order",
    cancelled => "a cancelled call delivers a packet once or not at all, and disturbs no other",
    ready => "ready answers Ok while the sink takes packets, as often as it is asked",
    close => "after close nothing is accepted, and what was delivered is there",
];

/// Lines carry any sink's packets.
fn packet(number: u64, len: usize) -> Packet {
    let head = format!("{number:07}");
    let rest = crate::packets::letters(number, len.saturating_sub(head.len()));
    Packet::text(head + &rest).with_id(id(number))
}

fn id(number: u64) -> PacketId {
    PacketId::from_bytes((u128::from(number) + 1).to_be_bytes())
}

async fn stored(rig: &Rig) -> Option<Vec<Bytes>> {
    match &rig.read_back {
        Some(read) => Some(soon("what is stored", read()).await),
        None => None,
    }
}

async fn is_stored(rig: &Rig, want: &[Packet]) {
    let Some(stored) = stored(rig).await else { return };
    for (at, (want, have)) in want.iter().zip(&stored).enumerate() {
        same_bytes(&format!("what is stored at {at}"), want.payload(), have);
    }
    assert_eq!(stored.len(), want.len(), "packets stored");
}

async fn all_arrive(cx: Suite) {
    let rig = cx.rig().await;
    let all: Vec<_> = (0..500).map(|number| packet(number, 10 + number as usize % 300)).collect();
    let mut rest = &all[..];
    for size in [1, 7, 100, 1, 50].into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (batch, more) = rest.split_at(size.min(rest.len()));
        cx.deliver(&rig.sink, batch.to_vec()).await;
        rest = more;
    }
    is_stored(&rig, &all).await;
}

async fn single(cx: Suite) {
    let rig = cx.rig().await;
    let all: Vec<_> = (0..20).map(|number| packet(number, 30)).collect();
    for (number, packet) in all.iter().enumerate() {
        let receipt = soon("the receipt", rig.sink.deliver(packet.clone())).await.expect("a receipt");
        assert_eq!((receipt.level, receipt.id), (cx.expect.level(), Some(id(number as u64))));
    }
    // Without an id as well.
    let plain = Packet::text("no id");
    let receipt = soon("the receipt", rig.sink.deliver(plain.clone())).await.expect("a receipt");
    assert_eq!(receipt.id, None, "an id out of nowhere");
    is_stored(&rig, &[all, vec![plain]].concat()).await;
}

async fn empty(cx: Suite) {
    let rig = cx.rig().await;
    cx.deliver(&rig.sink, Vec::new()).await;
    is_stored(&rig, &[]).await;
}

async fn shapes(cx: Suite) {
    let rig = cx.rig().await;
    let most = cx.expect.max_packet.unwrap_or(usize::MAX);
    let mut all: Vec<_> = [0, 1, 255, 256, 4096, 65_536]
        .into_iter()
        .filter(|size| *size <= most)
        .enumerate()
        .map(|(seed, size)| Packet::text(crate::packets::letters(seed as u64, size)))
        .collect();
    all.push(Packet::text("\u{e4}\u{20ac}\u{1f600} \"quoted\" \\ {json}"));
    all.push(Packet::text("with metadata").with("session_id", "7"));
    cx.deliver(&rig.sink, all.clone()).await;
    is_stored(&rig, &all).await;
}

async fn too_large(cx: Suite) {
    let Some(most) = cx.expect.max_packet else { return };
    let rig = cx.rig().await;
    let batch = vec![packet(1, 30), packet(2, most + 1), packet(3, most)];
    let outcomes = soon("the outcomes", rig.sink.deliver_all(batch.clone())).await.expect("a batch");
    let [first, large, last] = <[_; 3]>::try_from(outcomes).expect("three outcomes");
    first.expect("the packet before the large one");
    last.expect("a packet of the largest size");
    let error = large.expect_err("a packet above the limit was delivered");
    let facts = (error.kind(), error.status(), error.sent());
    assert_eq!(facts, (ErrorKind::TooLarge, Status::Permanent, Sent::No), "{error}");
    is_stored(&rig, &[batch[0].clone(), batch[2].clone()]).await;
}

/// The number that a stored payload begins with, once it is the payload of that number.
fn number_of(payload: &[u8], len: impl Fn(u64) -> usize) -> u64 {
    let number =
        std::str::from_utf8(payload.get(..7).unwrap_or_default()).ok().and_then(|head| head.parse().ok());
    let number = number.unwrap_or_else(|| panic!("what is stored begins without a number: {payload:?}"));
    same_bytes(&format!("packet {number}"), packet(number, len(number)).payload(), payload);
    number
}

async fn concurrent(cx: Suite) {
    let rig = cx.rig().await;
    let calls: Vec<_> = (0..16u64)
        .map(|call| {
            let (cx, sink) = (cx.clone(), rig.sink.clone());
            go(async move {
                for batch in 0..5 {
                    let first = call * 1000 + batch * 10;
                    cx.deliver(&sink, (first..first + 10).map(|number| packet(number, 40)).collect()).await;
                }
            })
        })
        .collect();
    for call in calls {
        done("a call", call).await;
    }
    let Some(stored) = stored(&rig).await else { return };
    assert_eq!(stored.len(), 16 * 50, "packets stored");
    let mut seen: HashMap<u64, u64> = HashMap::new();
    for payload in &stored {
        let number = number_of(payload, |_| 40);
        let (call, at) = (number / 1000, number % 1000);
        let next = seen.entry(call).or_default();
        assert_eq!(at, *next, "call {call} is out of order, or has a packet twice");
        *next += 1;
    }
}

async fn cancelled(cx: Suite) {
    let rig = cx.rig().await;
    let mut sure = Vec::new();
    for number in 0..60u64 {
        let work = rig.sink.deliver_all(vec![packet(number, 40)]);
        if let Some(outcome) = soon("a call to be polled", polled(number as usize % 6, work)).await {
            outcome.expect("a batch")[0].as_ref().expect("a receipt");
            sure.push(number);
        } else {
            tokio::task::yield_now().await;
        }
    }
    cx.deliver(&rig.sink, vec![packet(9999, 40)]).await;
    soon("the close", rig.sink.close()).await.expect("a close");
    let Some(stored) = stored(&rig).await else { return };
    let mut seen: Vec<_> = stored.iter().map(|payload| number_of(payload, |_| 40)).collect();
    seen.sort_unstable();
    let twice = seen.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(twice, None, "a packet is there twice");
    let missing = sure.iter().find(|number| seen.binary_search(number).is_err());
    assert_eq!(missing, None, "a packet that was delivered is not there");
    assert_eq!(seen.last(), Some(&9999), "the packet after the cancelled ones");
}

async fn ready(cx: Suite) {
    let rig = cx.rig().await;
    soon("ready", rig.sink.ready()).await.expect("ready before the first packet");
    cx.deliver(&rig.sink, vec![packet(1, 20)]).await;
    soon("ready", rig.sink.ready()).await.expect("ready after a packet");
    is_stored(&rig, &[packet(1, 20)]).await;
}

async fn close(cx: Suite) {
    let rig = cx.rig().await;
    let all: Vec<_> = (0..100).map(|number| packet(number, 100)).collect();
    cx.deliver(&rig.sink, all.clone()).await;
    soon("the close", rig.sink.close()).await.expect("a close");
    let late = soon("a late call", rig.sink.deliver_all(vec![packet(200, 100)])).await;
    let error = match late {
        Err(why) => why,
        Ok(mut outcomes) => outcomes.remove(0).expect_err("a packet was accepted after close"),
    };
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Closed, Sent::No), "{error}");
    soon("a second close", rig.sink.close()).await.expect("a second close");
    is_stored(&rig, &all).await;
}

/// A sink that is known to be right: what the kit's own tests break, and an example for the suite.
#[derive(Debug, Default)]
pub struct Sample {
    stored: tokio::sync::Mutex<Vec<Bytes>>,
    closed: std::sync::atomic::AtomicBool,
    discards: bool,
}

impl Sample {
    /// A sink that throws packets away and says so.
    pub fn discarding() -> Self {
        Self { discards: true, ..Self::default() }
    }

    /// What is stored.
    pub async fn stored(&self) -> Vec<Bytes> {
        self.stored.lock().await.clone()
    }
}

impl Service<Batch> for Sample {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        if self.closed.load(std::sync::atomic::Ordering::Acquire) {
            return Err(haul_core::Error::new(ErrorKind::Closed, "the sink is closed").with_sent(Sent::No));
        }
        let mut stored = self.stored.lock().await;
        let level = if self.discards { Level::Discarded } else { Level::Stored };
        let outcomes = batch.packets().iter().map(|packet| Ok(Receipt::new(level, packet.id()))).collect();
        if !self.discards {
            stored.extend(batch.into_packets().into_iter().map(Packet::into_payload));
        }
        Ok(outcomes)
    }
}

impl Sink for Sample {
    async fn close(&self) -> Result<()> {
        self.closed.store(true, std::sync::atomic::Ordering::Release);
        Ok(())
    }
}
