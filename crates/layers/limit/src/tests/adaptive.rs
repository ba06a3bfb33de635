//! The number of calls under way follows the latency.

use super::*;

/// A server that does `capacity` calls at once in 10 ms each and shares itself among more, and how many it saw at once.
struct Server {
    capacity: AtomicUsize,
    under_way: AtomicUsize,
    fails: Mutex<Option<Error>>,
}

impl Service<Packet> for Server {
    async fn call(&self, _: Packet) -> Result<Receipt> {
        let calls = 1 + self.under_way.fetch_add(1, Ordering::SeqCst);
        let share = calls.div_ceil(self.capacity.load(Ordering::SeqCst));
        sleep(Duration::from_millis(10) * u32::try_from(share).unwrap()).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        match self.fails.lock().unwrap().clone() {
            Some(why) => Err(why),
            None => Ok(Receipt::new(Level::Sent, None)),
        }
    }
}

fn server(capacity: usize) -> Arc<Server> {
    let (capacity, under_way, fails) = (AtomicUsize::new(capacity), AtomicUsize::new(0), Mutex::default());
    Arc::new(Server { capacity, under_way, fails })
}

fn adaptive(most: usize, server: &Arc<Server>) -> Arc<Limit<Arc<Server>>> {
    let options = LimitOptions { adaptive: true, ..at_once(most, WhenFull::Wait) };
    Arc::new(layer(options).layer(server.clone()))
}

/// Makes `count` calls, as many at once as `callers`.
async fn load(limit: &Arc<Limit<Arc<Server>>>, callers: usize, count: usize) {
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let limit = limit.clone();
            tokio::spawn(async move {
                for _ in 0..count {
                    let _ = limit.deliver(Packet::text("x")).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn it_grows_to_what_the_server_takes_shrinks_when_that_shrinks_and_grows_again() {
    let server = server(100);
    let limit = adaptive(500, &server);
    assert_eq!(limit.allowed(), Some(20));
    load(&limit, 300, 40).await;
    let large = limit.allowed().unwrap();
    assert!((50..=200).contains(&large), "{large} where the server does 100 at once");
    server.capacity.store(10, Ordering::SeqCst);
    load(&limit, 300, 40).await;
    let small = limit.allowed().unwrap();
    assert!(small < large / 2, "{small} where the server does 10 at once, {large} before");
    server.capacity.store(100, Ordering::SeqCst);
    load(&limit, 300, 40).await;
    let again = limit.allowed().unwrap();
    assert!(again > 2 * small, "{again} where the server does 100 again, {small} before");
}

#[tokio::test(start_paused = true)]
async fn it_stays_between_one_and_the_most() {
    let server = server(1_000_000);
    let limit = adaptive(30, &server);
    load(&limit, 100, 20).await;
    assert_eq!(limit.allowed(), Some(30));
    *server.fails.lock().unwrap() = Some(Error::new(ErrorKind::Overloaded, "full"));
    load(&limit, 100, 20).await;
    assert_eq!(limit.allowed(), Some(1));
    let slots = limit.shared.slots.as_ref().unwrap();
    assert_eq!(slots.free(), 1, "places that are left");
    *server.fails.lock().unwrap() = None;
    load(&limit, 100, 20).await;
    assert_eq!((limit.allowed(), slots.free()), (Some(30), 30));
}

#[tokio::test(start_paused = true)]
async fn failures_that_tell_of_no_load_and_a_limit_that_is_not_reached_change_nothing() {
    let server = server(1000);
    let limit = adaptive(100, &server);
    load(&limit, 5, 100).await;
    assert_eq!(limit.allowed(), Some(20));
    *server.fails.lock().unwrap() = Some(Error::new(ErrorKind::Rejected, "no"));
    load(&limit, 50, 20).await;
    assert_eq!(limit.allowed(), Some(20));
}

#[tokio::test(start_paused = true)]
async fn no_more_are_under_way_than_the_limit_that_was_allowed_last() {
    let server = server(100);
    let limit = adaptive(40, &server);
    load(&limit, 200, 10).await;
    *server.fails.lock().unwrap() = Some(Error::new(ErrorKind::Timeout, "late"));
    load(&limit, 200, 10).await;
    *server.fails.lock().unwrap() = Some(Error::new(ErrorKind::Rejected, "no"));
    let calls: Vec<_> = (0..50).map(|_| call(&limit)).collect();
    all_idle().await;
    assert_eq!(server.under_way.load(Ordering::SeqCst), 1);
    for call in calls {
        call.await.unwrap().unwrap_err();
    }
}
