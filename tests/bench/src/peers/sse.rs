//! hyper, and eventsource-stream on its client.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use eventsource_stream::EventStream;
use futures_util::{Stream, StreamExt};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, client, server};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::End;

/// What a client reads.
pub(crate) type Events = EventStream<Pieces>;

/// Serves each request with so many events of 64 B, each in a frame of its own, and silence behind them.
pub(crate) async fn serve(events: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let event = Bytes::from(format!("data: {}\n\n", "7".repeat(64)));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            socket.set_nodelay(true).expect("a connected socket");
            let event = event.clone();
            let service = service_fn(move |_: Request<Incoming>| {
                let body = Feed { event: event.clone(), left: events };
                let answer = Response::builder().header("content-type", "text/event-stream").body(body);
                async move { Ok::<_, Infallible>(answer.expect("a plain answer")) }
            });
            let connection = server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(socket), service));
        }
    });
    address
}

struct Feed {
    event: Bytes,
    left: u64,
}

impl Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Pending;
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(self.event.clone()))))
    }
}

/// Asks for the events of who listens there.
pub(crate) async fn open(address: SocketAddr) -> Events {
    let socket = TcpStream::connect(address).await.expect("it listens");
    socket.set_nodelay(true).expect("a connected socket");
    let handshake = client::conn::http1::handshake(TokioIo::new(socket)).await;
    let (mut client, connection) = handshake.expect("a fresh socket");
    tokio::spawn(connection);
    let request = Request::get("/").header("host", "127.0.0.1").header("accept", "text/event-stream");
    let request = request.body(String::new()).expect("a plain request");
    let response = client.send_request(request).await.expect("it answers");
    EventStream::new(Pieces(response.into_body()))
}

/// The data of a body.
pub(crate) struct Pieces(Incoming);

impl Stream for Pieces {
    type Item = hyper::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default())))
    }
}

impl End for Events {
    /// There is no way back.
    async fn send(&mut self, _: Bytes) -> Option<()> {
        None
    }

    async fn send_all(&mut self, _: Bytes, _: usize) -> Option<()> {
        None
    }

    async fn recv(&mut self) -> Option<usize> {
        Some(self.next().await?.ok()?.data.len())
    }
}
