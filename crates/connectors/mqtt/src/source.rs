//! The source: a session with subscriptions, on connections that are made as they are needed.

use std::fmt;
use std::sync::Arc;

use haul_core::{
    Backoff, BoxFuture, Delivery, Error, ErrorKind, Packet, Receipt, Result, Settle, Source, Status,
};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Publish, RetainForwardRule};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Duration, sleep, timeout};

use crate::broker::{Broker, Purpose};
use crate::config::{Qos, SubscriptionConfig, seconds};
use crate::link::{Link, Settler};
use crate::message;

/// Between tries while the broker is away.
const AWAY: Backoff = Backoff { base: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(5) };

/// Reads subscriptions of a session that the broker keeps: at least once, and in order but for what is refused. An
/// acknowledgement (PUBACK, or PUBREC at QoS 2) resolves when the broker has read it: it answered a PINGREQ sent behind it.
///
/// MQTT knows no refusal: what is refused comes again from here after a while, what is dropped at once, and what is neither when
/// the connection ends. While the broker is away it is tried again for ever. If it has lost the session meanwhile, that is
/// one error of kind `Gap`, and then it goes on.
pub struct MqttSource {
    desk: Arc<Desk>,
    feed: Feed,
    again: mpsc::Receiver<Entry>,
}

struct Desk {
    config: SubscriptionConfig,
    broker: Broker,
    room: Arc<Semaphore>,
    again: mpsc::Sender<Entry>,
}

/// The connection at the moment.
struct Feed {
    session: Option<Session>,
    opening: Option<JoinHandle<Result<Session>>>,
    tries: u32,
    /// Whether there was one before, so that the broker should know our session.
    known: bool,
}

struct Session {
    link: Link,
    publishings: mpsc::Receiver<Publish>,
    kept: bool,
}

/// A packet that is not acknowledged, and its place among those.
struct Entry {
    packet: Packet,
    number: u16,
    qos: Qos,
    settler: Settler,
    _place: OwnedSemaphorePermit,
}

impl MqttSource {
    /// A source with this configuration; nothing is connected until the first `next`. Errors: `Config`.
    pub fn new(config: SubscriptionConfig) -> Result<Self> {
        config.check()?;
        let broker = Broker::new(config.server.clone())?;
        let most = usize::from(config.max_unacked);
        // Each has a place.
        let (refused, again) = mpsc::channel(most);
        let room = Arc::new(Semaphore::new(most));
        let feed = Feed { session: None, opening: None, tries: 0, known: false };
        Ok(Self { desk: Arc::new(Desk { config, broker, room, again: refused }), feed, again })
    }
}

impl Source for MqttSource {
    async fn next(&mut self) -> Result<Option<Delivery>> {
        let entry = loop {
            let entry = tokio::select! {
                biased;
                Some(entry) = self.again.recv() => entry,
                entry = self.feed.next(&self.desk) => entry.map_err(|why| self.desk.doing(why))?,
            };
            // The broker gives it again.
            if entry.qos == Qos::AtMostOnce || !entry.settler.is_over() {
                break entry;
            }
        };
        let packet = entry.packet.clone();
        Ok(Some(Delivery::new(packet, Answer { entry, desk: self.desk.clone() })))
    }
}

impl Feed {
    /// The next packet that comes. Cancel-safe.
    async fn next(&mut self, desk: &Arc<Desk>) -> Result<Entry> {
        let closed = |_| Error::new(ErrorKind::Closed, "the source is closed");
        let place = desk.room.clone().acquire_owned().await.map_err(closed)?;
        loop {
            let session = match &mut self.session {
                Some(session) => session,
                None => {
                    self.open(desk).await?;
                    continue;
                }
            };
            if let Some(publish) = session.publishings.recv().await {
                self.tries = 0;
                let (number, settler) = (publish.pkid, session.link.settler());
                let qos = match publish.qos {
                    QoS::AtMostOnce => Qos::AtMostOnce,
                    QoS::AtLeastOnce => Qos::AtLeastOnce,
                    QoS::ExactlyOnce => Qos::ExactlyOnce,
                };
                let packet = message::packet(publish, desk.config.topic_as.as_deref());
                return Ok(Entry { packet, number, qos, settler, _place: place });
            }
            let why = session.link.why();
            self.session = None;
            self.tries += 1;
            if why.status() == Status::Permanent {
                return Err(why);
            }
            tracing::warn!("{}; connecting again", desk.doing(why));
        }
    }

