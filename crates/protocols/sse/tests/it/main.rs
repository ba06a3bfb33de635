//! Event streams against strangers, faults and bad input.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod clients;
mod counterparts;
mod mounts;
mod relay;
mod servers;
mod sessions;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use haul_core::{Body, Call, Connection, Dial, Endpoint, Listener, Request, Response, Result};
use haul_http::Client;
use tokio::time::timeout;

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), work).await.unwrap_or_else(|_| panic!("waited 60 s for {what}"))
}

async fn listen(url: &str) -> Listener {
    haul_sse::listen(Endpoint::parse(url).unwrap()).await.unwrap()
}

fn port(listener: &Listener) -> u16 {
    listener.local_endpoint().port().unwrap()
}

async fn dial(url: &str) -> Result<Connection> {
    soon("the dial", haul_sse::Dialer::default().dial(Endpoint::parse(url).unwrap())).await
}

async fn accept(listener: &Listener) -> Connection {
    soon("the connection", listener.accept()).await.unwrap().unwrap()
}

/// A connection of haul peers over this port: the dialed end, then the accepted one.
async fn pair(listener: &Listener, port: u16, options: &str) -> (Connection, Connection) {
    let url = format!("sse://127.0.0.1:{port}/{options}");
    let (dialed, accepted) = tokio::join!(dial(&url), accept(listener));
    (dialed.unwrap(), accepted)
}

/// A request to who listens on this port: method, path and query, headers, body.
async fn ask(
    client: &Client,
    port: u16,
    (method, target): (&str, &str),
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response {
    let mut request = Request::new(Body::from(body.into()));
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = format!("http://127.0.0.1:{port}{target}").parse().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    soon("the response", client.request(request)).await.unwrap()
}

/// The text of a stream until it has `end` in it.
async fn text_until(body: &mut Body, end: &str) -> String {
    use http_body::Body as _;
    let mut text = String::new();
    let read = async {
        while !text.contains(end) {
            let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await;
            let frame = frame.unwrap_or_else(|| panic!("the stream ended before {end:?}: {text:?}"));
            text += std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap();
        }
    };
    soon(end, read).await;
    text
}

/// The value of the first field of this name.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {text:?}"))
}
