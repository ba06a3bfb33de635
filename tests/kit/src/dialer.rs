//! What every dialer promises.

use std::time::Duration;

use haul_core::{
    Connection, Endpoint, Error, ErrorKind, Limits, Listener, ListenerLimits, Packet, Result, Sent, Status,
};

use crate::expect::{self, Section};
use crate::packets::{next, polled, until};
use crate::run::{Check, Plan, checks, done, go, runs};
use crate::{Over, soon};

/// Runs the suite. Panics with the promises that were broken.
pub async fn suite(name: &str, over: Over) {
    Suite::new(name, over).run().await;
}

/// The suite, with settings.
#[derive(Clone, Debug)]
pub struct Suite {
    pub(crate) plan: Plan,
    cx: Cx,
}

#[derive(Clone)]
struct Cx {
    expect: expect::Dialer,
    over: Over,
}

impl std::fmt::Debug for Cx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.over.fmt(f)
    }
}

impl Suite {
    /// The suite for the section `name` of `capabilities.toml`.
    pub fn new(name: &str, over: Over) -> Self {
        let expect = Section::dialer(name);
        Self { plan: Plan::new(name), cx: Cx { expect, over } }
    }

    async fn listen(&self) -> (Listener, Endpoint) {
        self.cx.over.listening(&Limits::default(), &ListenerLimits::default()).await
    }

    async fn dial(&self, endpoint: &Endpoint) -> Result<Connection> {
        soon("the dial", self.cx.over.dial(endpoint.clone())).await
    }
}

runs!(Suite, CHECKS);

const CHECKS: &[Check<Suite>] = checks![Suite;
    unknown => "dialing what does not exist is a Connect error, transient, with nothing sent",
    refused => "dialing what nobody listens on is a Connect error, transient, with nothing sent",
    unknown_option => "an option that it does not know is a Config error that names the nearest",
    wrong_value => "a value that makes no sense is a Config error that names the option",
    cancelled => "a cancelled dial leaves nothing behind, and the dialer goes on",
    many_at_once => "one dialer makes many connections at once",
];

/// The error of a dial that could not reach anybody.
fn unreachable(error: &Error, endpoint: &Endpoint) {
    let facts = (error.kind(), error.status(), error.sent());
    assert_eq!(facts, (ErrorKind::Connect, Status::Transient, Sent::No), "{error}");
    let host = endpoint.host().unwrap_or(endpoint.path());
    assert!(error.to_string().contains(host), "it does not name the endpoint {endpoint}: {error}");
}

async fn unknown(cx: Suite) {
    let endpoint: Endpoint = cx.cx.expect.unknown.parse().expect("an endpoint");
    let error = cx.dial(&endpoint).await.expect_err("dialed what does not exist");
    unreachable(&error, &endpoint);
}

async fn refused(cx: Suite) {
    let (listener, endpoint) = cx.listen().await;
    soon("the shutdown", listener.shutdown(Duration::from_secs(3600))).await.expect("a shutdown");
    drop(listener);
    let error = cx.dial(&endpoint).await.expect_err("dialed what nobody listens on");
    unreachable(&error, &endpoint);
}

async fn unknown_option(cx: Suite) {
    let (_listener, endpoint) = cx.listen().await;
    let error =
        cx.dial(&endpoint.with_option("max_paket", 1)).await.expect_err("an unknown option was accepted");
    assert_eq!((error.kind(), error.status()), (ErrorKind::Config, Status::Permanent), "{error}");
    let text = error.to_string();
    assert!(text.contains("max_paket") && text.contains("max_packet"), "{text}");
}

async fn wrong_value(cx: Suite) {
    let (_listener, endpoint) = cx.listen().await;
    for (name, value) in [("max_packet", "many"), ("close_deadline", "soon"), ("max_packet", "-1")] {
        let error =
            cx.dial(&endpoint.clone().with_option(name, value)).await.expect_err("nonsense was accepted");
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(name), "it does not name the option {name}: {error}");
    }
}

async fn cancelled(cx: Suite) {
    let (listener, endpoint) = cx.listen().await;
    let listener = std::sync::Arc::new(listener);
    let accepting = go({
        let listener = listener.clone();
        async move {
            let mut last = None;
            while let Some(mut connection) = listener.accept().await.expect("no error") {
                if let Ok(Some(packet)) = connection.recv().await {
                    last = Some(packet);
                }
            }
            last
        }
    });
    for polls in 0..20 {
        let dialed = soon("a dial to be polled", polled(polls, cx.cx.over.dial(endpoint.clone()))).await;
        if let Some(dialed) = dialed {
            drop(dialed.expect("a dial"));
        }
    }
    let connection = cx.dial(&endpoint).await.expect("a dial after those that were cancelled");
    let packet = Packet::binary(&b"at last"[..]);
    soon("room", connection.send(packet.clone())).await.expect("a send");
    drop(connection);
    until("all connections to be gone", || listener.stats().open == 0 && listener.stats().accepted > 0).await;
    soon("the shutdown", listener.shutdown(Duration::from_secs(3600))).await.expect("a shutdown");
    let last = done("the accept loop", accepting).await.expect("a packet");
    assert_eq!(last.payload(), packet.payload());
}

async fn many_at_once(cx: Suite) {
    let (listener, endpoint) = cx.listen().await;
    let dials: Vec<_> = (0..100u8)
        .map(|number| {
            let (cx, endpoint) = (cx.clone(), endpoint.clone());
            go(async move {
                let mut connection = cx.dial(&endpoint).await.expect("a dial");
                connection.send(Packet::binary(vec![number])).await.expect("a send");
                assert_eq!(next("the echo", &mut connection).await.payload()[..], [number]);
            })
        })
        .collect();
    for _ in 0..100 {
        let mut connection =
            soon("a connection", listener.accept()).await.expect("no error").expect("listening");
        drop(go(async move {
            while let Ok(Some(packet)) = connection.recv().await {
                connection.send(packet).await.expect("an echo");
            }
        }));
    }
    for dial in dials {
        done("a dial", dial).await;
    }
}
