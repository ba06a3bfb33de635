use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use haul_core::{AnySink, Deliver, DeliverAll, Level, Sent, Shared, Status, service_fn};

use super::*;

type Outcome = Result<Receipt>;

fn ok(level: Level) -> Outcome {
    Ok(Receipt::new(level, None))
}

fn failed(status: Status) -> Outcome {
    Err(Error::new(ErrorKind::Overloaded, "full").with_status(status))
}

const STORED: fn() -> Outcome = || ok(Level::Stored);
const TRANSIENT: fn() -> Outcome = || failed(Status::Transient);
const EXHAUSTED: fn() -> Outcome = || failed(Status::Exhausted);
const PERMANENT: fn() -> Outcome = || failed(Status::Permanent);

/// What three members make of a packet.
fn merged(need: Need, outcomes: [fn() -> Outcome; 3]) -> Outcome {
    merge(need.of(3), outcomes.map(|outcome| outcome()))
}

#[test]
fn a_packet_is_delivered_when_as_many_as_must_accept_it_do() {
    for (accepting, delivered) in [
        (0, [false, false, false]),
        (1, [true, false, false]),
        (2, [true, true, false]),
        (3, [true, true, true]),
    ] {
        let outcome = |at| if at < accepting { STORED } else { TRANSIENT };
        let answers =
            [Need::Any, Need::Quorum, Need::All].map(|need| merged(need, [0, 1, 2].map(outcome)).is_ok());
        assert_eq!(answers, delivered, "{accepting} of 3 accept");
    }
    assert_eq!([1, 2, 3, 4, 5].map(|members| Need::Quorum.of(members)), [1, 2, 2, 3, 3]);
}

#[test]
fn the_receipt_has_the_level_that_as_many_as_must_reached() {
    let levels = [|| ok(Level::Sent), STORED, || ok(Level::Acknowledged)];
    for (need, level) in
        [(Need::Any, Level::Stored), (Need::Quorum, Level::Acknowledged), (Need::All, Level::Sent)]
    {
        assert_eq!(merged(need, levels).unwrap().level, level, "{need:?}");
    }
}

#[test]
fn the_error_says_whether_trying_again_can_help() {
    for (need, outcomes, status) in [
        (Need::All, [STORED, TRANSIENT, TRANSIENT], Status::Transient),
        (Need::All, [STORED, TRANSIENT, EXHAUSTED], Status::Exhausted),
        (Need::All, [STORED, TRANSIENT, PERMANENT], Status::Permanent),
        (Need::Quorum, [STORED, TRANSIENT, PERMANENT], Status::Transient),
        (Need::Quorum, [STORED, EXHAUSTED, PERMANENT], Status::Exhausted),
        (Need::Quorum, [TRANSIENT, PERMANENT, PERMANENT], Status::Permanent),
        (Need::Any, [TRANSIENT, PERMANENT, PERMANENT], Status::Transient),
        (Need::Any, [EXHAUSTED, PERMANENT, PERMANENT], Status::Exhausted),
        (Need::Any, [PERMANENT, PERMANENT, PERMANENT], Status::Permanent),
    ] {
        assert_eq!(merged(need, outcomes).unwrap_err().status(), status, "{need:?}");
    }
}

#[test]
fn what_one_member_accepted_or_may_have_is_not_unsent() {
    let maybe: fn() -> Outcome = || Err(Error::new(ErrorKind::Timeout, "no answer"));
    for (outcomes, sent) in [
        ([TRANSIENT, TRANSIENT, TRANSIENT], Sent::No),
        ([TRANSIENT, STORED, TRANSIENT], Sent::Maybe),
        ([TRANSIENT, TRANSIENT, maybe], Sent::Maybe),
    ] {
        assert_eq!(merged(Need::All, outcomes).unwrap_err().sent(), sent);
    }
    let error = merged(Need::All, [TRANSIENT, STORED, TRANSIENT]).unwrap_err();
    assert_eq!(error.to_string(), "full (accepted=1 of 3, needed=3)");
}

/// A member that takes what is shorter than `most`, and what it took.
fn takes(most: usize) -> (Shared<Batch>, Arc<Mutex<Vec<usize>>>) {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let seen = taken.clone();
    let member = service_fn(move |batch: Batch| {
        let outcome = |packet: &Packet| match packet.len() < most {
            true => {
                seen.lock().unwrap().push(packet.len());
                STORED()
            }
            false => Err(Error::new(ErrorKind::TooLarge, "too large")),
        };
        let outcomes = batch.packets().iter().map(outcome).collect();
        async { Ok(outcomes) }
    });
    (Shared::new(member), taken)
}

