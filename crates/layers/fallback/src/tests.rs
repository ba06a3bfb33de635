use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use haul_core::{
    AnySink, Batch, Call, Deliver, DeliverAll, Level, Packet, PacketId, Receipt, Request, Response, Sent,
    Shared, service_fn,
};
use tokio::time::advance;

use super::*;

/// A service that answers its name, or the error it was told, and counts its calls.
struct Peer {
    name: &'static str,
    fails: Mutex<Option<Error>>,
    calls: AtomicUsize,
}

impl Peer {
    fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, fails: Mutex::default(), calls: AtomicUsize::new(0) })
    }

    fn fails(&self, why: impl Into<Option<Error>>) {
        *self.fails.lock().unwrap() = why.into();
    }

    /// Calls since this was asked last.
    fn calls(&self) -> usize {
        self.calls.swap(0, Ordering::SeqCst)
    }
}

impl Service<Packet> for Peer {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match self.fails.lock().unwrap().clone() {
            Some(why) => Err(why),
            None => Ok(Receipt::new(Level::Stored, packet.id()).with_reference(self.name)),
        }
    }
}

fn over<const N: usize>(
    options: FallbackOptions,
    names: [&'static str; N],
) -> (Fallback<Arc<Peer>>, [Arc<Peer>; N]) {
    let peers = names.map(Peer::new);
    let layer = FallbackLayer::new(options, &peers[1..]).unwrap();
    (layer.layer(peers[0].clone()), peers)
}

fn down() -> Error {
    Error::new(ErrorKind::Connect, "refused")
}

async fn who(fallback: &Fallback<Arc<Peer>>) -> String {
    fallback.deliver(Packet::text("x")).await.unwrap().reference.unwrap().into_owned()
}

const PROBE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn the_first_that_works_is_called_in_order() {
    let (fallback, [a, b, c]) = over(FallbackOptions::default(), ["a", "b", "c"]);
    assert_eq!(who(&fallback).await, "a");
    a.fails(down());
    assert_eq!((who(&fallback).await.as_str(), fallback.active()), ("b", 1));
    b.fails(down().exhausted());
    assert_eq!((who(&fallback).await.as_str(), fallback.active()), ("c", 2));
    assert_eq!([a, b, c].map(|peer| peer.calls()), [2, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn one_call_for_each_probe_tries_the_first_again_and_returns_to_it_when_it_works() {
    let (fallback, [a, b]) = over(FallbackOptions { probe: PROBE, on: None }, ["a", "b"]);
    a.fails(down());
    who(&fallback).await;
    advance(PROBE - Duration::from_millis(1)).await;
    who(&fallback).await;
    assert_eq!([&a, &b].map(|peer| peer.calls()), [1, 2], "it was tried before its time");
    advance(Duration::from_millis(2)).await;
    for _ in 0..5 {
        assert_eq!(who(&fallback).await, "b");
    }
    assert_eq!(a.calls(), 1, "calls of the one that fails");
    advance(PROBE + Duration::from_millis(1)).await;
    a.fails(None);
    assert_eq!((who(&fallback).await.as_str(), fallback.active()), ("a", 0));
    assert_eq!(who(&fallback).await, "a");
}

#[tokio::test(start_paused = true)]
async fn while_one_call_finds_out_the_others_pass_it_over() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    let hangs_after_its_failure = Shared::new(service_fn(move |_: Packet| {
        let first = seen.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { Err(down()) } else { std::future::pending().await } }
    }));
    let works = Shared::new(service_fn(|_: Packet| async { Ok(Receipt::new(Level::Stored, None)) }));
    let options = FallbackOptions { probe: PROBE, on: None };
    let fallback = FallbackLayer::new(options, [works]).unwrap().layer(hangs_after_its_failure);
    fallback.deliver(Packet::text("x")).await.unwrap();
    advance(PROBE + Duration::from_millis(1)).await;
    let finds_out = tokio::spawn({
        let fallback = fallback.clone();
        async move { fallback.deliver(Packet::text("x")).await }
    });
    while calls.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    let other = tokio::time::timeout(Duration::from_secs(1), fallback.deliver(Packet::text("x"))).await;
    other.expect("it tried the one that is being tried").unwrap();
    finds_out.abort();
}

#[tokio::test(start_paused = true)]
async fn a_service_that_asks_for_longer_is_passed_over_for_longer() {
    let (fallback, [a, _b]) = over(FallbackOptions { probe: PROBE, on: None }, ["a", "b"]);
    a.fails(down().with_retry_after(PROBE * 3));
    who(&fallback).await;
    advance(PROBE * 2).await;
    who(&fallback).await;
    assert_eq!(a.calls(), 1);
    advance(PROBE * 2).await;
    who(&fallback).await;
    assert_eq!(a.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_none_works_each_call_tries_all_and_answers_the_last_error() {
    let (fallback, peers) = over(FallbackOptions::default(), ["a", "b", "c"]);
    peers.iter().for_each(|peer| peer.fails(Error::new(ErrorKind::Connect, peer.name)));
    for _ in 0..3 {
        assert_eq!(fallback.deliver(Packet::text("x")).await.unwrap_err().message(), "c");
        assert_eq!(peers.each_ref().map(|peer| peer.calls()), [1, 1, 1]);
    }
    peers[1].fails(None);
    assert_eq!((who(&fallback).await.as_str(), fallback.active()), ("b", 1));
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_delivered_goes_to_another_only_with_an_id() {
    let (fallback, [a, b]) = over(FallbackOptions::default(), ["a", "b"]);
    for why in [down().with_sent(Sent::Maybe), down().with_sent(Sent::Maybe).exhausted()] {
        a.fails(why.clone());
        let error = fallback.deliver(Packet::text("no id")).await.unwrap_err();
        assert_eq!((error.status(), error.sent()), (why.status(), Sent::Maybe));
        assert_eq!([&a, &b].map(|peer| peer.calls()), [1, 0]);
        assert_eq!(fallback.active(), 1, "the next call goes elsewhere at once");
        fallback.members[0].health.works();
        fallback.deliver(Packet::text("an id").identified()).await.unwrap();
        assert_eq!([&a, &b].map(|peer| peer.calls()), [1, 1]);
        fallback.members[0].health.works();
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_service_may_have_seen_stays_so_whatever_the_last_one_says() {
    let (fallback, [a, b]) = over(FallbackOptions::default(), ["a", "b"]);
    a.fails(Error::new(ErrorKind::Timeout, "no answer"));
    b.fails(down());
    let error = fallback.deliver(Packet::text("x").identified()).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Connect, Sent::Maybe));
}

#[tokio::test(start_paused = true)]
async fn what_will_never_work_and_kinds_that_are_not_named_stay_where_they_failed() {
    let on = Some(vec![ErrorKind::Connect]);
    let (fallback, [a, b]) = over(FallbackOptions { on, ..FallbackOptions::default() }, ["a", "b"]);
    for (why, moves) in [
        (Error::new(ErrorKind::Rejected, "no"), false),
        (down().with_status(Status::Permanent), false),
        (Error::new(ErrorKind::Overloaded, "full"), false),
        (down(), true),
    ] {
        a.fails(why.clone());
        let answer = fallback.deliver(Packet::text("x")).await;
        assert_eq!((answer.is_ok(), b.calls()), (moves, usize::from(moves)), "{why:?}");
        if let Err(error) = answer {
            assert_eq!((error.kind(), error.status()), (why.kind(), why.status()));
        }
    }
}

/// A service of batches that stores packets by their first letter and fails the others with `why`.
fn stores(letters: &'static str, why: Error) -> (Shared<Batch>, Arc<Mutex<Vec<String>>>) {
    let stored = Arc::new(Mutex::new(Vec::new()));
    let seen = stored.clone();
    let service = service_fn(move |batch: Batch| {
        let outcome = |packet: &Packet| {
            let text = packet.as_text().unwrap();
            seen.lock().unwrap().push(text.to_owned());
            match letters.contains(&text[..1]) {
                true => Ok(Receipt::new(Level::Stored, None).with_reference(letters)),
                false => Err(why.clone()),
            }
        };
        let outcomes = batch.packets().iter().map(outcome).collect();
        async { Ok(outcomes) }
    });
    (Shared::new(service), stored)
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_each_packet_ends_where_it_was_accepted_and_is_delivered_once() {
    // What an inner retry gave up on goes on, too.
    for why in [down(), down().exhausted()] {
        let ((a, at_a), (b, at_b), (c, at_c)) =
            (stores("a", why.clone()), stores("b", why.clone()), stores("c", why));
        let fallback = FallbackLayer::new(FallbackOptions::default(), [b, c]).unwrap().layer(a);
        let batch: Batch = ["c1", "a1", "x1", "b1", "a2"].map(Packet::text).into_iter().collect();
        let outcomes = fallback.deliver_all(batch).await.unwrap();
        let places: Vec<_> = outcomes
            .iter()
            .map(|outcome| outcome.as_ref().ok().and_then(|receipt| receipt.reference.as_deref()))
            .collect();
        assert_eq!(places, [Some("c"), Some("a"), None, Some("b"), Some("a")]);
        assert_eq!(*at_a.lock().unwrap(), ["c1", "a1", "x1", "b1", "a2"]);
        assert_eq!(*at_b.lock().unwrap(), ["c1", "x1", "b1"]);
        assert_eq!(*at_c.lock().unwrap(), ["c1", "x1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_what_may_have_been_delivered_stays_and_says_that_it_is_not_to_be_tried_again() {
    let maybe = Error::new(ErrorKind::Timeout, "no answer");
    let ((a, _), (b, at_b)) = (stores("", maybe.clone()), stores("abc", maybe));
    let fallback = FallbackLayer::new(FallbackOptions::default(), [b]).unwrap().layer(a);
    let packets = vec![Packet::text("a"), Packet::text("b").with_id(PacketId::random())];
    let outcomes = fallback.deliver_all(packets).await.unwrap();
    assert_eq!(*at_b.lock().unwrap(), ["b"]);
    assert_eq!(outcomes[0].as_ref().unwrap_err().status(), Status::Exhausted);
    assert!(outcomes[1].is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_whole_batch_that_fails_in_the_middle_of_the_way_keeps_what_was_stored_before() {
    let ((a, _), (c, at_c)) = (stores("a", down()), stores("xyz", down()));
    let broken = Shared::new(service_fn(|_: Batch| async { Err(down().exhausted()) }));
    let fallback = FallbackLayer::new(FallbackOptions::default(), [broken, c]).unwrap().layer(a);
    let batch: Batch = ["x", "a", "q"].map(Packet::text).into_iter().collect();
    let outcomes = fallback.deliver_all(batch).await.unwrap();
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(*at_c.lock().unwrap(), ["x", "q"]);
}

#[tokio::test]
async fn a_request_goes_to_the_next_server_when_the_first_refuses_it() {
    let server = |status: u16| {
        Shared::new(service_fn(move |_: Request| async move {
            let mut answer = Response::new(haul_core::Body::empty());
            *answer.status_mut() = status.try_into().unwrap();
            Ok(answer)
        }))
    };
    let to = |first: u16| {
        FallbackLayer::new(FallbackOptions::default(), [server(200)]).unwrap().layer(server(first))
    };
    let post = || {
        let mut request = Request::new(haul_core::Body::empty());
        *request.method_mut() = http::Method::POST;
        request
    };
    for (first, answered) in [(429, 200), (500, 500), (404, 404)] {
        assert_eq!(to(first).request(post()).await.unwrap().status(), answered);
    }
    assert_eq!(to(500).request(Request::new(haul_core::Body::empty())).await.unwrap().status(), 200);
}

struct Door(Result<()>, Arc<AtomicUsize>);

impl Service<Batch> for Door {
    async fn call(&self, _: Batch) -> Result<Vec<Result<Receipt>>> {
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
async fn it_is_ready_when_one_is_and_closes_all() {
    let closed = Arc::new(AtomicUsize::new(0));
    let door = |answer: Result<()>| AnySink::new(Door(answer, closed.clone()));
    let fallback = |first, second| {
        FallbackLayer::new(FallbackOptions::default(), [door(second)]).unwrap().layer(door(first))
    };
    let broken = fallback(Err(down()), Ok(()));
    broken.ready().await.unwrap();
    assert_eq!(broken.close().await.unwrap_err().kind(), ErrorKind::Connect);
    assert_eq!(closed.load(Ordering::SeqCst), 2);
    let error = fallback(Err(down()), Err(Error::new(ErrorKind::Io, "second"))).ready().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
}

#[test]
fn options_come_from_toml_and_wrong_ones_are_refused() {
    let options: FallbackOptions =
        toml::from_str("probe = \"1m\"\non = [\"rate_limited\", \"connect\"]").unwrap();
    let on = Some(vec![ErrorKind::RateLimited, ErrorKind::Connect]);
    assert_eq!(options, FallbackOptions { probe: Duration::from_secs(60), on });
    let unknown = toml::from_str::<FallbackOptions>("on = [\"conect\"]").unwrap_err().to_string();
    assert!(unknown.contains("unknown variant `conect`") && unknown.contains("`connect`"), "{unknown}");
    assert!(toml::from_str::<FallbackOptions>("prob = \"1m\"").is_err());
    for (text, others) in [("probe = 0", 1), ("on = []", 1), ("", 0), ("", MAX_SERVICES)] {
        let others: Vec<_> = (0..others).map(|_| Peer::new("x")).collect();
        let error = FallbackLayer::new(toml::from_str(text).unwrap(), others).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
    }
}
