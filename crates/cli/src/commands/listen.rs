//! `haul listen`: accepts connections and prints what comes.

use std::sync::Arc;
use std::time::Duration;

use haul::session::{Acceptor, AcceptorOptions};
use haul::{
    CloseReason, Connection, Delivery, Endpoint, ErrorKind, Level, Listener, Packet, Receipt, Receiver,
    Sender, Source,
};
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::args::{Binary, Listen};
use crate::exit::{Code, Failure};
use crate::output::{Output, Paint, noted, packet_json, shown};

/// Packets that a slow receiver of a broadcast may be behind; then it misses some and is told of on stderr.
const BEHIND: usize = 1024;

/// How long ctrl-c waits for connections to close.
const DRAIN: Duration = Duration::from_secs(5);

/// What all connections share.
struct Room {
    out: Output,
    binary: Option<Binary>,
    echo: bool,
    /// Who sent it, and what: to all others.
    broadcast: Option<broadcast::Sender<(u64, Packet)>>,
    /// The first failure that ends the program: stdout is gone.
    failed: mpsc::Sender<Failure>,
}

pub(crate) async fn run(args: Listen, out: Output) -> Result<(), Failure> {
    let mut accepting = listeners(&args, out).await?;

    let (failed, mut failure) = mpsc::channel(1);
    let (stop, stopped) = watch::channel(false);
    let room = Arc::new(Room {
        out,
        binary: args.binary,
        echo: args.echo,
        broadcast: args.broadcast.then(|| broadcast::Sender::new(BEHIND)),
        failed,
    });
    let mut guests = JoinSet::new();
    let mut number = 0;
    let ended = loop {
        tokio::select! {
            accepted = accepting.join_next() => {
                let Some(accepted) = accepted else { break Ok(()) };
                let (listener, accepted) = accepted.map_err(|why| {
                    Failure::new(Code::Failed, format!("listen: accepting broke: {why}"))
                })?;
                if let Some(connection) = accepted? {
                    number += 1;
                    guests.spawn(serve(room.clone(), number, connection, stopped.clone()));
                    accepting.spawn(accept(listener));
                }
            }
            Some(_) = guests.join_next() => {}
            Some(why) = failure.recv() => break Err(why),
            stop = crate::stopped() => break stop,
        }
    };
    stop.send_replace(true);
    let gone = async { while guests.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, gone).await.is_err() {
        out.warn("some connections did not close in time");
    }
    ended
}

/// Listens on every URL, and says where.
async fn listeners(args: &Listen, out: Output) -> Result<JoinSet<Accepted>, Failure> {
    let mut listeners = Vec::with_capacity(args.urls.len());
    for url in &args.urls {
        let mut endpoint = Endpoint::parse(url)?;
        if endpoint.scheme() == "mem" {
            let message = format!("listen on {endpoint}: only this very process could connect there");
            return Err(Failure::usage(message).with_hint("use unix:///path, or tcp://127.0.0.1:0"));
        }
        if let Some(max) = args.max_connections {
            endpoint = endpoint.with_option("max_connections", max);
        }
        listeners.push(haul::registry().listen(endpoint).await?);
    }
    for listener in &listeners {
        announce(listener.local_endpoint(), out)?;
    }
    if args.session {
        listeners = vec![Acceptor::new(AcceptorOptions::default())?.listen(listeners)?];
    }
    Ok(listeners.into_iter().map(accept).collect())
}

type Accepted = (Listener, haul::Result<Option<Connection>>);

async fn accept(listener: Listener) -> Accepted {
    let accepted = listener.accept().await;
    (listener, accepted)
}

fn announce(local: &Endpoint, out: Output) -> Result<(), Failure> {
    match out.json {
        true => out.object(&json!({ "event": "listening", "endpoint": local.to_string() })),
        false => out.line(&format!("listening on {}", out.paint(Paint::Name, &local.to_string()))),
    }
}

