use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};

use haul_core::{CloseReason, Dial, Packet, Sent, ServiceFn, State, Status, service_fn};
use tokio::time::{sleep, timeout};

use super::*;

mod remembering;
mod stalling;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn endpoint(host: &str) -> Endpoint {
    Endpoint::parse(&format!("any://{host}:443/live")).unwrap()
}

/// What a transport does just now, and what it has done.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Act>>, Arc<AtomicUsize>, Arc<Mutex<Vec<Instant>>>, Arc<Mutex<Vec<Connection>>>);

#[derive(Clone, Default)]
enum Act {
    /// It connects after so long.
    Connects(Duration),
    Fails(Duration, Error),
    #[default]
    Never,
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Script {
    fn new(act: Act) -> Self {
        let script = Self::default();
        script.now(act);
        script
    }

    fn now(&self, act: Act) {
        *self.0.lock().unwrap() = act;
    }

    fn candidate(&self, name: &'static str) -> Candidate {
        let script = self.clone();
        Candidate::new(name, service_fn(move |_: Endpoint| script.clone().dial()))
    }

    async fn dial(self) -> Result<Connection> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let _running = Running(self.1.clone());
        self.2.lock().unwrap().push(Instant::now());
        let act = self.0.lock().unwrap().clone();
        match act {
            Act::Never => pending().await,
            Act::Fails(after, why) => {
                sleep(after).await;
                Err(why)
            }
            Act::Connects(after) => {
                sleep(after).await;
                let (ours, theirs) = haul_mem::pair();
                self.3.lock().unwrap().push(theirs);
                Ok(ours)
            }
        }
    }

    fn running(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }

    /// When it was last dialed, counted from `start`; and how often.
    fn dialed(&self, start: Instant) -> Option<Duration> {
        self.2.lock().unwrap().last().map(|at| *at - start)
    }

    fn dials(&self) -> usize {
        self.2.lock().unwrap().len()
    }

    /// The peer's end of the last connection.
    fn peer(&self) -> Connection {
        self.3.lock().unwrap().pop().unwrap()
    }
}

fn refused() -> Act {
    Act::Fails(Duration::ZERO, Error::new(ErrorKind::Connect, "connection refused"))
}

fn at_once() -> Act {
    Act::Connects(Duration::ZERO)
}

fn adaptive(scripts: [&Script; 3]) -> Adaptive {
    with_options(scripts, AdaptiveOptions::default())
}

fn with_options([one, two, three]: [&Script; 3], options: AdaptiveOptions) -> Adaptive {
    let candidates = [one.candidate("one"), two.candidate("two"), three.candidate("three")];
    Adaptive::new(options, candidates).unwrap()
}

