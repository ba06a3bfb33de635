//! What every layer promises.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use haul_core::{
    Batch, Error, ErrorKind, Input, Level, Packet, PacketId, Receipt, Result, Sent, Service, Shared, Status,
};
use tokio::sync::Semaphore;

use crate::expect::{self, Section};
use crate::packets::polled;
use crate::run::{Check, Plan, checks, done, go, runs};
use crate::soon;

/// Runs the suite over a layer around *deliver*. Panics with the promises that were broken.
pub async fn suite(name: &str, wrap: impl Fn(Shared<Packet>) -> Shared<Packet> + Send + Sync + 'static) {
    Suite::new(name, wrap).run().await;
}

/// Runs the suite over a layer around *deliver many*. Panics with the promises that were broken.
pub async fn batch_suite(name: &str, wrap: impl Fn(Shared<Batch>) -> Shared<Batch> + Send + Sync + 'static) {
    BatchSuite::new(name, wrap).run().await;
}

type Wrap<In> = Arc<dyn Fn(Shared<In>) -> Shared<In> + Send + Sync>;

/// The suite around *deliver*, with settings.
#[derive(Clone)]
pub struct Suite {
    pub(crate) plan: Plan,
    expect: expect::Layer,
    wrap: Wrap<Packet>,
}

/// The suite around *deliver many*, with settings.
#[derive(Clone)]
pub struct BatchSuite {
    pub(crate) plan: Plan,
    wrap: Wrap<Batch>,
}

impl Suite {
    /// The suite for the section `name` of `capabilities.toml`.
    pub fn new(name: &str, wrap: impl Fn(Shared<Packet>) -> Shared<Packet> + Send + Sync + 'static) -> Self {
        Self { plan: Plan::new(name), expect: Section::layer(name), wrap: Arc::new(wrap) }
    }
}

impl BatchSuite {
    /// The suite for the section `name` of `capabilities.toml`.
    pub fn new(name: &str, wrap: impl Fn(Shared<Batch>) -> Shared<Batch> + Send + Sync + 'static) -> Self {
        // The section must stand there.
        Section::layer(name);
        Self { plan: Plan::new(name), wrap: Arc::new(wrap) }
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl fmt::Debug for BatchSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchSuite").field("plan", &self.plan).finish_non_exhaustive()
    }
}

runs!(Suite, CHECKS);
runs!(BatchSuite, BATCH_CHECKS);

const CHECKS: &[Check<Suite>] = checks![Suite;
    answer => "input and answer pass unchanged",
    waits => "a call is answered when the inner call is, not before",
    errors => "an error keeps its kind, status, sent, wait and words",
    transient => "what may help is tried again where the layer says so, and tried once where not",
    permanent => "what will never work is tried once",
    exhausted => "what was tried already is not multiplied",
    maybe => "what may have been sent is not sent again without an id",
    cancelled => "dropping a call drops the inner call",
    concurrent => "calls go on at once",
];

const BATCH_CHECKS: &[Check<BatchSuite>] = checks![BatchSuite;
    outcomes => "a batch has one outcome per packet, in order",
    partial => "of a batch only what is undone may be sent again",
];

type Answer<In> = Box<dyn Fn(&In) -> Result<<In as Input>::Out> + Send + Sync>;

/// A service that notes what it is called with, counts calls under way, and answers as it is told.
struct Probe<In: Input> {
    inputs: Mutex<Vec<In>>,
    under_way: AtomicUsize,
    dropped: AtomicUsize,
    /// A call takes one before it answers.
    turns: Semaphore,
    answer: Answer<In>,
}

