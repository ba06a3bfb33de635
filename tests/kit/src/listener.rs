//! What every listener promises.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use haul_core::{
    BoxFuture, CloseReason, Connection, Endpoint, ErrorKind, Limits, Listener, ListenerLimits, Packet,
};

use crate::expect::{self, Section};
use crate::packets::{next, polled, until};
use crate::run::{Check, Plan, checks, done, go, runs};
use crate::{Over, Raw, soon};

type HalfOpen = Arc<dyn Fn(Endpoint) -> BoxFuture<'static, Raw> + Send + Sync>;

/// Runs the suite. Panics with the promises that were broken.
pub async fn suite(name: &str, over: Over) {
    Suite::new(name, over).run().await;
}

/// The suite, with settings.
#[derive(Clone)]
pub struct Suite {
    pub(crate) plan: Plan,
    expect: expect::Listener,
    over: Over,
    half_open: Option<HalfOpen>,
    many: usize,
}

impl Suite {
    /// The suite for the section `name` of `capabilities.toml`.
    pub fn new(name: &str, over: Over) -> Self {
        Self { plan: Plan::new(name), expect: Section::listener(name), over, half_open: None, many: 1000 }
    }

    /// How to connect to an endpoint without finishing the handshake. What it answers is held meanwhile.
    #[must_use]
    pub fn half_open<F, Fut>(mut self, connect: F) -> Self
    where
        F: Fn(Endpoint) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Raw> + Send + 'static,
    {
        self.half_open = Some(Arc::new(move |endpoint| Box::pin(connect(endpoint))));
        self
    }

    /// How many connections are made one after another in the check `no_leak`; 1,000 otherwise.
    #[must_use]
    pub fn connections(mut self, count: usize) -> Self {
        self.many = count;
        self
    }

    async fn listen(&self, limits: ListenerLimits) -> (Listener, Endpoint) {
        self.over.listening(&Limits::default(), &limits).await
    }

    async fn dial(&self, endpoint: &Endpoint) -> Connection {
        soon("the dial", self.over.dial(endpoint.clone())).await.expect("a dial")
    }

    async fn connect(&self, listener: &Listener, endpoint: &Endpoint) -> (Connection, Connection) {
        let (dialed, accepted) = tokio::join!(self.dial(endpoint), accept(listener));
        (dialed, accepted)
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("plan", &self.plan).field("over", &self.over).finish()
    }
}

runs!(Suite, CHECKS);

const CHECKS: &[Check<Suite>] = checks![Suite;
    local_endpoint => "a listener knows where it listens",
    unknown_option => "an option that it does not know is a Config error that names it",
    most_connections => "one connection more than allowed is refused, and there is room again when one ends",
    handshake_deadline => "a handshake that is not finished is cut at its deadline and holds up nobody",
    shutdown_waits => "shutdown returns when the connections are gone, not before",
    shutdown_deadline => "shutdown fails at its deadline with the number of open connections, which go on",
    shutdown_stops => "after shutdown nothing is accepted, and dialing fails",
    shutdown_unaccepted => "shutdown lets go of the connections that nobody has accepted",
    drop_stops => "a dropped listener stops listening, and its connections go on",
    cancelled_accept => "a cancelled accept loses no connection",
    backlog => "connections beyond the backlog wait and are not lost",
    no_leak => "connections that come and go leave nothing behind",
];

async fn accept(listener: &Listener) -> Connection {
    let accepted = soon("a connection to be accepted", listener.accept()).await;
    accepted.expect("no error").expect("the listener is not shut down")
}

/// A packet there and back.
async fn echo(a: &mut Connection, b: &mut Connection) {
    let packet = Packet::binary(&b"echo"[..]);
    soon("room", a.send(packet.clone())).await.expect("a send");
    let there = next("the packet", b).await;
    assert_eq!(there.payload(), packet.payload());
    soon("room", b.send(there)).await.expect("a send");
    assert_eq!(next("the echo", a).await.payload(), packet.payload());
}

async fn local_endpoint(cx: Suite) {
    let (listener, _) = cx.listen(ListenerLimits::default()).await;
    let local = listener.local_endpoint();
    assert_ne!(local.port(), Some(0), "the port that was given");
    let stats = listener.stats();
    assert_eq!((stats.accepted, stats.refused, stats.failed, stats.open), (0, 0, 0, 0), "a new listener");
}