#[tokio::test]
async fn packets_of_a_batch_have_outcomes_of_their_own_and_each_member_gets_each_once() {
    let ((a, at_a), (b, at_b), (c, at_c)) = (takes(1), takes(2), takes(3));
    for (need, delivered) in [
        (Need::Any, [true, true, true, false]),
        (Need::Quorum, [true, true, false, false]),
        (Need::All, [true, false, false, false]),
    ] {
        let fanout =
            FanoutLayer::new(FanoutOptions { need }, [b.clone(), c.clone()]).unwrap().layer(a.clone());
        let batch: Batch = (0..4).map(|len| Packet::text("x".repeat(len))).collect();
        let outcomes = fanout.deliver_all(batch).await.unwrap();
        assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), delivered);
        for (taken, most) in [(&at_a, 1), (&at_b, 2), (&at_c, 3)] {
            assert_eq!(std::mem::take(&mut *taken.lock().unwrap()), (0..most).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn a_member_that_fails_whole_or_miscounts_fails_each_packet_there() {
    let whole = Shared::new(service_fn(|_: Batch| async { Err(Error::new(ErrorKind::Connect, "refused")) }));
    let miscounts = Shared::new(service_fn(|_: Batch| async { Ok(vec![STORED()]) }));
    let two = || vec![Packet::text(""), Packet::text("")];
    let over = |need, first: &Shared<Batch>| {
        FanoutLayer::new(FanoutOptions { need }, [takes(9).0]).unwrap().layer(first.clone())
    };
    for (first, kind) in [(&whole, ErrorKind::Connect), (&miscounts, ErrorKind::Internal)] {
        assert!(over(Need::Any, first).deliver_all(two()).await.unwrap().iter().all(Result::is_ok));
        for outcome in over(Need::All, first).deliver_all(two()).await.unwrap() {
            let error = outcome.unwrap_err();
            assert_eq!((error.kind(), error.sent()), (kind, Sent::Maybe));
        }
    }
    let both = FanoutLayer::new(FanoutOptions::default(), [whole.clone()]).unwrap().layer(whole);
    let error = both.deliver_all(two()).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Connect, Sent::No));
}

#[tokio::test(start_paused = true)]
async fn members_are_called_at_once_and_the_slowest_is_waited_for() {
    let slow = |seconds| {
        Shared::new(service_fn(move |_: Packet| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            STORED()
        }))
    };
    let start = tokio::time::Instant::now();
    let fanout =
        FanoutLayer::new(FanoutOptions { need: Need::Any }, [slow(5), slow(2)]).unwrap().layer(slow(1));
    fanout.deliver(Packet::text("x")).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 5);
}

struct Door(Result<()>, Arc<AtomicUsize>);

impl Service<Batch> for Door {
    async fn call(&self, _: Batch) -> Result<Vec<Outcome>> {
        Ok(Vec::new())
    }
}

impl Sink for Door {
    async fn ready(&self) -> Result<()> {
        self.0.clone()
    }

    async fn close(&self) -> Result<()> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.clone()
    }
}

#[tokio::test]
async fn it_is_ready_when_as_many_are_as_must_accept_and_closes_all() {
    let closed = Arc::new(AtomicUsize::new(0));
    let door = |answer: Result<()>| AnySink::new(Door(answer, closed.clone()));
    let down = || Err(Error::new(ErrorKind::Connect, "refused"));
    for (need, ready) in [(Need::Any, true), (Need::Quorum, true), (Need::All, false)] {
        let others = [door(Ok(())), door(Ok(()))];
        let fanout = FanoutLayer::new(FanoutOptions { need }, others).unwrap().layer(door(down()));
        assert_eq!(fanout.ready().await.is_ok(), ready, "{need:?}");
        assert_eq!(fanout.close().await.unwrap_err().kind(), ErrorKind::Connect);
    }
    assert_eq!(closed.load(Ordering::SeqCst), 9);
}

#[test]
fn options_come_from_toml_and_wrong_ones_are_refused() {
    let options: FanoutOptions = toml::from_str("need = \"quorum\"").unwrap();
    assert_eq!(options, FanoutOptions { need: Need::Quorum });
    assert!(toml::from_str::<FanoutOptions>("need = \"most\"").is_err());
    assert!(toml::from_str::<FanoutOptions>("needs = \"all\"").is_err());
    for others in [0, MAX_MEMBERS] {
        let error = FanoutLayer::new(FanoutOptions::default(), vec![(); others]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