impl<In: Input> Probe<In> {
    fn new(turns: usize, answer: impl Fn(&In) -> Result<In::Out> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            inputs: Mutex::default(),
            under_way: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            turns: Semaphore::new(turns),
            answer: Box::new(answer),
        })
    }

    fn calls(&self) -> usize {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

struct Under<'a>(&'a AtomicUsize, &'a AtomicUsize, bool);

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
        if !self.2 {
            self.1.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl<In: Input + Sync> Service<In> for Probe<In> {
    async fn call(&self, input: In) -> Result<In::Out> {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        let mut under = Under(&self.under_way, &self.dropped, false);
        let answer = (self.answer)(&input);
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).push(input);
        self.turns.acquire().await.expect("it is not closed").forget();
        under.2 = true;
        answer
    }
}

const UNLIMITED: usize = 1 << 20;

fn stored(packet: &Packet) -> Result<Receipt> {
    Ok(Receipt::new(Level::Stored, packet.id()).with_reference("7"))
}

fn identified(text: &'static str) -> Packet {
    Packet::text(text).with_id(PacketId::from_bytes([7; 16]))
}

async fn call(service: &Shared<Packet>, packet: Packet) -> Result<Receipt> {
    soon("the answer", service.call(packet)).await
}

async fn answer(cx: Suite) {
    let probe = Probe::new(UNLIMITED, stored);
    let service = (cx.wrap)(Shared::new(probe.clone()));
    for packet in [
        Packet::text("plain"),
        Packet::binary(&b"\xff"[..]).with("session_id", "7"),
        identified("with an id").unreliable(),
    ] {
        let receipt = call(&service, packet.clone()).await.expect("an answer");
        assert_eq!((receipt.level, receipt.id), (Level::Stored, packet.id()));
        assert_eq!(receipt.reference.as_deref(), Some("7"));
        let last = probe.inputs.lock().expect("no panic").pop();
        assert_eq!(last, Some(packet), "what the inner service was called with");
        assert_eq!(probe.calls(), 0, "more than one call");
    }
}

async fn waits(cx: Suite) {
    let probe = Probe::new(0, stored);
    let service = (cx.wrap)(Shared::new(probe.clone()));
    let mut calling = Box::pin(service.call(Packet::text("slow")));
    assert!(polled(1, &mut calling).await.is_none(), "answered before the inner service did");
    probe.turns.add_permits(1);
    soon("the answer", calling).await.expect("an answer");
    assert_eq!(probe.calls(), 1, "calls of the inner service");
}

async fn errors(cx: Suite) {
    let kinds = ErrorKind::ALL.into_iter();
    let all = kinds.flat_map(|kind| {
        [Status::Transient, Status::Permanent, Status::Exhausted]
            .into_iter()
            .flat_map(move |status| [Sent::No, Sent::Maybe].map(move |sent| (kind, status, sent)))
    });
    for (kind, status, sent) in all {
        let why = Error::new(kind, "the very words")
            .with_status(status)
            .with_sent(sent)
            .with_retry_after(std::time::Duration::from_millis(1));
        let probe = Probe::new(UNLIMITED, move |_: &Packet| Err(why.clone()));
        let service = (cx.wrap)(Shared::new(probe.clone()));
        // With an id, so that a layer that tries again may do so whatever was sent.
        let error = call(&service, identified("x")).await.expect_err("an error became Ok");
        let want = match status {
            Status::Transient if cx.expect.exhausts => Status::Exhausted,
            status => status,
        };
        assert_eq!((error.kind(), error.status(), error.sent()), (kind, want, sent), "{error:?}");
        assert!(error.to_string().contains("the very words"), "{error}");
        assert!(error.retry_after().is_some(), "the wait is gone from {error:?}");
    }
}

/// How often the inner service is called for an error.
async fn tries(cx: &Suite, why: Error, packet: Packet) -> usize {
    let probe = Probe::new(UNLIMITED, move |_: &Packet| Err(why.clone()));
    let service = (cx.wrap)(Shared::new(probe.clone()));
    call(&service, packet).await.expect_err("an error became Ok");
    probe.calls()
}

async fn transient(cx: Suite) {
    let failed = AtomicUsize::new(0);
    let probe = Probe::new(UNLIMITED, move |packet: &Packet| match failed.fetch_add(1, Ordering::AcqRel) {
        0 => Err(Error::new(ErrorKind::Connect, "not yet").with_sent(Sent::No)),
        _ => stored(packet),
    });
    let service = (cx.wrap)(Shared::new(probe.clone()));
    let answer = call(&service, Packet::text("x")).await;
    if cx.expect.exhausts {
        answer.expect("the answer of the second try");
        assert_eq!(probe.calls(), 2, "calls");
    } else {
        answer.expect_err("an error became Ok");
        assert_eq!(probe.calls(), 1, "calls");
    }
}

async fn permanent(cx: Suite) {
    let why = Error::new(ErrorKind::Rejected, "never").with_sent(Sent::No);
    assert_eq!(tries(&cx, why, identified("x")).await, 1, "calls");
}

async fn exhausted(cx: Suite) {
    let why = Error::new(ErrorKind::Connect, "tried already").exhausted();
    assert_eq!(why.status(), Status::Exhausted);
    assert_eq!(tries(&cx, why, identified("x")).await, 1, "calls");
}

async fn maybe(cx: Suite) {
    let why = Error::new(ErrorKind::Timeout, "no answer").with_sent(Sent::Maybe);
    assert_eq!(tries(&cx, why, Packet::text("no id")).await, 1, "calls");
}

async fn cancelled(cx: Suite) {
    for polls in 1..4 {
        let probe = Probe::new(0, stored);
        let service = (cx.wrap)(Shared::new(probe.clone()));
        let mut calling = Box::pin(service.call(Packet::text("x")));
        assert!(polled(1, &mut calling).await.is_none());
        // Some layers call from their second poll on.
        for _ in 1..polls {
            tokio::task::yield_now().await;
            assert!(polled(1, &mut calling).await.is_none());
        }
        let called = probe.calls();
        drop(calling);
        crate::packets::until("the inner call to be dropped", || {
            probe.dropped.load(Ordering::Acquire) == called && probe.under_way.load(Ordering::Acquire) == 0
        })
        .await;
        assert_eq!(probe.calls(), called, "calls after the outer one was dropped");
    }
}

async fn concurrent(cx: Suite) {
    let probe = Probe::new(0, stored);
    let service = (cx.wrap)(Shared::new(probe.clone()));
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let service = service.clone();
            go(async move { service.call(Packet::text("x")).await })
        })
        .collect();
    crate::packets::until("50 calls to be under way at once", || {
        probe.under_way.load(Ordering::Acquire) == 50
    })
    .await;
    probe.turns.add_permits(50);
    for call in calls {
        done("a call", call).await.expect("an answer");
    }
    assert_eq!(probe.calls(), 50, "calls of the inner service");
}