async fn unknown_option(cx: Suite) {
    let endpoint = cx.over.fresh(&Limits::default(), &ListenerLimits::default());
    let error = cx.over.listen(endpoint.clone().with_option("max_connection", 1)).await;
    let error = error.expect_err("an unknown option was accepted");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("max_connections"), "it does not name the nearest option: {error}");
    let error = cx.over.listen(endpoint.with_option("max_connections", "few")).await;
    assert_eq!(error.expect_err("a wrong value was accepted").kind(), ErrorKind::Config);
}

async fn most_connections(cx: Suite) {
    let limits = ListenerLimits { max_connections: 2, ..ListenerLimits::default() };
    let (listener, endpoint) = cx.listen(limits).await;
    let mut one = cx.connect(&listener, &endpoint).await;
    let mut two = cx.connect(&listener, &endpoint).await;
    match soon("the third dial", cx.over.dial(endpoint.clone())).await {
        Err(_) => {}
        // The protocol says it after its handshake.
        Ok(mut refused) => {
            let received = soon("the refusal", refused.recv()).await;
            assert!(!matches!(received, Ok(Some(_))), "a refused connection received a packet");
        }
    }
    until("the refusal to be counted", || listener.stats().refused == 1).await;
    assert_eq!(listener.stats().open, 2, "connections open");
    echo(&mut one.0, &mut one.1).await;
    echo(&mut two.0, &mut two.1).await;
    drop(one);
    until("a permit to come back", || listener.stats().open == 1).await;
    let mut three = cx.connect(&listener, &endpoint).await;
    echo(&mut three.0, &mut three.1).await;
}

async fn handshake_deadline(cx: Suite) {
    let Some(half_open) = &cx.half_open else {
        assert!(
            !cx.expect.handshake,
            "the suite needs the half_open hook: capabilities.toml expects a handshake"
        );
        return;
    };
    let limits =
        ListenerLimits { handshake_deadline: Duration::from_millis(300), ..ListenerLimits::default() };
    let (listener, endpoint) = cx.listen(limits).await;
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(soon("a raw connection", half_open(endpoint.clone())).await);
    }
    let mut pair = cx.connect(&listener, &endpoint).await;
    echo(&mut pair.0, &mut pair.1).await;
    until("50 handshakes to be cut", || listener.stats().failed == 50).await;
    until("their permits to come back", || listener.stats().open == 1).await;
    let failure = listener.stats().last_failure.expect("a failure is kept");
    assert_eq!(failure.kind(), ErrorKind::Timeout, "{failure}");
    echo(&mut pair.0, &mut pair.1).await;
    drop(held);
}

async fn shutdown_waits(cx: Suite) {
    let (listener, endpoint) = cx.listen(ListenerLimits::default()).await;
    let mut pair = cx.connect(&listener, &endpoint).await;
    let mut shutdown = Box::pin(listener.shutdown(Duration::from_secs(3600)));
    assert!(polled(1, &mut shutdown).await.is_none(), "shutdown returned while a connection was open");
    echo(&mut pair.0, &mut pair.1).await;
    assert!(polled(1, &mut shutdown).await.is_none(), "shutdown returned while a connection was open");
    let (closed, ()) = tokio::join!(soon("the close", pair.0.close(CloseReason::NORMAL)), async {
        crate::packets::ends(&mut pair.1).await;
    });
    closed.expect("a clean close");
    soon("the shutdown", shutdown).await.expect("a shutdown");
    assert_eq!(listener.stats().open, 0);
}

async fn shutdown_deadline(cx: Suite) {
    let (listener, endpoint) = cx.listen(ListenerLimits::default()).await;
    let mut pair = cx.connect(&listener, &endpoint).await;
    let shutdown = soon("the shutdown", listener.shutdown(Duration::from_millis(50))).await;
    let error = shutdown.expect_err("a shutdown with a connection open was Ok");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("1 connection"), "it does not name the number: {error}");
    echo(&mut pair.0, &mut pair.1).await;
    drop(pair);
    soon("a second shutdown", listener.shutdown(Duration::from_secs(3600))).await.expect("a shutdown");
}

