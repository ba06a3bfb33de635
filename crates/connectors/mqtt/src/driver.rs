//! What drives a connection: one task that reads, writes, and knows who waits for which answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use haul_core::{Error, ErrorKind, Result, Sent, Status};
use rumqttc::v5::mqttbytes::v5::{
    Disconnect, DisconnectReasonCode, PingReq, PubAck, PubComp, PubRec, PubRel, Publish, Subscribe,
};
use rumqttc::v5::mqttbytes::{self, QoS};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use crate::config::Qos;
use crate::failure::{FAILURE, broken, lost, refused};
use crate::link::{Answer, GOODBYE, Request, What, over};
use crate::wire::{self, Incoming};

/// Bytes that are read at once, and bytes that wait to be written before requests wait.
const CHUNK: usize = 64 * 1024;

/// Where packets that come go, and how many of them the broker may send before they are acknowledged.
pub(crate) struct Inlet {
    /// `None` once the broker sent more than that; it gives those again on the next connection.
    pub(crate) to: Option<mpsc::Sender<Publish>>,
    pub(crate) receive_max: u16,
    /// Packets of QoS 0 that found no room.
    pub(crate) lost: u64,
}

/// Reads, writes, and answers.
pub(crate) struct Driver<S> {
    reading: ReadHalf<S>,
    writing: WriteHalf<S>,
    inbox: BytesMut,
    outbox: BytesMut,
    unflushed: bool,
    max_packet: usize,
    keep_alive: Interval,
    requests: mpsc::Receiver<Request>,
    inlet: Option<Inlet>,
    waiting: Waiting,
}

/// Who waits. All hear how the connection ended, however it did.
struct Waiting {
    numbered: HashMap<u16, Waiter>,
    last_number: u16,
    /// For the answer to the ping that is on its way, and for that to the next.
    asked: Option<Vec<Waiter>>,
    unasked: Vec<Waiter>,
    /// Whether anything came since the connection was last asked.
    heard: bool,
    /// Bytes that were to be written, and that were.
    queued: u64,
    written: u64,
    ended: Arc<OnceLock<Error>>,
}

struct Waiter {
    answer: Answer,
    /// Where its packet begins among the bytes to be written.
    begins: u64,
    /// What a PUBREC said.
    reason: u8,
}

/// What a driver drives.
pub(crate) struct Parts<S> {
    pub(crate) socket: S,
    /// What was read with the answer to the CONNECT.
    pub(crate) inbox: BytesMut,
    pub(crate) max_packet: usize,
    pub(crate) keep_alive: Duration,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) inlet: Option<Inlet>,
    pub(crate) ended: Arc<OnceLock<Error>>,
}