fn batch(ids: bool) -> Batch {
    let packets = (0..20u8).map(|number| {
        let packet = Packet::binary(vec![number]);
        if ids { packet.with_id(PacketId::from_bytes([number; 16])) } else { packet }
    });
    packets.collect()
}

async fn outcomes(cx: BatchSuite) {
    let probe = Probe::new(UNLIMITED, |batch: &Batch| {
        let number = |packet: &Packet| packet.payload()[0];
        let outcome = |packet: &Packet| match number(packet) % 3 {
            0 => Err(Error::new(ErrorKind::Rejected, format!("number {}", number(packet)))),
            _ => Ok(Receipt::new(Level::Stored, None).with_reference(number(packet).to_string())),
        };
        Ok(batch.packets().iter().map(outcome).collect())
    });
    let service = (cx.wrap)(Shared::new(probe.clone()));
    let outcomes = soon("the outcomes", service.call(batch(false))).await.expect("outcomes");
    assert_eq!(outcomes.len(), 20, "outcomes");
    for (number, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(receipt) => {
                assert_ne!(number % 3, 0, "packet {number} was refused, and its outcome is Ok");
                assert_eq!(
                    receipt.reference,
                    Some(number.to_string().into()),
                    "the outcome of another packet"
                );
            }
            Err(why) => {
                assert_eq!(number % 3, 0, "packet {number} was delivered, and its outcome is {why}");
                assert!(
                    why.to_string().contains(&format!("number {number}")),
                    "the outcome of another: {why}"
                );
            }
        }
    }
    assert_eq!(probe.calls(), 1, "a batch whose failures are permanent was sent again");
}

async fn partial(cx: BatchSuite) {
    // Of each batch the first half is stored; of the rest nobody knows.
    let probe = Probe::new(UNLIMITED, |batch: &Batch| {
        let half = batch.len().div_ceil(2);
        let outcome = |(at, packet): (usize, &Packet)| {
            if at < half {
                return Ok(Receipt::new(Level::Stored, packet.id()));
            }
            Err(Error::new(ErrorKind::Timeout, "no answer").with_sent(Sent::Maybe))
        };
        Ok(batch.packets().iter().enumerate().map(outcome).collect())
    });
    let service = (cx.wrap)(Shared::new(probe.clone()));
    for ids in [false, true] {
        let outcomes = soon("the outcomes", service.call(batch(ids))).await.expect("outcomes");
        assert_eq!(outcomes.len(), 20, "outcomes");
        let inputs = std::mem::take(&mut *probe.inputs.lock().expect("no panic"));
        let mut stored = Vec::new();
        for (round, input) in inputs.iter().enumerate() {
            let again = input.packets().iter().find(|packet| stored.contains(*packet));
            assert_eq!(again, None, "a packet that was stored was sent again in round {round}");
            stored.extend_from_slice(&input.packets()[..input.len().div_ceil(2)]);
        }
        if !ids {
            assert_eq!(inputs.len(), 1, "what may have been sent was sent again without an id");
        }
        for (packet, outcome) in batch(ids).packets().iter().zip(&outcomes) {
            assert_eq!(
                outcome.is_ok(),
                stored.contains(packet),
                "the outcome of packet {packet:?} is {outcome:?}"
            );
        }
    }
}