    /// Opens a session, in a task: what is given up goes on. Errors: `Gap`, after it is open; those that do not pass.
    async fn open(&mut self, desk: &Arc<Desk>) -> Result<()> {
        let tries = self.tries;
        let opening = self.opening.get_or_insert_with(|| tokio::spawn(desk.clone().open(tries)));
        let opened = opening.await;
        self.opening = None;
        let ended = |_| Error::new(ErrorKind::Internal, "connecting ended without an answer");
        let session = opened.map_err(ended)??;
        let lost = std::mem::replace(&mut self.known, true) && !session.kept;
        self.session = Some(session);
        match lost {
            true => Err(Error::new(ErrorKind::Gap, "the broker lost the session, and what it kept in it")),
            false => Ok(()),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(opening) = &self.opening {
            opening.abort();
        }
    }
}

impl Desk {
    fn doing(&self, why: Error) -> Error {
        let SubscriptionConfig { server, filters, .. } = &self.config;
        let session = server.client_id.as_deref().unwrap_or_default();
        why.while_doing(format!("read mqtt {} as {session}", filters.join(",")))
    }

    /// Connects and subscribes, again and again while that may help.
    async fn open(self: Arc<Self>, mut tries: u32) -> Result<Session> {
        let mut kept = true;
        loop {
            if let Some(again) = tries.checked_sub(1) {
                sleep(AWAY.wait(again, Backoff::random())).await;
            }
            match self.subscribe(&mut kept).await {
                Ok((link, publishings)) => return Ok(Session { link, publishings, kept }),
                Err(why) if why.status() == Status::Permanent => return Err(why),
                Err(why) => tracing::warn!("{}; trying again", self.doing(why)),
            }
            tries = tries.saturating_add(1);
        }
    }

    async fn subscribe(&self, kept: &mut bool) -> Result<(Link, mpsc::Receiver<Publish>)> {
        let SubscriptionConfig { qos, session, max_unacked, max_packet, .. } = self.config;
        // As many again for those of QoS 0.
        let (to, publishings) = mpsc::channel(2 * usize::from(max_unacked));
        let session = seconds(session).unwrap_or(u32::MAX);
        let purpose = Purpose::Read { session, receive_max: max_unacked, max_packet, to };
        let (link, known) = self.broker.connect(purpose).await?;
        // A session that one try found lost is there for the next.
        *kept &= known;
        for path in &self.config.filters {
            let filter = Filter {
                path: path.clone(),
                qos: message::qos(qos),
                retain_forward_rule: RetainForwardRule::OnNewSubscribe,
                ..Filter::default()
            };
            let patience = self.config.server.timeout;
            let late = |_| Error::new(ErrorKind::Timeout, format!("no answer within {patience:?}"));
            let granted = timeout(patience, link.subscribe(filter)).await.map_err(late).flatten();
            let granted = granted.map_err(|why| if link.stands() { why } else { link.why() });
            let granted = granted.map_err(|why| why.with("filter", path))?;
            if granted < qos as u8 {
                let why = format!("the broker grants QoS {granted}, and {} was asked for", qos as u8);
                return Err(Error::new(ErrorKind::Unsupported, why).with("filter", path));
            }
        }
        Ok((link, publishings))
    }

    async fn acknowledge(&self, entry: Entry) -> Result<()> {
        if entry.qos == Qos::AtMostOnce {
            return Ok(());
        }
        let patience = self.config.server.timeout;
        let late = |_| Error::new(ErrorKind::Timeout, format!("no answer within {patience:?}"));
        let settled = timeout(patience, entry.settler.settle(entry.number, entry.qos)).await;
        settled.map_err(late).flatten().map_err(|why| {
            let why = Error::new(ErrorKind::Closed, "not acknowledged, and given again").with_source(why);
            self.doing(why)
        })
    }

    fn give_again(&self, entry: Entry) {
        // Where the source is gone, the broker gives it again.
        let _ = self.again.try_send(entry);
    }
}

/// The answer to a packet.
struct Answer {
    entry: Entry,
    desk: Arc<Desk>,
}

impl Settle for Answer {
    fn settle(self: Box<Self>, outcome: Result<Receipt>) -> BoxFuture<'static, Result<()>> {
        let Self { entry, desk } = *self;
        Box::pin(async move {
            let why = match outcome {
                Ok(_) => return desk.acknowledge(entry).await,
                Err(why) => why,
            };
            let wait = why.retry_after().unwrap_or(desk.config.again);
            tokio::spawn(async move {
                sleep(wait).await;
                desk.give_again(entry);
            });
            Ok(())
        })
    }

    fn dropped(self: Box<Self>) {
        self.desk.give_again(self.entry);
    }
}

impl fmt::Debug for MqttSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttSource").field("filters", &self.desk.config.filters).finish_non_exhaustive()
    }
}
