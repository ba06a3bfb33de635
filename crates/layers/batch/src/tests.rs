mod histories;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use haul_core::{Deliver, DeliverAll, Level, Status};
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::*;

/// Notes the deliveries; each waits for a turn, fails packets that begin with `no`, and fails whole if told so.
struct Probe {
    seen: Mutex<Vec<Vec<String>>>,
    turns: Semaphore,
    under_way: AtomicUsize,
    closed: AtomicUsize,
    whole: Option<Error>,
    outcomes: Option<usize>,
}

fn probe(turns: usize) -> Probe {
    Probe {
        seen: Mutex::default(),
        turns: Semaphore::new(turns),
        under_way: AtomicUsize::new(0),
        closed: AtomicUsize::new(0),
        whole: None,
        outcomes: None,
    }
}

const OPEN: usize = 1 << 20;

impl Probe {
    fn seen(&self) -> Vec<Vec<String>> {
        self.seen.lock().unwrap().clone()
    }
}

struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service<Batch> for Probe {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let texts = || batch.packets().iter().map(|packet| packet.as_text().unwrap().to_owned());
        self.seen.lock().unwrap().push(texts().collect());
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let _under_way = UnderWay(&self.under_way);
        self.turns.acquire().await.unwrap().forget();
        if let Some(why) = &self.whole {
            return Err(why.clone());
        }
        let outcome = |text: String| match text.starts_with("no") {
            true => Err(Error::new(ErrorKind::Rejected, text)),
            false => Ok(Receipt::new(Level::Stored, None).with_reference(text)),
        };
        Ok(texts().map(outcome).take(self.outcomes.unwrap_or(usize::MAX)).collect())
    }
}

