//! Sessions over real transports, behind a network that cuts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use haul_core::{
    Connection, Endpoint, Error, ErrorKind, Listener, Packet, Result, Service, Shared, service_fn,
};
use haul_session::{Acceptor, AcceptorOptions, Session, SessionLayer, SessionOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower_layer::Layer as _;

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .unwrap_or_else(|_| panic!("waited 60 s for {what}"))
}

/// A proxy that cuts each connection after a number of bytes drawn from a seed, or all of them at once.
pub(crate) struct Cutter {
    pub(crate) port: u16,
    cuts: Arc<AtomicU64>,
    all: watch::Sender<u64>,
}

impl Cutter {
    /// Between `least` and twice as many bytes pass before each cut; `None` for no cut but [`all`](Self::cut_all).
    pub(crate) async fn new(target: u16, seed: u64, least: Option<u64>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicU64::new(0));
        let (all, now) = watch::channel(0);
        tokio::spawn({
            let cuts = cuts.clone();
            async move {
                let mut state = seed | 1;
                loop {
                    let Ok((near, _)) = listener.accept().await else { return };
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let fuse = least.map(|least| least + state % least);
                    let (cuts, now) = (cuts.clone(), now.clone());
                    tokio::spawn(async move {
                        if let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await {
                            carry(near, far, fuse, now).await;
                            cuts.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            }
        });
        Self { port, cuts, all }
    }

    pub(crate) fn cut_all(&self) {
        self.all.send_modify(|count| *count += 1);
    }
}

/// Carries bytes both ways until the fuse blows; what comes after is lost. A cut of all is a reset, which loses what was
/// not read yet, too.
async fn carry(near: TcpStream, far: TcpStream, fuse: Option<u64>, mut now: watch::Receiver<u64>) {
    now.mark_unchanged();
    let left = AtomicU64::new(fuse.unwrap_or(u64::MAX));
    let (mut near, mut far) = (near, far);
    let reset = {
        let (mut near_read, mut near_write) = near.split();
        let (mut far_read, mut far_write) = far.split();
        tokio::select! {
            () = pour(&mut near_read, &mut far_write, &left) => false,
            () = pour(&mut far_read, &mut near_write, &left) => false,
            _ = now.changed() => true,
        }
    };
    for socket in [&mut near, &mut far] {
        if reset {
            #[expect(deprecated, reason = "a linger of zero never blocks")]
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        } else {
            let _ = socket.shutdown().await;
        }
    }
    if !reset {
        // A socket closed with bytes unread would reset the other end.
        let mut nowhere = [tokio::io::sink(), tokio::io::sink()];
        let [one, other] = &mut nowhere;
        let _ = tokio::join!(tokio::io::copy(&mut near, one), tokio::io::copy(&mut far, other));
    }
}

async fn pour(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    left: &AtomicU64,
) {
    let mut buffer = [0; 4096];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        let room = left.load(Ordering::Relaxed);
        let some = (count as u64).min(room) as usize;
        left.fetch_sub(some as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..some]).await.is_err() || some < count {
            return;
        }
    }
}

/// Dials tcp and ws.
fn dialer() -> Session {
    let (tcp, ws) = (Shared::new(haul_tcp::Dialer), Shared::new(haul_ws::Dialer::default()));
    let both = service_fn(move |endpoint: Endpoint| {
        let (tcp, ws) = (tcp.clone(), ws.clone());
        async move {
            match endpoint.scheme() {
                "tcp" => tcp.call(endpoint).await,
                "ws" => ws.call(endpoint).await,
                other => Err(Error::new(ErrorKind::Unsupported, format!("no dialer for {other}"))),
            }
        }
    });
    let options = SessionOptions {
        base: Duration::from_millis(1),
        cap: Duration::from_millis(20),
        replay_bytes: 64 << 10,
        ..SessionOptions::default()
    };
    SessionLayer::new(options).unwrap().layer(both)
}

fn parse(text: &str) -> Endpoint {
    Endpoint::parse(text).unwrap()
}

/// One acceptor on tcp and ws, and their ports.
async fn serve() -> (Listener, u16, u16) {
    let tcp = haul_tcp::listen(parse("tcp://127.0.0.1:0")).await.unwrap();
    let ws = haul_ws::listen(parse("ws://127.0.0.1:0")).await.unwrap();
    let ports = [&tcp, &ws].map(|listener| listener.local_endpoint().port().unwrap());
    let options = AcceptorOptions { replay_bytes: 64 << 10, ..AcceptorOptions::default() };
    let listener = Acceptor::new(options).unwrap().listen(vec![tcp, ws]).unwrap();
    (listener, ports[0], ports[1])
}

async fn connect(listener: &Listener, endpoint: &str) -> (Connection, haul_session::Mover, Connection) {
    let dialer = dialer();
    let (dialed, accepted) = tokio::join!(dialer.open(parse(endpoint)), listener.accept());
    let (client, mover) = dialed.unwrap();
    (client, mover, accepted.unwrap().unwrap())
}

fn numbered(number: u32) -> Packet {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(4 + (number as usize * 37) % 300, number as u8);
    Packet::binary(payload)
}

/// Sends so many numbered packets and receives as many of the other end: each once, whole, in order, without an error.
async fn exchange(end: Connection, count: u32) -> Result<Connection> {
    let (sender, mut receiver) = end.split();
    let sending = tokio::spawn(async move {
        for number in 0..count {
            sender.send(numbered(number)).await?;
            if number % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
        sender.flush().await?;
        Ok::<_, Error>(sender)
    });
    for number in 0..count {
        let packet = receiver.recv().await?.expect("no end");
        assert_eq!(packet, numbered(number), "packet {number}");
    }
    let sender = sending.await.unwrap()?;
    // Held until the other end has all.
    tokio::spawn(async move {
        let _ = receiver.recv().await;
        drop(sender);
    });
    Err(Error::new(ErrorKind::Closed, "done"))
}

async fn survives(scheme: &str, seed: u64) {
    let (listener, tcp, ws) = serve().await;
    let target = if scheme == "tcp" { tcp } else { ws };
    let cutter = Cutter::new(target, seed, Some(20_000)).await;
    let (client, _mover, server) = connect(&listener, &format!("{scheme}://127.0.0.1:{}", cutter.port)).await;
    let ends = [client, server].map(|end| tokio::spawn(exchange(end, 5000)));
    for end in ends {
        let done = soon("5000 packets", end).await.unwrap().unwrap_err();
        assert_eq!(done.message(), "done", "seed {seed}");
    }
    let cuts = cutter.cuts.load(Ordering::Relaxed);
    assert!(cuts >= 20, "only {cuts} cuts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_over_tcp_that_is_cut_every_few_kilobytes_arrives_once_and_in_order() {
    for seed in 1..4 {
        survives("tcp", seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_over_websocket_that_is_cut_every_few_kilobytes_arrives_once_and_in_order() {
    for seed in 4..7 {
        survives("ws", seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_moves_from_tcp_to_websocket_and_back_while_packets_flow() {
    let (listener, tcp, ws) = serve().await;
    let (client, mover, server) = connect(&listener, &format!("tcp://127.0.0.1:{tcp}")).await;
    let ends = [client, server].map(|end| tokio::spawn(exchange(end, 20_000)));
    let moving = tokio::spawn(async move {
        for turn in 0..20 {
            let to =
                if turn % 2 == 0 { format!("ws://127.0.0.1:{ws}") } else { format!("tcp://127.0.0.1:{tcp}") };
            match mover.move_to(parse(&to)).await {
                Ok(()) => {}
                // All may be over by then.
                Err(why) => assert!(turn > 0, "{why}"),
            }
        }
    });
    for end in ends {
        let done = soon("20000 packets", end).await.unwrap().unwrap_err();
        assert_eq!(done.message(), "done");
    }
    soon("the moves", moving).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_that_are_cut_at_once_all_come_back() {
    const COUNT: usize = 1000;
    let (listener, tcp, _) = serve().await;
    let cutter = Cutter::new(tcp, 1, None).await;
    let endpoint = format!("tcp://127.0.0.1:{}", cutter.port);
    let serving = tokio::spawn(async move {
        while let Ok(Some(mut session)) = listener.accept().await {
            tokio::spawn(async move {
                while let Ok(Some(packet)) = session.recv().await {
                    if session.send(packet).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let mut clients = Vec::new();
    for _ in 0..COUNT {
        clients.push(soon("a session", dialer().open(parse(&endpoint))).await.unwrap().0);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(numbered(number as u32)).await.unwrap();
        assert_eq!(soon("the echo", client.recv()).await.unwrap().unwrap(), numbered(number as u32));
    }
    cutter.cut_all();
    let again: Vec<_> = (clients.into_iter().enumerate())
        .map(|(number, mut client)| {
            tokio::spawn(async move {
                let packet = numbered(number as u32 + 7);
                client.send(packet.clone()).await.unwrap();
                assert_eq!(client.recv().await.unwrap().unwrap(), packet);
                client
            })
        })
        .collect();
    for client in again {
        soon("a session to come back", client).await.unwrap();
    }
    assert!(cutter.cuts.load(Ordering::Relaxed) >= COUNT as u64);
    serving.abort();
}
