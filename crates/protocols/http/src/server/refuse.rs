//! Turning connections away when too many are there.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::accept::Shared;

/// Connections that are told at once why they are refused; further ones are closed without a word.
pub(super) const AT_ONCE: usize = 64;

/// How long a refused client may take to read why.
const PATIENCE: Duration = Duration::from_secs(1);

const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 41\r\n\r\n\
    too many connections here; try again soon";

/// 503, once the client has begun to ask: an answer to nothing means nothing to it. Over TLS the socket is closed.
pub(super) fn refuse(mut tcp: TcpStream, shared: &Shared) {
    if shared.tls.is_some() {
        return;
    }
    let Ok(place) = shared.refusals.clone().try_acquire_owned() else { return };
    tokio::spawn(async move {
        let _place = place;
        let _ = timeout(PATIENCE, async {
            let mut scrap = [0; 1024];
            if tcp.read(&mut scrap).await.is_ok_and(|read| read > 0) {
                // Whether it arrives or not, the client is turned away.
                let _ = tcp.try_write(ANSWER);
            }
            // Closed with something unread, the socket would be reset, and the answer lost: read until the client goes.
            while tcp.read(&mut scrap).await.is_ok_and(|read| read > 0) {}
        })
        .await;
    });
}
