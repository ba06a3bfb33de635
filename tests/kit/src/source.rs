//! What every source promises.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use haul_core::{AnySource, BoxFuture, Delivery, Error, ErrorKind, Level, Packet, Receipt, Source as _};

use crate::expect::{self, Section};
use crate::packets::{letters, polled, same_bytes};
use crate::run::{Check, Plan, checks, done, go, runs};
use crate::soon;

type Put = Arc<dyn Fn(Vec<Packet>) -> BoxFuture<'static, ()> + Send + Sync>;
type Open = Arc<dyn Fn() -> BoxFuture<'static, AnySource> + Send + Sync>;

/// A source to be tested, on nothing that was used before.
#[derive(Clone)]
pub struct Rig {
    put: Put,
    open: Open,
    holds: Arc<Vec<Box<dyn Any + Send + Sync>>>,
}

impl Rig {
    /// `put` writes packets where the source finds them; `open` opens the source, each time as the same reader.
    pub fn new<P, PFut, O, OFut>(put: P, open: O) -> Self
    where
        P: Fn(Vec<Packet>) -> PFut + Send + Sync + 'static,
        PFut: Future<Output = ()> + Send + 'static,
        O: Fn() -> OFut + Send + Sync + 'static,
        OFut: Future<Output = AnySource> + Send + 'static,
    {
        Self {
            put: Arc::new(move |packets| Box::pin(put(packets))),
            open: Arc::new(move || Box::pin(open())),
            holds: Arc::default(),
        }
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

    async fn put(&self, numbers: std::ops::Range<u64>) {
        soon("packets to be put", (self.put)(numbers.map(packet).collect())).await;
    }

    async fn open(&self) -> AnySource {
        soon("the source to open", (self.open)()).await
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
    expect: expect::Source,
    make: Make,
}

impl Suite {
    /// The suite for the section `name` of `capabilities.toml`; `make` makes a source on nothing that was used before.
    pub fn new<F, Fut>(name: &str, make: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Rig> + Send + 'static,
    {
        Self {
            plan: Plan::new(name),
            expect: Section::source(name),
            make: Arc::new(move || Box::pin(make())),
        }
    }

    async fn rig(&self) -> Rig {
        soon("the rig", (self.make)()).await
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("plan", &self.plan).finish_non_exhaustive()
    }
}

runs!(Suite, CHECKS);

const CHECKS: &[Check<Suite>] = checks![Suite;
    all => "every packet is given, whole and in order",
    later => "next waits for packets that come later",
    acked => "what was acknowledged is not given again",
    unacked => "what was not acknowledged is given again to the next reader",
    nacked => "what was refused or dropped is given again",
    gap => "an acknowledgement does not cover packets before it that were not acknowledged",
    bounded => "no more packets are given than may be unacknowledged",
    cancelled => "a cancelled next loses no packet and gives none twice",
    answered_late => "an answer that comes after its source is gone is either taken or fails with Closed",
];

fn packet(number: u64) -> Packet {
    Packet::text(format!("{number:07}{}", letters(number, number as usize % 50)))
}

fn number_of(delivery: &Delivery) -> u64 {
    let payload: &Bytes = delivery.packet().payload();
    let head =
        std::str::from_utf8(payload.get(..7).unwrap_or_default()).ok().and_then(|head| head.parse().ok());
    let number = head.unwrap_or_else(|| panic!("a packet that begins without a number: {payload:?}"));
    same_bytes(&format!("packet {number}"), packet(number).payload(), payload);
    number
}

async fn next(what: &str, source: &mut AnySource) -> Delivery {
    soon(what, source.next())
        .await
        .expect("no error")
        .unwrap_or_else(|| panic!("the source ended before {what}"))
}

async fn ack(delivery: Delivery) {
    let receipt = Receipt::new(Level::Stored, delivery.packet().id());
    soon("the acknowledgement", delivery.ack(receipt)).await.expect("an acknowledgement");
}

/// Takes and acknowledges these packets, in order.
async fn takes(source: &mut AnySource, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let delivery = next(&format!("packet {number}"), source).await;
        assert_eq!(number_of(&delivery), number, "the packet that comes next");
        ack(delivery).await;
    }
}

async fn all(cx: Suite) {
    let rig = cx.rig().await;
    rig.put(0..500).await;
    takes(&mut rig.open().await, 0..500).await;
}

async fn later(cx: Suite) {
    let rig = cx.rig().await;
    rig.put(0..3).await;
    let mut source = rig.open().await;
    takes(&mut source, 0..3).await;
    let mut waiting = Box::pin(source.next());
    if let Some(next) = polled(1, &mut waiting).await {
        panic!("where nothing was yet, next answered {next:?}");
    }
    rig.put(3..6).await;
    let fourth = soon("packet 3", waiting).await.expect("no error").expect("no end");
    assert_eq!(number_of(&fourth), 3, "the packet that comes next");
    ack(fourth).await;
    takes(&mut source, 4..6).await;
}

async fn acked(cx: Suite) {
    let rig = cx.rig().await;
    rig.put(0..20).await;
    let mut source = rig.open().await;
    takes(&mut source, 0..12).await;
    drop(source);
    let mut source = rig.open().await;
    takes(&mut source, 12..20).await;
    drop(source);
    rig.put(20..22).await;
    takes(&mut rig.open().await, 20..22).await;
}

async fn unacked(cx: Suite) {
    let rig = cx.rig().await;
    rig.put(0..10).await;
    let mut source = rig.open().await;
    takes(&mut source, 0..2).await;
    let held = next("packet 2", &mut source).await;
    assert_eq!(number_of(&held), 2);
    drop(source);
    // As after a crash: nobody says anything about the packet.
    std::mem::forget(held);
    takes(&mut rig.open().await, 2..10).await;
}

async fn nacked(cx: Suite) {
    let rig = cx.rig().await;
    rig.put(0..4).await;
    let mut source = rig.open().await;
    takes(&mut source, 0..1).await;
    let refused = next("packet 1", &mut source).await;
    assert_eq!(number_of(&refused), 1);
    let why = Error::new(ErrorKind::Overloaded, "not now");
    soon("the refusal", refused.nack(why)).await.expect("a refusal");
    takes_all(&mut source, 1..4).await;
    rig.put(4..6).await;
    let dropped = next("packet 4", &mut source).await;
    assert_eq!(number_of(&dropped), 4);
    drop(dropped);
    takes_all(&mut source, 4..6).await;
}

/// Takes these packets, in any order: what was refused may come behind others.
async fn takes_all(source: &mut AnySource, numbers: std::ops::Range<u64>) {
    let mut open: Vec<_> = numbers.collect();
    while !open.is_empty() {
        let delivery = next(&format!("one of the packets {open:?}"), source).await;
        let number = number_of(&delivery);
        let at = open.iter().position(|open| *open == number);
        open.remove(at.unwrap_or_else(|| panic!("packet {number} came instead of one of {open:?}")));
        ack(delivery).await;
    }
}

async fn gap(cx: Suite) {
    if cx.expect.max_unacked == 1 {
        return;
    }
    let rig = cx.rig().await;
    rig.put(0..4).await;
    let mut source = rig.open().await;
    let first = next("packet 0", &mut source).await;
    let second = next("packet 1", &mut source).await;
    assert_eq!((number_of(&first), number_of(&second)), (0, 1));
    ack(second).await;
    drop(source);
    std::mem::forget(first);
    let mut source = rig.open().await;
    let again = next("packet 0 again", &mut source).await;
    assert_eq!(number_of(&again), 0, "the packet that was not acknowledged");
    ack(again).await;
}

async fn bounded(cx: Suite) {
    let most = cx.expect.max_unacked;
    let rig = cx.rig().await;
    rig.put(0..most as u64 + 5).await;
    let mut source = rig.open().await;
    let mut held = std::collections::VecDeque::new();
    for number in 0..most {
        held.push_back(next(&format!("packet {number}"), &mut source).await);
    }
    let more = tokio::time::timeout(std::time::Duration::from_millis(300), source.next()).await;
    assert!(more.is_err(), "packet {most} came although {most} were not acknowledged");
    ack(held.pop_front().expect("one is held")).await;
    let delivery = next("the next packet after an acknowledgement", &mut source).await;
    assert_eq!(number_of(&delivery), most as u64);
}

async fn cancelled(cx: Suite) {
    let rig = cx.rig().await;
    let mut source = rig.open().await;
    let putting = go({
        let rig = rig.clone();
        async move {
            for number in 0..60 {
                rig.put(number..number + 1).await;
            }
        }
    });
    let mut turn = 0;
    for number in 0..60 {
        let delivery = soon(&format!("packet {number}"), async {
            loop {
                turn += 1;
                match polled(turn % 5, source.next()).await {
                    Some(next) => break next.expect("no error").expect("no end"),
                    None => tokio::time::sleep(std::time::Duration::from_micros(200)).await,
                }
            }
        })
        .await;
        assert_eq!(number_of(&delivery), number, "the packet that comes next");
        ack(delivery).await;
    }
    done("the packets to be put", putting).await;
}

async fn answered_late(cx: Suite) {
    let rig = cx.rig().await;
    rig.put(0..3).await;
    let mut source = rig.open().await;
    let held = next("packet 0", &mut source).await;
    assert_eq!(number_of(&held), 0);
    drop(source);
    let receipt = Receipt::new(Level::Stored, held.packet().id());
    let begin = match soon("the late acknowledgement", held.ack(receipt)).await {
        Ok(()) => 1,
        Err(why) => {
            assert_eq!(why.kind(), ErrorKind::Closed, "{why}");
            0
        }
    };
    takes(&mut rig.open().await, begin..3).await;
}