impl Sink for Probe {
    async fn close(&self) -> Result<()> {
        self.closed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn batcher(options: BatchOptions, probe: Probe) -> (Batcher<Probe>, Arc<Probe>) {
    let batcher = BatchLayer::new(options).unwrap().layer(probe);
    let probe = batcher.inner.clone();
    (batcher, probe)
}

fn text(text: impl Into<String>) -> Packet {
    Packet::text(text)
}

/// Lets the other tasks run until all of them wait; the clock does not move meanwhile.
async fn all_idle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_at_once_go_in_one_delivery_and_each_has_its_own_outcome() {
    let (batcher, probe) = batcher(BatchOptions::default(), probe(OPEN));
    let texts = ["a", "no b", "c"];
    let outcomes = join_all(texts.map(|packet| batcher.deliver(text(packet)))).await;
    assert_eq!(probe.seen(), [texts]);
    assert_eq!(outcomes[0].as_ref().unwrap().reference.as_deref(), Some("a"));
    assert_eq!(outcomes[1].as_ref().unwrap_err().message(), "no b");
    assert_eq!(outcomes[2].as_ref().unwrap().reference.as_deref(), Some("c"));
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_its_first_packet_has_waited_and_at_once_when_it_is_full() {
    let options =
        BatchOptions { count: 3, bytes: 1000, after: Duration::from_millis(70), ..BatchOptions::default() };
    for (calls, bytes, waited) in [(2, 1, 70), (3, 1, 0), (2, 436, 0), (2, 435, 70)] {
        let (batcher, probe) = batcher(options, probe(OPEN));
        let start = Instant::now();
        let packets = vec![text("x".repeat(bytes)); calls];
        join_all(packets.into_iter().map(|packet| batcher.deliver(packet))).await;
        assert_eq!(start.elapsed().as_millis(), waited, "{calls} packets of {bytes} bytes");
        assert_eq!(probe.seen().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn no_delivery_has_more_than_count_and_bytes_but_one_callers_own_batch_is_never_split() {
    let options = BatchOptions { count: 4, bytes: 1000, ..BatchOptions::default() };
    let (batcher, probe) = batcher(options, probe(OPEN));
    let many = |name: &str, count| {
        batcher.deliver_all((0..count).map(|n| text(format!("{name}{n}"))).collect::<Batch>())
    };
    let (a, b, c, d) = tokio::join!(many("a", 3), many("b", 2), many("c", 9), many("d", 1));
    assert_eq!([a, b, c, d].map(|outcomes| outcomes.unwrap().len()), [3, 2, 9, 1]);
    assert_eq!(probe.seen().iter().map(Vec::len).collect::<Vec<_>>(), [3, 2, 9, 1]);
    let large = join_all((0..3).map(|_| batcher.deliver(text("x".repeat(400))))).await;
    assert!(large.iter().all(Result::is_ok));
    assert_eq!(probe.seen()[4..].iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    assert!(batcher.deliver_all(Vec::new()).await.unwrap().is_empty());
    assert_eq!(probe.seen().len(), 6, "an empty batch is no delivery");
}

#[tokio::test(start_paused = true)]
async fn with_one_in_flight_packets_keep_their_order_and_gather_behind_it() {
    let options = BatchOptions { after: Duration::ZERO, count: 10, ..BatchOptions::default() };
    let (batcher, probe) = batcher(options, probe(0));
    let calls = tokio::spawn({
        let batcher = batcher.clone();
        async move { join_all((0..25).map(|n| batcher.deliver(text(n.to_string())))).await }
    });
    until("the first delivery", || probe.under_way.load(Ordering::SeqCst) == 1).await;
    for _ in 0..10 {
        yield_now().await;
        assert!(probe.under_way.load(Ordering::SeqCst) <= 1, "more under way than one");
        probe.turns.add_permits(1);
    }
    assert_eq!(calls.await.unwrap().len(), 25);
    let seen = probe.seen();
    assert!(seen.len() <= 4, "packets did not gather behind the first: {seen:?}");
    let all: Vec<_> = seen.into_iter().flatten().collect();
    assert_eq!(all, (0..25).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn as_many_deliveries_are_under_way_as_allowed_and_no_more() {
    let options = BatchOptions { count: 1, in_flight: 3, ..BatchOptions::default() };
    let (batcher, probe) = batcher(options, probe(0));
    let calls: Vec<_> = (0..9)
        .map(|_| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.deliver(text("x")).await })
        })
        .collect();
    until("three deliveries", || probe.under_way.load(Ordering::SeqCst) == 3).await;
    for _ in 0..100 {
        yield_now().await;
        assert_eq!(probe.under_way.load(Ordering::SeqCst), 3);
    }
    probe.turns.add_permits(9);
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_beyond_those_that_may_wait_waits_for_room() {
    let options = BatchOptions { count: 1, waiting: 2, ..BatchOptions::default() };
    let (batcher, probe) = batcher(options, probe(0));
    let calls: Vec<_> = (0..9)
        .map(|_| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.deliver(text("x")).await })
        })
        .collect();
    until("no room", || batcher.units().unwrap().capacity() == 0).await;
    assert_eq!(batcher.units().unwrap().max_capacity(), 2);
    probe.turns.add_permits(9);
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_packet_whose_caller_is_gone_goes_only_if_its_batch_had_left() {
    let (batcher, probe) = batcher(BatchOptions::default(), probe(0));
    let call = |packet: &'static str| {
        let batcher = batcher.clone();
        tokio::spawn(async move { batcher.deliver(text(packet)).await })
    };
    let (stays, leaves) = (call("stays"), call("leaves early"));
    all_idle().await;
    leaves.abort();
    assert!(leaves.await.unwrap_err().is_cancelled());
    until("the delivery", || probe.under_way.load(Ordering::SeqCst) == 1).await;
    assert_eq!(probe.seen(), [["stays"]]);
    let (late, other) = (call("leaves late"), call("other"));
    probe.turns.add_permits(1);
    stays.await.unwrap().unwrap();
    until("the second delivery", || probe.seen().len() == 2).await;
    late.abort();
    probe.turns.add_permits(1);
    other.await.unwrap().unwrap();
    assert_eq!(probe.seen()[1], ["leaves late", "other"]);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_nobody_waits_for_any_more_is_dropped() {
    let (batcher, probe) = batcher(BatchOptions::default(), probe(0));
    let calls = [0, 1].map(|_| {
        let batcher = batcher.clone();
        tokio::spawn(async move { batcher.deliver(text("x")).await })
    });
    until("the delivery", || probe.under_way.load(Ordering::SeqCst) == 1).await;
    let [first, second] = calls;
    first.abort();
    all_idle().await;
    assert_eq!(probe.under_way.load(Ordering::SeqCst), 1, "somebody still waits");
    second.abort();
    until("the delivery to be dropped", || probe.under_way.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn close_delivers_what_waits_at_once_and_then_refuses() {
    let options = BatchOptions { after: Duration::from_secs(3600), ..BatchOptions::default() };
    let (batcher, probe) = batcher(options, probe(0));
    let start = Instant::now();
    let calls = tokio::spawn({
        let batcher = batcher.clone();
        async move { join_all(["a", "b"].map(|packet| batcher.deliver(text(packet)))).await }
    });
    all_idle().await;
    let closing = tokio::spawn({
        let batcher = batcher.clone();
        async move { batcher.close().await }
    });
    until("the delivery", || probe.under_way.load(Ordering::SeqCst) == 1).await;
    assert_eq!(probe.closed.load(Ordering::SeqCst), 0, "closed before it was drained");
    let refused = batcher.deliver(text("late")).await.unwrap_err();
    assert_eq!((refused.kind(), refused.sent()), (ErrorKind::Closed, Sent::No));
    probe.turns.add_permits(1);
    assert!(calls.await.unwrap().iter().all(Result::is_ok));
    closing.await.unwrap().unwrap();
    assert_eq!((probe.seen(), probe.closed.load(Ordering::SeqCst)), (vec![vec!["a".into(), "b".into()]], 1));
    assert!(start.elapsed() < Duration::from_secs(3600), "it waited for more");
    batcher.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_fails_whole_answers_everyone() {
    let why = Error::new(ErrorKind::Connect, "refused").exhausted();
    let (batcher, _) = batcher(BatchOptions::default(), Probe { whole: Some(why), ..probe(OPEN) });
    let (one, many) =
        tokio::join!(batcher.deliver(text("a")), batcher.deliver_all(vec![text("b"), text("c")]));
    for error in [one.unwrap_err(), many.unwrap_err()] {
        assert_eq!(
            (error.kind(), error.status(), error.sent()),
            (ErrorKind::Connect, Status::Exhausted, Sent::No)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_answers_too_few_outcomes_is_told_and_nothing_is_ok() {
    let (batcher, _) = batcher(BatchOptions::default(), Probe { outcomes: Some(1), ..probe(OPEN) });
    for outcome in join_all(["a", "b"].map(|packet| batcher.deliver(text(packet)))).await {
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Internal, Sent::Maybe));
        assert_eq!(error.message(), "deliver_all 2 packets: the service answered 1 outcomes");
    }
}

#[test]
fn a_batcher_whose_runtime_ended_says_that_it_is_closed() {
    let (batcher, _) = batcher(BatchOptions::default(), probe(OPEN));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime().block_on(batcher.deliver(text("x"))).unwrap();
    let error = runtime().block_on(batcher.deliver(text("x"))).unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Closed, Sent::No));
}

#[test]
fn options_come_from_toml_and_wrong_ones_are_refused() {
    let options: BatchOptions = toml::from_str("count = 7\nbytes = \"4KiB\"\nafter = \"1s\"").unwrap();
    let expected =
        BatchOptions { count: 7, bytes: 4096, after: Duration::from_secs(1), ..BatchOptions::default() };
    assert_eq!(options, expected);
    assert!(toml::from_str::<BatchOptions>("size = 7").is_err());
    let wrong: BTreeMap<&str, &str> = [
        ("count = 0", "count"),
        ("in_flight = 0", "in_flight"),
        ("waiting = 1048577", "waiting"),
        ("bytes = 0", "bytes"),
    ]
    .into();
    for (text, name) in wrong {
        let error = BatchLayer::new(toml::from_str(text).unwrap()).unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.message().contains(name), "{error}");
    }
}
