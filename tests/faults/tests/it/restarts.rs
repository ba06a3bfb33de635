//! Servers that are killed and started again: a session lives in memory, so that the next server knows none.

use haul_core::{Connection, Error, ErrorKind, Packet};
use haul_session::{Acceptor, AcceptorOptions};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::outages::Network;
use crate::soon;
use crate::traffic::numbered;
use crate::transports::{Transport, place, sessions};

/// What one end of a session heard: packets by their numbers, and gaps by their bounds.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    packets: Vec<u32>,
    gaps: Vec<Gap>,
    ended: bool,
}

/// Which packets may be lost: from the first to the one after the last.
type Gap = Option<(u32, u32)>;

fn gap(why: &Error) -> Gap {
    let fact =
        |name| why.context().find(|(known, _)| *known == name).and_then(|(_, value)| value.parse().ok());
    assert_eq!(why.kind(), ErrorKind::Gap, "{why}");
    fact("from").zip(fact("to"))
}

impl Heard {
    pub(crate) fn packet(&mut self, packet: &Packet) {
        match packet.as_text() {
            Some("the last") => self.ended = true,
            _ => {
                let number = u32::from_be_bytes(packet.payload()[..4].try_into().unwrap());
                assert_eq!(*packet, numbered(number));
                self.packets.push(number);
            }
        }
    }
}

/// Hears `count` more packets, or to the last one.
pub(crate) async fn hear_until(end: &mut Connection, heard: &mut Heard, count: usize) {
    let enough = heard.packets.len().saturating_add(count);
    while heard.packets.len() < enough && !heard.ended {
        match soon("a packet", end.recv()).await {
            Ok(packet) => heard.packet(&packet.expect("no end without a word")),
            Err(why) => heard.gaps.push(gap(&why)),
        }
    }
}

/// Numbered packets on their way, and the gaps that their sender hears of.
pub(crate) struct Sending {
    stop: watch::Sender<bool>,
    sending: JoinHandle<u32>,
    gaps: mpsc::Receiver<Gap>,
}

/// Sends numbered packets until it is told to end.
pub(crate) fn send_numbered(end: Connection) -> Sending {
    let (sender, mut receiver) = end.split();
    let (stop, stopped) = watch::channel(false);
    let (tell, gaps) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            match receiver.recv().await {
                Err(why) if why.kind() == ErrorKind::Gap => tell.send(gap(&why)).await.unwrap(),
                _ => return,
            }
        }
    });
    let sending = tokio::spawn(async move {
        let mut number = 0;
        while !*stopped.borrow() {
            sender.send(numbered(number)).await.unwrap();
            number += 1;
            if number % 8 == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
        sender.send(Packet::text("the last")).await.unwrap();
        sender.flush().await.unwrap();
        number
    });
    Sending { stop, sending, gaps }
}

impl Sending {
    /// Sends the last one: how many there were, and the gaps.
    pub(crate) async fn end(mut self) -> (u32, Vec<Gap>) {
        self.stop.send_replace(true);
        let count = soon("the last packet to be sent", self.sending).await.unwrap();
        let mut gaps = Vec::new();
        while let Ok(gap) = self.gaps.try_recv() {
            gaps.push(gap);
        }
        (count, gaps)
    }
}

/// What two servers heard, and the one gap between them, are all that was sent, in order: what is before the gap was
/// heard by the first one, what is behind it by the second, and nothing twice.
pub(crate) fn all_of(what: &str, count: u32, first: &Heard, second: &Heard, client: &[Gap]) {
    let before: Vec<u32> = (0..first.packets.len() as u32).collect();
    assert_eq!(first.packets, before, "{what}: the first server");
    assert!(first.gaps.is_empty(), "{what}: {first:?}");
    let [gap] = client else { panic!("{what}: the client heard of {client:?}, not of one gap") };
    let (from, to) = gap.unwrap_or((before.len() as u32, before.len() as u32));
    assert_eq!(
        second.gaps,
        gap.iter().map(|bounds| Some(*bounds)).collect::<Vec<_>>(),
        "{what}: the second server"
    );
    let settled_and_more = from <= before.len() as u32 && before.len() as u32 <= to;
    assert!(settled_and_more, "{what}: {} heard, and {from} to {to} may be lost", before.len());
    let after: Vec<u32> = (to..count).collect();
    assert_eq!(second.packets, after, "{what}: the second server, behind {from} to {to}");
}

/// A server in a runtime of its own, which dies with all that it holds and says no goodbye.
struct Mortal {
    runtime: Option<Runtime>,
    place: std::net::SocketAddr,
    sessions: mpsc::Receiver<Connection>,
}

impl Mortal {
    async fn start(transport: Transport) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (give, sessions) = mpsc::channel(1);
        let started = runtime.spawn(async move {
            let beneath = transport.listen().await;
            let place = place(&beneath);
            let options = AcceptorOptions { replay_bytes: 64 << 10, ..AcceptorOptions::default() };
            (place, Acceptor::new(options).unwrap().listen(vec![beneath]).unwrap())
        });
        let (place, listener) = soon("a listener", started).await.unwrap();
        runtime.spawn(async move {
            while let Ok(Some(session)) = listener.accept().await {
                if give.send(session).await.is_err() {
                    return;
                }
            }
        });
        Self { runtime: Some(runtime), place, sessions }
    }

    async fn session(&mut self) -> Connection {
        soon("a session", self.sessions.recv()).await.unwrap()
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_heard_and_the_next_one_and_the_gap_between_are_all_that_was_sent() {
    for transport in [Transport::Tcp, Transport::Ws, Transport::Sse, Transport::Quic, Transport::Wt] {
        let mut server = Mortal::start(transport).await;
        let network = Network::before(transport, server.place).await;
        let dialer = sessions();
        let dialed = soon("a session", dialer.open(transport.at(network.address()))).await;
        let sent = send_numbered(dialed.unwrap().0);
        let (mut first, mut second) = (Heard::default(), Heard::default());
        let mut session = server.session().await;
        hear_until(&mut session, &mut first, 300).await;
        let mut next = Mortal::start(transport).await;
        network.lead_to(next.place);
        drop(server);
        // What it had not heard by then it never will, and nobody says that it did.
        drop(session);
        let mut session = next.session().await;
        hear_until(&mut session, &mut second, 300).await;
        let ((count, gaps), ()) = tokio::join!(sent.end(), hear_until(&mut session, &mut second, usize::MAX));
        all_of(&format!("{transport:?}"), count, &first, &second, &gaps);
    }
}