async fn shutdown_stops(cx: Suite) {
    let (listener, endpoint) = cx.listen(ListenerLimits::default()).await;
    let mut waiting = Box::pin(listener.accept());
    assert!(polled(1, &mut waiting).await.is_none(), "a connection out of nowhere");
    let (waited, stopped) = tokio::join!(
        soon("an accept that waits to end", waiting),
        soon("the shutdown", listener.shutdown(Duration::from_secs(3600)))
    );
    stopped.expect("a shutdown");
    let waited = waited.expect("no error");
    assert!(waited.is_none(), "a connection out of nowhere");
    let accepted = soon("accept", listener.accept()).await.expect("no error");
    assert!(accepted.is_none(), "accepted after shutdown");
    let error = soon("the dial", cx.over.dial(endpoint)).await.expect_err("dialed after shutdown");
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
}

async fn shutdown_unaccepted(cx: Suite) {
    let (listener, endpoint) = cx.listen(ListenerLimits::default()).await;
    let mut dialed = cx.dial(&endpoint).await;
    until("the handshake to be done", || listener.stats().accepted == 1).await;
    soon("the shutdown", listener.shutdown(Duration::from_secs(3600))).await.expect("a shutdown");
    let received = soon("the end", dialed.recv()).await;
    assert!(!matches!(received, Ok(Some(_))), "a packet on a connection that nobody accepted");
    assert_eq!(listener.stats().open, 0, "connections open");
}

async fn drop_stops(cx: Suite) {
    let (listener, endpoint) = cx.listen(ListenerLimits::default()).await;
    let mut pair = cx.connect(&listener, &endpoint).await;
    drop(listener);
    soon("dialing to fail", async {
        while cx.over.dial(endpoint.clone()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    echo(&mut pair.0, &mut pair.1).await;
}

async fn cancelled_accept(cx: Suite) {
    let (listener, endpoint) = cx.listen(ListenerLimits::default()).await;
    let dialing = go({
        let cx = cx.clone();
        async move {
            let mut all = Vec::new();
            for _ in 0..30 {
                all.push(cx.dial(&endpoint).await);
            }
            all
        }
    });
    let mut accepted = Vec::new();
    for turn in 0.. {
        if accepted.len() == 30 {
            break;
        }
        let some = soon("an accept to be polled", async {
            let some = polled(turn % 4, listener.accept()).await;
            tokio::time::sleep(Duration::from_micros(200)).await;
            some
        });
        if let Some(connection) = some.await {
            accepted.push(connection.expect("no error").expect("not shut down"));
        }
        assert!(turn < 200_000, "of 30 connections {} were accepted", accepted.len());
    }
    assert_eq!(done("the dials", dialing).await.len(), 30);
    assert_eq!(listener.stats().accepted, 30);
}

async fn backlog(cx: Suite) {
    let limits = ListenerLimits { backlog: 2, ..ListenerLimits::default() };
    let (listener, endpoint) = cx.listen(limits).await;
    let dials: Vec<_> = (0..20u8)
        .map(|number| {
            let (cx, endpoint) = (cx.clone(), endpoint.clone());
            go(async move {
                let connection = cx.dial(&endpoint).await;
                connection.send(Packet::binary(vec![number])).await.expect("a send");
                connection
            })
        })
        .collect();
    let mut seen = Vec::new();
    for _ in 0..20 {
        let mut connection = accept(&listener).await;
        seen.push(next("a packet", &mut connection).await.payload()[0]);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..20).collect::<Vec<u8>>(), "each connection with its packet");
    for dial in dials {
        done("a dial", dial).await;
    }
}

async fn no_leak(cx: Suite) {
    let limits = ListenerLimits { max_connections: 50, ..ListenerLimits::default() };
    let (listener, endpoint) = cx.listen(limits).await;
    let listener = Arc::new(listener);
    let accepting = go({
        let listener = listener.clone();
        async move {
            while let Some(mut connection) = listener.accept().await.expect("no error") {
                drop(go(async move { while let Ok(Some(_)) = connection.recv().await {} }));
            }
        }
    });
    for number in 0..cx.many {
        let connection = cx.dial(&endpoint).await;
        if number % 2 == 0 {
            soon("the close", connection.close(CloseReason::NORMAL)).await.expect("a clean close");
        } else {
            connection.abort(CloseReason::NORMAL);
        }
        // A dialer may be gone before the listener has seen it: no more than it may have.
        until("room for one more", || listener.stats().open < 40).await;
    }
    until("all connections to be gone", || {
        let stats = listener.stats();
        stats.open == 0 && stats.accepted + stats.failed == cx.many as u64
    })
    .await;
    assert_eq!(listener.stats().refused, 0, "refused");
    soon("the shutdown", listener.shutdown(Duration::from_secs(3600))).await.expect("a shutdown");
    done("the accept loop", accepting).await;
}
