//! Sessions against the network, the clock, and peers that do not do as they should.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod bare;
mod bounds;
mod claims;
mod clock;
mod epochs;
mod plain;
mod relay;
mod resuming;
mod strangers;

use std::time::Duration;

use haul_core::{Connection, Endpoint, Error, Listener, Packet};
use haul_mem::Mem;
use haul_session::{Acceptor, AcceptorOptions, Session, SessionLayer, SessionOptions};
use tower_layer::Layer as _;

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .unwrap_or_else(|_| panic!("waited 60 s for {what}"))
}

pub(crate) fn endpoint(text: &str) -> Endpoint {
    Endpoint::parse(text).unwrap()
}

/// A network of names, and a server on the name `server`.
pub(crate) struct Net {
    pub(crate) mem: Mem,
    pub(crate) listener: Listener,
}

impl Net {
    pub(crate) fn new(options: AcceptorOptions) -> Self {
        let mem = Mem::new();
        let listener = serve(&mem, options);
        Self { mem, listener }
    }

    pub(crate) async fn accept(&self) -> Connection {
        soon("a session", self.listener.accept()).await.unwrap().unwrap()
    }

    pub(crate) fn dialer(&self) -> Session {
        let options = SessionOptions { base: Duration::from_millis(10), ..SessionOptions::default() };
        SessionLayer::new(options).unwrap().layer(self.mem.dialer())
    }
}

fn serve(mem: &Mem, options: AcceptorOptions) -> Listener {
    let beneath = mem.listen(endpoint("mem://server")).unwrap();
    Acceptor::new(options).unwrap().listen(vec![beneath]).unwrap()
}

pub(crate) async fn next(end: &mut Connection) -> Packet {
    soon("a packet", end.recv()).await.unwrap().expect("no end")
}

pub(crate) fn fact<'a>(error: &'a Error, name: &str) -> Option<&'a str> {
    error.context().find(|(known, _)| *known == name).map(|(_, value)| value)
}