impl<S: AsyncRead + AsyncWrite> Driver<S> {
    pub(crate) fn new(parts: Parts<S>) -> Self {
        let (reading, writing) = tokio::io::split(parts.socket);
        let mut keep_alive = interval_at(Instant::now() + parts.keep_alive, parts.keep_alive);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            reading,
            writing,
            inbox: parts.inbox,
            outbox: BytesMut::new(),
            unflushed: false,
            max_packet: parts.max_packet,
            keep_alive,
            requests: parts.requests,
            inlet: parts.inlet,
            waiting: Waiting {
                numbered: HashMap::new(),
                last_number: 0,
                asked: None,
                unasked: Vec::new(),
                heard: true,
                queued: 0,
                written: 0,
                ended: parts.ended,
            },
        }
    }

    /// Runs until the connection is lost, or nobody wants it any more.
    pub(crate) async fn run(mut self) {
        let why = match self.drive().await {
            Ok(()) => match timeout(GOODBYE, self.goodbye()).await {
                Ok(Err(why)) => lost(&why),
                Ok(Ok(())) | Err(_) => over(),
            },
            Err(why) => why,
        };
        // Whoever cut it, or found it broken before, has said why.
        let _ = self.waiting.ended.set(why);
    }

    async fn drive(&mut self) -> Result<()> {
        self.take_all()?;
        loop {
            while self.outbox.len() < CHUNK
                && let Ok(request) = self.requests.try_recv()
            {
                self.begin(request)?;
            }
            if self.waiting.asked.is_none() && !self.waiting.unasked.is_empty() {
                self.ask()?;
            }
            if self.inbox.capacity() - self.inbox.len() < CHUNK / 16 {
                self.inbox.reserve(CHUNK);
            }
            tokio::select! {
                read = self.reading.read_buf(&mut self.inbox) => {
                    if read.map_err(|why| lost(&why))? == 0 {
                        return Err(Error::new(ErrorKind::Closed, "the broker ended the connection"));
                    }
                    self.waiting.heard = true;
                    self.take_all()?;
                }
                written = write(&mut self.writing, &mut self.outbox),
                    if self.unflushed || !self.outbox.is_empty() =>
                {
                    let written = written.map_err(|why| lost(&why))?;
                    self.unflushed = written > 0;
                    self.waiting.written += written as u64;
                }
                request = self.requests.recv(), if self.outbox.len() < CHUNK => match request {
                    Some(request) => self.begin(request)?,
                    None => return Ok(()),
                },
                _ = self.keep_alive.tick() => {
                    if self.waiting.asked.is_some() && !std::mem::take(&mut self.waiting.heard) {
                        let why = format!("the broker is silent: no answer within {:?}", self.keep_alive.period());
                        return Err(Error::new(ErrorKind::Timeout, why));
                    }
                    if self.waiting.asked.is_none() {
                        self.ask()?;
                    }
                }
            }
        }
    }

    /// Encodes a packet behind those that wait to be written; answers where it begins.
    fn put(&mut self, encode: impl FnOnce(&mut BytesMut) -> Result<usize, mqttbytes::Error>) -> Result<u64> {
        let (begins, before) = (self.waiting.queued, self.outbox.len());
        encode(&mut self.outbox).map_err(|why| Error::new(ErrorKind::Internal, why.to_string()))?;
        self.waiting.queued += (self.outbox.len() - before) as u64;
        Ok(begins)
    }

    fn begin(&mut self, Request { what, answer }: Request) -> Result<()> {
        let (begins, number) = match what {
            What::Publish(publish) if publish.qos == QoS::AtMostOnce => {
                (self.put(|outbox| publish.write(outbox))?, None)
            }
            What::Publish(mut publish) => {
                publish.pkid = self.waiting.number();
                (self.put(|outbox| publish.write(outbox))?, Some(publish.pkid))
            }
            What::Subscribe(filter) => {
                let mut subscribe = Subscribe::new(filter, None);
                subscribe.pkid = self.waiting.number();
                (self.put(|outbox| subscribe.write(outbox))?, Some(subscribe.pkid))
            }
            What::Settle(number, Qos::ExactlyOnce) => {
                (self.put(|outbox| PubRec::new(number, None).write(outbox))?, None)
            }
            What::Settle(number, _) => (self.put(|outbox| PubAck::new(number, None).write(outbox))?, None),
            What::Ping => (self.waiting.queued, None),
        };
        let waiter = Waiter { answer, begins, reason: 0 };
        match number {
            Some(number) => drop(self.waiting.numbered.insert(number, waiter)),
            // The broker does not answer it, but what comes behind it.
            None => self.waiting.unasked.push(waiter),
        }
        Ok(())
    }

    /// Asks for those who wait for that. One question is on its way at a time.
    fn ask(&mut self) -> Result<()> {
        self.waiting.asked = Some(std::mem::take(&mut self.waiting.unasked));
        self.put(PingReq::write).map(drop)
    }

    fn take_all(&mut self) -> Result<()> {
        while let Some(packet) = wire::next(&mut self.inbox, self.max_packet)? {
            self.take(packet)?;
        }
        Ok(())
    }

    fn take(&mut self, packet: Incoming) -> Result<()> {
        match packet {
            Incoming::Publish(publish) => return self.arrive(*publish),
            Incoming::Answer(number, reason) => return self.waiting.answer(number, reason),
            Incoming::Received(number, reason) if reason >= FAILURE => {
                return self.waiting.answer(number, reason);
            }
            Incoming::Received(number, reason) => {
                let waiter = self.waiting.numbered.get_mut(&number);
                waiter.ok_or_else(|| unknown(number))?.reason = reason;
                self.put(|outbox| PubRel::new(number, None).write(outbox))?;
            }
            Incoming::Release(number) => {
                self.put(|outbox| PubComp::new(number, None).write(outbox))?;
            }
            Incoming::Pong => {
                for waiter in self.waiting.asked.take().into_iter().flatten() {
                    waiter.tell(Ok(0));
                }
            }
            Incoming::Disconnect(reason) if reason >= FAILURE => return Err(refused(reason)),
            Incoming::Disconnect(_) => {
                return Err(Error::new(ErrorKind::Closed, "the broker ended the connection"));
            }
        }
        Ok(())
    }

    /// A packet comes. There is room for all that the broker may send before they are acknowledged; some send more, where a
    /// session goes on (Mosquitto 2.0.11). What had room is read and acknowledged then, before the connection ends.
    fn arrive(&mut self, publish: Publish) -> Result<()> {
        let Some(inlet) = &mut self.inlet else { return Err(broken("a packet that nobody subscribed to")) };
        let Some(to) = &inlet.to else { return Ok(()) };
        if publish.qos == QoS::AtMostOnce && to.capacity() <= usize::from(inlet.receive_max) {
            inlet.lost += 1;
            if inlet.lost.is_power_of_two() {
                tracing::warn!(
                    "{} packets of QoS 0 came faster than they were read, and are lost",
                    inlet.lost
                );
            }
            return Ok(());
        }
        if let Err(TrySendError::Full(_)) = to.try_send(publish) {
            // It may have ended already.
            let _ = self.waiting.ended.set(broken("more packets than the receive maximum"));
            inlet.to = None;
        }
        Ok(())
    }

    /// Says goodbye behind all that is to be written, and reads on until the broker ends the connection: bytes that nobody reads
    /// would cut it, and what was written with it.
    async fn goodbye(&mut self) -> std::io::Result<()> {
        let bye = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
        bye.write(&mut self.outbox).map_err(std::io::Error::other)?;
        while write(&mut self.writing, &mut self.outbox).await? > 0 {}
        self.writing.shutdown().await?;
        loop {
            self.inbox.clear();
            if self.reading.read_buf(&mut self.inbox).await? == 0 {
                return Ok(());
            }
        }
    }
}

