//! The oracle: numbered packets both ways, each of which must come out once, whole and in order.

use std::time::Duration;

use haul_core::{Connection, Packet, Receiver, Result, Sender};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::soon;

/// Packets that are sent before the sender pauses for a millisecond.
const AT_ONCE: u32 = 8;

pub(crate) fn numbered(number: u32) -> Packet {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(4 + (number as usize * 37) % 300, number as u8);
    Packet::binary(payload)
}

/// Packets that flow between two ends until they are told to end.
pub(crate) struct Traffic {
    what: String,
    stop: watch::Sender<bool>,
    heard: [watch::Receiver<u32>; 2],
    sending: [JoinHandle<Result<(Sender, u32)>>; 2],
    receiving: [JoinHandle<Result<(Receiver, u32)>>; 2],
}

impl Traffic {
    /// Begins; `what` is said where it fails.
    pub(crate) fn between(what: impl Into<String>, one: Connection, other: Connection) -> Self {
        let (stop, stopped) = watch::channel(false);
        let ends = [one, other].map(|end| {
            let (sender, receiver) = end.split();
            let (tell, heard) = watch::channel(0);
            (heard, tokio::spawn(send(sender, stopped.clone())), tokio::spawn(receive(receiver, tell)))
        });
        let [(heard_one, sent_one, one), (heard_other, sent_other, other)] = ends;
        Self {
            what: what.into(),
            stop,
            heard: [heard_one, heard_other],
            sending: [sent_one, sent_other],
            receiving: [one, other],
        }
    }

    /// Waits until each end has heard so many more.
    pub(crate) async fn more(&mut self, count: u32) {
        let goals = self.heard.each_ref().map(|heard| *heard.borrow() + count);
        let [one, other] = &mut self.heard;
        let both = async {
            let one = one.wait_for(|heard| *heard >= goals[0]).await.is_ok();
            one && other.wait_for(|heard| *heard >= goals[1]).await.is_ok()
        };
        if !soon(&format!("{count} more packets each way: {}", self.what), both).await {
            for end in &mut self.receiving {
                if end.is_finished() {
                    let why = end.await.unwrap().map(drop);
                    panic!("{}: an end stopped receiving: {why:?}", self.what);
                }
            }
        }
    }

    /// Ends it when all that was sent came out; answers how many packets each end heard.
    pub(crate) async fn ends(self) -> [u32; 2] {
        self.stop.send_replace(true);
        let what = self.what;
        let (mut sent, mut heard, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for end in self.sending {
            let ended = soon(&format!("the last packet to be sent: {what}"), end).await.unwrap();
            let (sender, count) = ended.unwrap_or_else(|why| panic!("{what}: {why}"));
            sent.push(count);
            held.push((Some(sender), None));
        }
        for end in self.receiving {
            let ended = soon(&format!("the last packet to arrive: {what}"), end).await.unwrap();
            let (receiver, count) = ended.unwrap_or_else(|why| panic!("{what}: {why}"));
            heard.push(count);
            held.push((None, Some(receiver)));
        }
        assert_eq!([sent[1], sent[0]], [heard[0], heard[1]], "{what}: sent there, heard here");
        [heard[0], heard[1]]
    }
}

async fn send(sender: Sender, stop: watch::Receiver<bool>) -> Result<(Sender, u32)> {
    let mut number = 0;
    while !*stop.borrow() {
        sender.send(numbered(number)).await?;
        number += 1;
        if number.is_multiple_of(AT_ONCE) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    sender.send(Packet::text("the last")).await?;
    sender.flush().await?;
    Ok((sender, number))
}

async fn receive(mut receiver: Receiver, heard: watch::Sender<u32>) -> Result<(Receiver, u32)> {
    let mut number = 0;
    loop {
        let packet = receiver.recv().await?.expect("nobody says that it is the end");
        if packet.as_text() == Some("the last") {
            return Ok((receiver, number));
        }
        assert_eq!(packet, numbered(number), "packet {number}");
        number += 1;
        heard.send_replace(number);
    }
}
