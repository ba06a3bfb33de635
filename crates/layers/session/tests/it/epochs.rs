//! Servers that die, with what the client had sent them.

use std::time::Duration;

use haul_core::{Connection, Deliver, Error, ErrorKind, Level, Listener, Packet, PacketId, Receipt};
use haul_mem::Mem;
use haul_session::{Acceptor, AcceptorOptions, SessionLayer, SessionOptions};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tower_layer::Layer as _;

use crate::{endpoint, fact, soon};

/// A server in a runtime of its own: it dies with all that it holds, and says no goodbye.
struct Server {
    runtime: Option<Runtime>,
    heard: mpsc::Receiver<String>,
}

impl Server {
    /// Listens, and runs `application` with the first session; what that says can be heard.
    async fn start<F>(
        mem: &Mem,
        application: impl FnOnce(Connection, mpsc::Sender<String>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener: Listener = soon("the name", async {
            loop {
                let _inside = runtime.enter();
                if let Ok(beneath) = mem.listen(endpoint("mem://server")) {
                    return Acceptor::new(AcceptorOptions::default()).unwrap().listen(vec![beneath]).unwrap();
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        let (say, heard) = mpsc::channel(1000);
        runtime.spawn(async move {
            let session = listener.accept().await.unwrap().unwrap();
            application(session, say).await;
            std::future::pending::<()>().await;
            drop(listener);
        });
        Self { runtime: Some(runtime), heard }
    }

    async fn hear(&mut self) -> String {
        soon("a word of the server", self.heard.recv()).await.unwrap()
    }

    fn die(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn client(mem: &Mem) -> Connection {
    let options = SessionOptions { base: Duration::from_millis(5), ..SessionOptions::default() };
    let dialer = SessionLayer::new(options).unwrap().layer(mem.dialer());
    soon("a session", dialer.open(endpoint("mem://server"))).await.unwrap().0
}

/// Says each packet and each gap.
async fn tell_all(mut session: Connection, say: mpsc::Sender<String>) {
    loop {
        let word = match session.recv().await {
            Ok(Some(packet)) => packet.as_text().unwrap().to_owned(),
            Ok(None) => return,
            Err(gap) if gap.kind() == ErrorKind::Gap => {
                format!("gap {} {}", fact(&gap, "from").unwrap(), fact(&gap, "to").unwrap())
            }
            Err(why) => format!("error {why}"),
        };
        say.send(word).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_ids_are_sent_again_and_the_rest_is_told_with_its_bounds_at_both_ends() {
    let mem = Mem::new();
    // As many as are acknowledged at once.
    let mut server = Server::start(&mem, |mut session, say| async move {
        for _ in 0..64 {
            let packet = session.recv().await.unwrap().unwrap();
            say.send(packet.as_text().unwrap().to_owned()).await.unwrap();
        }
        // It keeps the session and reads no more.
        std::future::pending::<()>().await;
        drop(session);
    })
    .await;
    let mut client = client(&mem).await;
    for number in 0..64 {
        client.send(Packet::text(number.to_string())).await.unwrap();
    }
    for number in 0..64 {
        assert_eq!(server.hear().await, number.to_string());
    }
    // The acknowledgement went before the pong.
    soon("the pong", client.ping()).await.unwrap();
    for number in 64..69 {
        let packet = Packet::text(number.to_string());
        client.send(if number == 66 { packet.identified() } else { packet }).await.unwrap();
    }
    soon("the flush", client.flush()).await.unwrap();
    server.die();
    let mut server = Server::start(&mem, tell_all).await;
    let gap = soon("the gap", client.recv()).await.unwrap_err();
    assert_eq!(gap.kind(), ErrorKind::Gap, "{gap}");
    let facts = ["from", "to", "ours_maybe_lost", "received"].map(|name| fact(&gap, name).unwrap());
    assert_eq!(facts, ["64", "69", "4", "0"], "{gap}");
    assert_eq!([server.hear().await, server.hear().await], ["gap 64 69", "66"]);
    client.send(Packet::text("on")).await.unwrap();
    assert_eq!(server.hear().await, "on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_had_not_acknowledged_is_given_to_the_next_server() {
    let mem = Mem::new();
    let mut server = Server::start(&mem, |mut session, say| async move {
        let first = session.next().await.unwrap().unwrap();
        let second = session.next().await.unwrap().unwrap();
        first.ack(Receipt::new(Level::Stored, None)).await.unwrap();
        say.send("stored one, have another".into()).await.unwrap();
        std::future::pending::<()>().await;
        drop((second, session));
    })
    .await;
    let client = client(&mem).await;
    let (sender, mut receiver) = client.split();
    let delivering = tokio::spawn({
        let sender = sender.clone();
        async move { sender.deliver_two().await }
    });
    server.hear().await;
    server.die();
    let mut server = Server::start(&mem, tell_all).await;
    let gap = soon("the gap", receiver.recv()).await.unwrap_err();
    assert_eq!(fact(&gap, "ours_maybe_lost"), Some("0"), "{gap}");
    assert_eq!(server.hear().await, "second");
    let (first, second) = soon("both receipts", delivering).await.unwrap();
    assert_eq!((first.level, second.level), (Level::Stored, Level::Acknowledged));
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_without_id_that_a_source_was_given_and_had_not_acknowledged_are_told_as_lost() {
    let mem = Mem::new();
    let mut server = Server::start(&mem, |mut session, say| async move {
        let mut open = Vec::new();
        for number in 0..66 {
            let delivery = session.next().await.unwrap().unwrap();
            assert!(!delivery.is_awaited());
            match number {
                // As many as are acknowledged at once.
                ..64 => delivery.ack(Receipt::new(Level::Stored, None)).await.unwrap(),
                _ => open.push(delivery),
            }
        }
        say.send("given 66".into()).await.unwrap();
        std::future::pending::<()>().await;
        drop((open, session));
    })
    .await;
    let mut client = client(&mem).await;
    for number in 0..66 {
        client.send(Packet::text(number.to_string())).await.unwrap();
    }
    assert_eq!(server.hear().await, "given 66");
    // The acknowledgement went before the pong.
    soon("the pong", client.ping()).await.unwrap();
    server.die();
    let _server = Server::start(&mem, tell_all).await;
    let gap = soon("the gap", client.recv()).await.unwrap_err();
    let facts = ["from", "to", "ours_maybe_lost"].map(|name| fact(&gap, name).unwrap());
    assert_eq!(facts, ["64", "66", "2"], "{gap}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_nobody_waits_for_is_told_by_the_close() {
    for dropped in [false, true] {
        let mem = Mem::new();
        let _server = Server::start(&mem, move |mut session, _say| async move {
            let delivery = session.next().await.unwrap().unwrap();
            match dropped {
                true => drop(delivery),
                false => delivery.nack(Error::new(ErrorKind::Rejected, "the disk is full")).await.unwrap(),
            }
            std::future::pending::<()>().await;
            drop(session);
        })
        .await;
        let mut client = client(&mem).await;
        client.send(Packet::text("one")).await.unwrap();
        let why = soon("the close", client.recv()).await.unwrap_err();
        let said = if dropped { "dropped the packet without an answer" } else { "the disk is full" };
        assert!(why.kind() == ErrorKind::Closed && why.to_string().contains(said), "{why}");
    }
}

trait DeliverTwo {
    async fn deliver_two(&self) -> (Receipt, Receipt);
}

impl DeliverTwo for haul_core::Sender {
    async fn deliver_two(&self) -> (Receipt, Receipt) {
        let packet = |text, id| Packet::text(text).with_id(PacketId::from_bytes([id; 16]));
        let (first, second) =
            tokio::join!(self.deliver(packet("first", 1)), self.deliver(packet("second", 2)));
        (first.unwrap(), second.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_with_nothing_lost_still_tells_that_the_peers_side_is_unknown() {
    let mem = Mem::new();
    let mut server = Server::start(&mem, tell_all).await;
    let mut client = client(&mem).await;
    server.die();
    let mut server = Server::start(&mem, tell_all).await;
    let gap = soon("the gap", client.recv()).await.unwrap_err();
    assert_eq!((gap.kind(), fact(&gap, "ours_maybe_lost")), (ErrorKind::Gap, Some("0")), "{gap}");
    client.send(Packet::text("on")).await.unwrap();
    assert_eq!(server.hear().await, "on");
}
