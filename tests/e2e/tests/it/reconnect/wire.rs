//! A stretch of network between a client and a server: it cuts, stalls, and refuses when told to.

use std::collections::VecDeque;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Lives,
    /// It is reset after so many bytes from the client.
    ResetAfter(usize),
    /// Both streams end after so many bytes from the client.
    EndsAfter(usize),
    /// After so many bytes from the client nothing passes any more, and nobody is told.
    StallsAfter(usize),
}

pub(super) struct Wire {
    pub(super) address: SocketAddr,
    upstream: SocketAddr,
    fates: Arc<Mutex<VecDeque<Fate>>>,
    cuts: watch::Sender<u64>,
    accepting: Option<JoinHandle<()>>,
}

impl Wire {
    /// A wire to `upstream` whose connections have these fates, in order; all others live.
    pub(super) fn new(upstream: SocketAddr, fates: impl IntoIterator<Item = Fate>) -> Self {
        // An address of its own, so that nobody takes the port while it refuses.
        let [a, b, ..] = haul_core::Backoff::random().to_ne_bytes();
        let listener = listen(([127, a | 1, b, 1], 0).into());
        let mut wire = Self {
            address: listener.local_addr().unwrap(),
            upstream,
            fates: Arc::new(Mutex::new(fates.into_iter().collect())),
            cuts: watch::Sender::new(0),
            accepting: None,
        };
        wire.accept(listener);
        wire
    }

    fn accept(&mut self, listener: TcpListener) {
        let (upstream, fates, cuts) = (self.upstream, self.fates.clone(), self.cuts.subscribe());
        self.accepting = Some(tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let fate = fates.lock().unwrap().pop_front().unwrap_or(Fate::Lives);
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                tokio::spawn(carry(client, upstream, fate, cuts));
            }
        }));
    }

    /// Fates that no connection had yet.
    pub(super) fn fates_left(&self) -> usize {
        self.fates.lock().unwrap().len()
    }

    /// Resets every connection.
    pub(super) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Refuses connections until [`listen`](Self::listen).
    pub(super) async fn refuse(&mut self) {
        let accepting = self.accepting.take().unwrap();
        accepting.abort();
        let _ = accepting.await;
    }

    pub(super) fn listen(&mut self) {
        self.accept(listen(self.address));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

/// Listens with a small receive buffer, so that little is under way.
fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    socket.bind(address).unwrap();
    socket.listen(64).unwrap()
}

async fn carry(mut client: TcpStream, upstream: SocketAddr, fate: Fate, mut cuts: watch::Receiver<u64>) {
    let mut server = TcpStream::connect(upstream).await.unwrap();
    let limit = match fate {
        Fate::Lives => usize::MAX,
        Fate::ResetAfter(bytes) | Fate::EndsAfter(bytes) | Fate::StallsAfter(bytes) => bytes,
    };
    let reset = tokio::select! {
        limited = forward(&mut client, &mut server, limit) => limited && matches!(fate, Fate::ResetAfter(_)),
        _ = cuts.changed() => true,
    };
    if matches!(fate, Fate::StallsAfter(_)) {
        // Held open until the test is over.
        pending::<()>().await;
    }
    if reset {
        for stream in [&client, &server] {
            stream.set_zero_linger().unwrap();
        }
    }
}

/// Carries both ways until an end, or until `limit` bytes of the client went through: then `true`.
async fn forward(client: &mut TcpStream, server: &mut TcpStream, limit: usize) -> bool {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let (mut buf, mut left) = (vec![0; 16 << 10], limit);
        while left > 0 {
            let room = buf.len().min(left);
            match from_client.read(&mut buf[..room]).await {
                Ok(read @ 1..) if to_server.write_all(&buf[..read]).await.is_ok() => left -= read,
                _ => return false,
            }
        }
        true
    };
    let down = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::select! {
        limited = up => limited,
        _ = down => false,
    }
}