async fn serve(room: Arc<Room>, number: u64, connection: Connection, mut stopped: watch::Receiver<bool>) {
    let peer = name(&connection, number);
    room.tell(&peer, "connected", None);
    let (sender, mut receiver) = connection.split();
    let others = room.broadcast.as_ref().map(|all| all.subscribe());
    let ended = tokio::select! {
        ended = receive(&room, number, &peer, &sender, &mut receiver) => ended,
        ended = forward(&room, number, &peer, &sender, others) => ended,
        _ = stopped.wait_for(|stop| *stop) => Ok(CloseReason::GOING_AWAY),
    };
    let closed = match ended {
        Ok(reason) => sender.close(reason).await,
        Err(why) => Err(why),
    };
    room.tell(&peer, "disconnected", closed.err());
}

fn name(connection: &Connection, number: u64) -> String {
    match connection.info().peer.as_str() {
        "" => format!("#{number}"),
        peer => peer.to_owned(),
    }
}

/// Prints what comes, and sends it back or on. Ends with the peer.
async fn receive(
    room: &Room,
    number: u64,
    peer: &str,
    sender: &Sender,
    receiver: &mut Receiver,
) -> haul::Result<CloseReason> {
    loop {
        let delivery = match receiver.next().await {
            Ok(Some(delivery)) => delivery,
            Ok(None) => return Ok(CloseReason::NORMAL),
            Err(why) if why.kind() == ErrorKind::Gap => {
                room.out.warn(&format!("{peer}: {why}"));
                continue;
            }
            Err(why) => return Err(why),
        };
        if let Err(why) = room.print(peer, delivery.packet()) {
            // Stdout is gone: whoever hears it first ends the program.
            let _ = room.failed.try_send(why);
            return Ok(CloseReason::GOING_AWAY);
        }
        room.pass_on(number, sender, delivery).await?;
    }
}

/// Sends what the others sent. Never ends where nothing is broadcast.
async fn forward(
    room: &Room,
    number: u64,
    peer: &str,
    sender: &Sender,
    others: Option<broadcast::Receiver<(u64, Packet)>>,
) -> haul::Result<CloseReason> {
    let Some(mut others) = others else {
        return std::future::pending().await;
    };
    loop {
        match others.recv().await {
            Ok((from, packet)) if from != number => sender.send(packet).await?,
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => {
                room.out.warn(&format!("{peer} is too slow and missed {missed} packets"))
            }
            Err(RecvError::Closed) => return Ok(CloseReason::GOING_AWAY),
        }
    }
}

impl Room {
    async fn pass_on(&self, number: u64, sender: &Sender, delivery: Delivery) -> haul::Result<()> {
        let (packet, ack) = delivery.split();
        let receipt = Receipt::new(Level::Acknowledged, packet.id());
        if self.echo {
            sender.send(packet).await?;
        } else if let Some(all) = &self.broadcast {
            // An error says that nobody else is there.
            let _ = all.send((number, packet));
        }
        ack.ack(receipt).await
    }

    fn print(&self, peer: &str, packet: &Packet) -> Result<(), Failure> {
        if self.out.quiet {
            return Ok(());
        }
        if self.out.json {
            let mut object = packet_json("received", packet);
            object["peer"] = peer.into();
            return self.out.object(&object);
        }
        let mut line = format!("{} {} ", self.out.paint(Paint::Name, peer), self.out.paint(Paint::Good, "<"))
            .into_bytes();
        line.extend(shown(packet, self.binary, self.out.terminal));
        line.extend(self.out.paint(Paint::Faint, &noted(packet.metadata())).into_bytes());
        line.push(b'\n');
        self.out.bytes(&line)
    }

    /// That a peer came or went.
    fn tell(&self, peer: &str, event: &str, why: Option<haul::Error>) {
        if self.out.json {
            let why = why.map(|why| why.to_string());
            if let Err(gone) = self.out.object(&json!({ "event": event, "peer": peer, "why": why })) {
                let _ = self.failed.try_send(gone);
            }
            return;
        }
        match why {
            None => self.out.remark(&format!("{peer} {event}")),
            Some(why) => self.out.remark(&format!("{peer} {event}: {why}")),
        }
    }
}
