//! A WebSocket client's handshake: any answer is agreement or an error, and nothing behind it is lost.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use haul_core::{Endpoint, ErrorKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::handshake::client::{Request, shake};
use crate::pieces::at_once;

/// Stands in an answer for what belongs there for this client's key.
const ACCEPT: &[u8] = b"%ACCEPT%";

/// What the server answers.
pub(crate) fn run(data: &[u8]) {
    let endpoint = Endpoint::parse("ws://me:secret@127.0.0.1:80/live?a=b").expect("a URL");
    let subprotocols = ["haul.v1".to_owned(), "chat".to_owned()];
    let headers = [("Origin".to_owned(), "http://127.0.0.1".to_owned())];
    let request = Request { endpoint: &endpoint, subprotocols: &subprotocols, headers: &headers };
    let mut server = Server { asked: Vec::new(), answer: data, ready: None };
    let outcome = at_once(shake(&mut server, request));
    match outcome {
        Ok(agreed) => {
            let left = server.ready.unwrap_or_default();
            assert!(server.answer.ends_with(&left) || data.windows(8).any(|part| part == ACCEPT));
            assert!(agreed.subprotocol.is_none_or(|chosen| subprotocols.contains(&chosen)));
        }
        Err(why) => {
            assert_ne!(why.kind(), ErrorKind::Internal, "{why}");
            // A server may say the word itself.
            let said = data.windows(6).any(|part| part == b"secret");
            assert!(said || !why.to_string().contains("secret"), "{why}");
        }
    }
}

/// Reads a request, and answers it.
struct Server<'a> {
    asked: Vec<u8>,
    answer: &'a [u8],
    /// What of the answer is still to be read.
    ready: Option<Vec<u8>>,
}

impl Server<'_> {
    fn prepare(&self) -> Vec<u8> {
        let asked = std::str::from_utf8(&self.asked).expect("a request is text");
        let key = asked.split("Sec-WebSocket-Key: ").nth(1).and_then(|rest| rest.lines().next());
        let accept = derive_accept_key(key.expect("a request has a key").as_bytes());
        match self.answer.windows(ACCEPT.len()).position(|part| part == ACCEPT) {
            None => self.answer.to_vec(),
            Some(at) => [&self.answer[..at], accept.as_bytes(), &self.answer[at + ACCEPT.len()..]].concat(),
        }
    }
}

impl AsyncRead for Server<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut ready = self.ready.take().unwrap_or_else(|| self.prepare());
        let len = ready.len().min(buffer.remaining()).min(300);
        buffer.put_slice(&ready[..len]);
        drop(ready.drain(..len));
        self.ready = Some(ready);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Server<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.asked.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