fn transport(connection: &Connection) -> &str {
    connection.info().facts.get(FACT).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_preferred_one_that_connects_within_its_head_start_is_alone() {
    let [one, two, three] = [Act::Connects(249 * MILLI), at_once(), at_once()].map(Script::new);
    let connection = adaptive([&one, &two, &three]).dial(endpoint("a")).await.unwrap();
    assert_eq!(transport(&connection), "one");
    assert_eq!((two.dials(), three.dials()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn each_next_one_starts_a_head_start_after_the_last_and_black_holes_are_dropped() {
    let [one, two, three] = [Act::Never, Act::Never, Act::Connects(10 * MILLI)].map(Script::new);
    let start = Instant::now();
    let connection = adaptive([&one, &two, &three]).dial(endpoint("a")).await.unwrap();
    assert_eq!((transport(&connection), start.elapsed()), ("three", 510 * MILLI));
    assert_eq!((two.dialed(start), three.dialed(start)), (Some(250 * MILLI), Some(500 * MILLI)));
    assert_eq!([&one, &two, &three].map(Script::running), [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_starts_the_next_one_at_once() {
    let [one, two, three] = [refused(), refused(), at_once()].map(Script::new);
    let start = Instant::now();
    let connection = adaptive([&one, &two, &three]).dial(endpoint("a")).await.unwrap();
    assert_eq!(transport(&connection), "three");
    assert!(start.elapsed() < 10 * MILLI, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_slow_wins_over_those_that_never_answer() {
    let [one, two, three] = [Act::Connects(3 * SECOND), Act::Never, refused()].map(Script::new);
    let connection = adaptive([&one, &two, &three]).dial(endpoint("a")).await.unwrap();
    assert_eq!(transport(&connection), "one");
    assert_eq!([&one, &two, &three].map(Script::running), [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_the_error_names_each_with_its_reason() {
    let denied = Error::new(ErrorKind::Unauthorized, "the token is old");
    let [one, two, three] = [Act::Never, refused(), Act::Fails(MILLI, denied)].map(Script::new);
    let start = Instant::now();
    let error = adaptive([&one, &two, &three]).dial(endpoint("a")).await.unwrap_err();
    assert_eq!(start.elapsed(), 10 * SECOND);
    let text = error.to_string();
    assert!(text.starts_with("dial any://a:443/live: none of 3 transports connected: "), "{text}");
    for reason in [
        "two: connection refused",
        "three: the token is old",
        "one: dial any://a:443/live: no connection within 10s",
    ] {
        assert!(text.contains(reason), "{text}");
    }
    // The refused one came first; the one that took too long may have been seen.
    let about = (error.kind(), error.status(), error.sent());
    assert_eq!(about, (ErrorKind::Connect, Status::Transient, Sent::Maybe));
}

#[tokio::test(start_paused = true)]
async fn the_error_is_as_hopeful_as_the_best_of_them() {
    let of = |kind| Act::Fails(Duration::ZERO, Error::new(kind, "no"));
    let exhausted = Act::Fails(Duration::ZERO, Error::new(ErrorKind::Connect, "no").exhausted());
    for (acts, kind, status) in [
        (
            [of(ErrorKind::Tls), of(ErrorKind::Config), of(ErrorKind::Config)],
            ErrorKind::Tls,
            Status::Permanent,
        ),
        (
            [of(ErrorKind::Config), exhausted.clone(), of(ErrorKind::Tls)],
            ErrorKind::Connect,
            Status::Exhausted,
        ),
        (
            [exhausted, of(ErrorKind::Config), of(ErrorKind::Overloaded)],
            ErrorKind::Overloaded,
            Status::Transient,
        ),
    ] {
        let [one, two, three] = acts.map(Script::new);
        let error = adaptive([&one, &two, &three]).dial(endpoint("a")).await.unwrap_err();
        assert_eq!((error.kind(), error.status(), error.sent()), (kind, status, Sent::No));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_for_patience_is_heard_unless_another_may_be_tried_sooner() {
    let busy = |wait| {
        let why = Error::new(ErrorKind::RateLimited, "busy").with_retry_after(wait);
        Act::Fails(Duration::ZERO, why)
    };
    for (third, wait) in [(busy(3 * SECOND), Some(3 * SECOND)), (refused(), None)] {
        let [one, two, three] = [busy(5 * SECOND), busy(4 * SECOND), third].map(Script::new);
        let error = adaptive([&one, &two, &three]).dial(endpoint("a")).await.unwrap_err();
        assert_eq!(error.retry_after(), wait);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_is_dropped_drops_all_attempts() {
    let [one, two, three] = [Act::Never, Act::Never, Act::Never].map(Script::new);
    let dialer = adaptive([&one, &two, &three]);
    assert!(timeout(SECOND, dialer.dial(endpoint("a"))).await.is_err());
    assert_eq!([one.dials(), two.dials(), three.dials()], [1; 3]);
    assert_eq!([&one, &two, &three].map(Script::running), [0; 3]);
    assert_eq!(dialer.hosts(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_on_the_way_has_not_won() {
    let cut = service_fn(|_: Endpoint| async {
        let (ours, _) = haul_mem::pair();
        ours.abort(CloseReason::INTERNAL);
        Ok(ours)
    });
    let open = Script::new(at_once());
    let dialer =
        Adaptive::new(AdaptiveOptions::default(), [Candidate::new("cut", cut), open.candidate("open")])
            .unwrap();
    assert_eq!(transport(&dialer.dial(endpoint("a")).await.unwrap()), "open");
}

#[tokio::test]
async fn each_candidate_dials_where_it_is_told_to() {
    let shows = || {
        service_fn(|endpoint: Endpoint| async move {
            Err::<Connection, _>(Error::new(ErrorKind::Connect, format!("at {endpoint}")))
        })
    };
    let candidates = [
        Candidate::new("same", shows()),
        Candidate::new("port", shows()).at(|endpoint| endpoint.with_port(8443)),
        Candidate::new("fixed", shows()).always_at(endpoint("b")),
        Candidate::new("none", shows()).at(|_| Err(Error::new(ErrorKind::Unsupported, "not encrypted"))),
    ];
    let dialer = Adaptive::new(AdaptiveOptions::default(), candidates).unwrap();
    let text = dialer.dial(endpoint("a")).await.unwrap_err().to_string();
    for reason in [
        "same: at any://a:443/live",
        "port: at any://a:8443/live",
        "fixed: at any://b:443/live",
        "none: not encrypted",
    ] {
        assert!(text.contains(reason), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn packets_pass_both_ways() {
    let [one, two, three] = [at_once(), at_once(), at_once()].map(Script::new);
    let mut ours = adaptive([&one, &two, &three]).dial(endpoint("a")).await.unwrap();
    let mut peer = one.peer();
    ours.send(Packet::text("there")).await.unwrap();
    assert_eq!(peer.recv().await.unwrap().unwrap().as_text(), Some("there"));
    for _ in 0..100 {
        peer.send(Packet::text("back")).await.unwrap();
    }
    for _ in 0..100 {
        assert_eq!(ours.recv().await.unwrap().unwrap().as_text(), Some("back"));
    }
    ours.close(CloseReason::NORMAL).await.unwrap();
}

fn nothing() -> ServiceFn<impl Fn(Endpoint) -> std::future::Pending<Result<Connection>> + Send + Sync> {
    service_fn(|_: Endpoint| pending())
}

#[test]
fn candidates_are_between_one_and_the_most_and_each_has_its_own_name() {
    const NAMES: [&str; 17] =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"];
    let named = |names: &[&'static str]| {
        let candidates: Vec<_> = names.iter().map(|name| Candidate::new(name, nothing())).collect();
        Adaptive::new(AdaptiveOptions::default(), candidates)
    };
    assert!(named(&NAMES[..MAX_CANDIDATES]).is_ok());
    for (names, hint) in
        [(&NAMES[..], "17 candidates are more than 16"), (&[], "at least one"), (&["a", "b", "a"], "named a")]
    {
        let error = named(names).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[test]
fn options_come_from_toml_and_wrong_ones_are_refused() {
    let options: AdaptiveOptions = toml::from_str("head_start = \"100ms\"\nmax_hosts = 2").unwrap();
    assert_eq!((options.head_start, options.max_hosts), (100 * MILLI, 2));
    assert!(toml::from_str::<AdaptiveOptions>("headstart = \"1s\"").is_err());
    let ok = AdaptiveOptions::default;
    for wrong in [
        AdaptiveOptions { head_start: 9 * MILLI, ..ok() },
        AdaptiveOptions { head_start: 2001 * MILLI, ..ok() },
        AdaptiveOptions { attempt_timeout: Duration::ZERO, ..ok() },
        AdaptiveOptions { probe: Duration::MAX, ..ok() },
        AdaptiveOptions { demote: Duration::MAX, ..ok() },
        AdaptiveOptions { max_hosts: 0, ..ok() },
        AdaptiveOptions { max_hosts: 65_537, ..ok() },
    ] {
        let error = Adaptive::new(wrong, [Candidate::new("a", nothing())]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
