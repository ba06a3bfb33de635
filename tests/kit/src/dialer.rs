//! What every dialer promises.

use std::any::Any;
use std::time::Duration;

use haul_core::{
    Connection, Endpoint, Error, ErrorKind, Limits, Listener, ListenerLimits, Packet, Result, Sent, Status,
};

use tokio::net::{TcpListener, UdpSocket, UnixListener};

use crate::expect::{self, Section, Silent};
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
    handshakes: bool,
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
        let cx = Cx { expect, handshakes: Section::handshakes(name), over };
        Self { plan: Plan::new(name), cx }
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
    deadline => "a peer that never answers is given up when its time is over, transient, with nothing sent",
    independent => "a dial that waits for its peer holds up no other",
];

/// The error of a dial that could not reach anybody, for this reason.
fn unreachable(error: &Error, why: ErrorKind, endpoint: &Endpoint) {
    let facts = (error.kind(), error.status(), error.sent());
    assert_eq!(facts, (why, Status::Transient, Sent::No), "{error}");
    let host = endpoint.host().unwrap_or(endpoint.path());
    assert!(error.to_string().contains(host), "it does not name the endpoint {endpoint}: {error}");
}

async fn unknown(cx: Suite) {
    let endpoint: Endpoint = cx.cx.expect.unknown.parse().expect("an endpoint");
    let error = cx.dial(&endpoint).await.expect_err("dialed what does not exist");
    unreachable(&error, ErrorKind::Connect, &endpoint);
}

async fn refused(cx: Suite) {
    let (listener, endpoint) = cx.listen().await;
    soon("the shutdown", listener.shutdown(Duration::from_secs(3600))).await.expect("a shutdown");
    drop(listener);
    let error = cx.dial(&endpoint).await.expect_err("dialed what nobody listens on");
    unreachable(&error, ErrorKind::Connect, &endpoint);
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
            while let Some(mut connection) = listener.accept().await.expect("no error") {
                // Those of dials that were cancelled end without a packet.
                if let Ok(Some(packet)) = connection.recv().await {
                    return packet;
                }
            }
            panic!("the listener was shut down");
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
    let received = done("the packet of the last dial", accepting).await;
    assert_eq!(received.payload(), packet.payload());
    drop(connection);
    until("all connections to be gone", || listener.stats().open == 0).await;
    soon("the shutdown", listener.shutdown(Duration::from_secs(3600))).await.expect("a shutdown");
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

impl Suite {
    /// The endpoint of a peer that is there as long as what comes with it is held, and that says nothing. `None` for a
    /// protocol whose dialer waits for no answer.
    async fn silent(&self) -> Option<(Endpoint, Box<dyn Any + Send>)> {
        let Some(socket) = self.cx.expect.silent else {
            assert!(
                !self.cx.handshakes,
                "capabilities.toml expects a handshake, and does not say over which socket a peer can be silent"
            );
            return None;
        };
        let endpoint = self.cx.over.fresh(&Limits::default(), &ListenerLimits::default());
        let local = ("127.0.0.1", 0);
        let (port, held): (_, Box<dyn Any + Send>) = match socket {
            Silent::Tcp => {
                let socket = TcpListener::bind(local).await.expect("a socket");
                (Some(socket.local_addr().expect("an address").port()), Box::new(socket))
            }
            Silent::Udp => {
                let socket = UdpSocket::bind(local).await.expect("a socket");
                (Some(socket.local_addr().expect("an address").port()), Box::new(socket))
            }
            Silent::Unix => (None, Box::new(UnixListener::bind(endpoint.path()).expect("a socket"))),
        };
        Some((self.cx.over.dialed(endpoint, port), held))
    }
}

async fn deadline(cx: Suite) {
    let Some((endpoint, _held)) = cx.silent().await else { return };
    let error = cx.dial(&endpoint.clone().with_option("timeout", "200ms")).await;
    let error = error.expect_err("connected to a peer that said nothing");
    unreachable(&error, ErrorKind::Timeout, &endpoint);
}

async fn independent(cx: Suite) {
    let Some((silent, _held)) = cx.silent().await else { return };
    let (listener, endpoint) = cx.listen().await;
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let mut dial = Box::pin(cx.cx.over.dial(silent.clone().with_option("timeout", "3600s")));
        assert!(polled(1, &mut dial).await.is_none(), "connected to a peer that said nothing");
        waiting.push(dial);
    }
    let (dialed, accepted) = tokio::join!(cx.dial(&endpoint), soon("the connection", listener.accept()));
    drop(dialed.expect("a dial beside those that wait"));
    drop(accepted.expect("no error").expect("listening"));
}