/// Writes something, or else flushes: 0 then. Cancel-safe.
async fn write<W: AsyncWrite + Unpin>(writing: &mut W, outbox: &mut BytesMut) -> std::io::Result<usize> {
    if outbox.is_empty() {
        return writing.flush().await.map(|()| 0);
    }
    match writing.write_buf(outbox).await? {
        0 => Err(std::io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        self.requests.close();
        while let Ok(request) = self.requests.try_recv() {
            self.waiting.unasked.push(Waiter { answer: request.answer, begins: u64::MAX, reason: 0 });
        }
    }
}

impl Waiting {
    /// A number that no packet on its way has. There is one: places are fewer than numbers.
    fn number(&mut self) -> u16 {
        loop {
            self.last_number = self.last_number.checked_add(1).unwrap_or(1);
            if let Entry::Vacant(_) = self.numbered.entry(self.last_number) {
                return self.last_number;
            }
        }
    }

    fn answer(&mut self, number: u16, reason: u8) -> Result<()> {
        let waiter = self.numbered.remove(&number).ok_or_else(|| unknown(number))?;
        let reason = reason.max(waiter.reason);
        waiter.tell(if reason < FAILURE { Ok(reason) } else { Err(refused(reason)) });
        Ok(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // The packets themselves may well be taken on another connection.
        let why = self.ended.get_or_init(over).clone().with_status(Status::Transient);
        let numbered = self.numbered.drain().map(|(_, waiter)| waiter);
        for waiter in numbered.chain(self.asked.take().into_iter().flatten()).chain(self.unasked.drain(..)) {
            let sent = if waiter.begins < self.written { Sent::Maybe } else { Sent::No };
            waiter.tell(Err(why.clone().with_sent(sent)));
        }
    }
}

impl Waiter {
    fn tell(self, what: Result<u8>) {
        if let (Err(why), Some(place)) = (&what, &self.answer.place)
            && why.status() == Status::Transient
        {
            place.failure.get_or_init(|| why.clone());
        }
        // Who waits no more need not know.
        let _ = self.answer.to.send(what);
    }
}

fn unknown(number: u16) -> Error {
    broken(format_args!("it answers packet {number}, which nobody sent"))
}
