//! The sink: publishings that go out one behind the other, and are answered later.

use std::fmt;
use std::sync::{Arc, OnceLock};

use haul_core::{
    Batch, Calls, Error, ErrorKind, Level, Packet, Receipt, Result, Sent, Service, Sink, Status,
};
use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use crate::broker::{Broker, Purpose};
use crate::config::{MqttConfig, Qos};
use crate::failure::NO_SUBSCRIBERS;
use crate::link::{Answered, Link, answered};
use crate::message;

/// Calls at once; further ones wait.
const CALLS: u32 = 4096;

/// Delivers packets to topics of an MQTT 5 broker. At QoS 1 and 2 a receipt is [`Level::Acknowledged`]: the broker has the packet,
/// and nobody knows what it does with it; at QoS 0 it is [`Level::Sent`]: the broker has read it, or refused it without a word.
///
/// A packet's id is a user property that no broker looks at, so what is delivered twice is there twice.
///
/// The packets of a call keep their order. Once one fails in a way that may pass, no further one goes out; those that were on
/// their way behind it may be taken. What a call that was dropped had handed over goes out.
pub struct MqttSink {
    config: MqttConfig,
    broker: Broker,
    current: Mutex<Option<Arc<Link>>>,
    calls: Calls,
}

impl MqttSink {
    /// A sink with this configuration; nothing is connected yet. Errors: `Config`.
    pub fn new(config: MqttConfig) -> Result<Self> {
        config.check()?;
        let broker = Broker::new(config.server.clone())?;
        Ok(Self { config, broker, current: Mutex::default(), calls: Calls::new(CALLS) })
    }

    fn doing(&self, why: Error) -> Error {
        why.while_doing(format!("deliver to mqtt {}", self.config.topic.as_str()))
    }

    async fn deliver_in_order(&self, packets: &[Packet]) -> Result<Vec<Result<Receipt>>> {
        let _call = self.calls.begin().await.map_err(|why| self.doing(why))?;
        if packets.is_empty() {
            return Ok(Vec::new());
        }
        let link = self.link().await.map_err(|why| self.doing(why))?;
        let outcomes = self.publish_all(&link, packets).await;
        Ok(outcomes.into_iter().map(|outcome| outcome.map_err(|why| self.doing(why))).collect())
    }

    /// The connection that stands, or else a new one. Errors: nothing was sent.
    async fn link(&self) -> Result<Arc<Link>> {
        let mut current = self.current.lock().await;
        if let Some(link) = current.as_ref().filter(|link| link.stands()) {
            return Ok(link.clone());
        }
        let purpose = Purpose::Publish { pipeline: self.config.pipeline, qos: self.config.qos };
        let (link, _) = self.broker.connect(purpose).await?;
        let lacks = match self.config {
            MqttConfig { qos, .. } if qos as u8 > link.limits.qos => Some(format!("QoS {}", qos as u8)),
            MqttConfig { retain: true, .. } if !link.limits.retain => Some("retained packets".to_owned()),
            _ => None,
        };
        if let Some(what) = lacks {
            let why = format!("the broker does not have {what}");
            return Err(Error::new(ErrorKind::Unsupported, why).with_sent(Sent::No));
        }
        Ok(current.insert(Arc::new(link)).clone())
    }

    async fn publish_all(&self, link: &Link, packets: &[Packet]) -> Vec<Result<Receipt>> {
        let failure = Arc::new(OnceLock::new());
        let note = |why: &Error| {
            if why.status() == Status::Transient {
                failure.get_or_init(|| why.clone());
            }
        };
        let (on_their_way, mut begun) = mpsc::channel(self.config.pipeline.into());
        let publish = async {
            // It ends with this block, and with it the other.
            let on_their_way = on_their_way;
            for packet in packets {
                if failure.get().is_some() {
                    break;
                }
                let answer = self.publish(link, packet, &failure).await.inspect_err(note);
                if on_their_way.send(answer).await.is_err() {
                    break;
                }
            }
        };
        let collect = async {
            let mut outcomes = Vec::with_capacity(packets.len());
            while let Some(answer) = begun.recv().await {
                let reason = match answer {
                    Ok(answer) => self.answer(link, answer).await,
                    Err(why) => Err(why),
                };
                let packet = &packets[outcomes.len()];
                outcomes.push(reason.and_then(|reason| self.receipt(packet, reason)).inspect_err(note));
            }
            outcomes
        };
        let ((), mut outcomes) = tokio::join!(publish, collect);
        if let Some(why) = failure.get() {
            outcomes.resize_with(packets.len(), || Err(why.not_tried()));
        }
        outcomes
    }

    /// Hands a packet over. Errors: nothing was sent.
    async fn publish(
        &self,
        link: &Link,
        packet: &Packet,
        failure: &Arc<OnceLock<Error>>,
    ) -> Result<Answered> {
        let publish = message::publish(packet, &self.config)?;
        // Its number has no place yet.
        let size = Publish::size(&publish) + 2;
        if size > link.limits.max_packet {
            let why = format!("the broker takes no packet of {size} bytes, properties and topic among them");
            return Err(Error::new(ErrorKind::TooLarge, why).with("largest", link.limits.max_packet));
        }
        match timeout(self.config.server.timeout, link.publish(publish, failure)).await {
            Ok(answer) => answer,
            Err(_) => {
                link.cut(self.late());
                Err(self.late().with_sent(Sent::No))
            }
        }
    }

    /// The broker's reason code. Where it does not come in time the connection is cut: what was not written then, never will be.
    async fn answer(&self, link: &Link, mut answer: Answered) -> Result<u8> {
        match timeout(self.config.server.timeout, &mut answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(link.why().with_sent(Sent::Maybe))),
            Err(_) => {
                link.cut(self.late());
                answered(answer).await
            }
        }
    }

    fn late(&self) -> Error {
        Error::new(ErrorKind::Timeout, format!("no answer within {:?}", self.config.server.timeout))
    }

    fn receipt(&self, packet: &Packet, reason: u8) -> Result<Receipt> {
        let MqttConfig { qos, retain, mandatory, .. } = self.config;
        let level = match reason {
            NO_SUBSCRIBERS if !retain && mandatory => {
                let why = "the broker threw it away: no matching subscribers; mandatory=false allows that";
                return Err(Error::new(ErrorKind::NotFound, why));
            }
            NO_SUBSCRIBERS if !retain => Level::Discarded,
            _ if qos == Qos::AtMostOnce => Level::Sent,
            _ => Level::Acknowledged,
        };
        Ok(Receipt::new(level, packet.id()))
    }

    async fn ask(&self) -> Result<()> {
        let link = self.link().await?;
        match timeout(self.config.server.timeout, link.ping()).await {
            Ok(answer) => answer,
            Err(_) => {
                link.cut(self.late());
                Err(self.late())
            }
        }
    }
}

impl Service<Batch> for MqttSink {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.deliver_in_order(batch.packets()).await
    }
}

impl Service<Packet> for MqttSink {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let mut outcomes = self.deliver_in_order(std::slice::from_ref(&packet)).await?;
        outcomes.pop().expect("one outcome per packet")
    }
}

impl Sink for MqttSink {
    /// Connects, and asks for an answer.
    async fn ready(&self) -> Result<()> {
        let _call = self.calls.begin().await.map_err(|why| self.doing(why))?;
        self.ask().await.map_err(|why| self.doing(why))
    }

    async fn close(&self) -> Result<()> {
        self.calls.close().await;
        let link = self.current.lock().await.take();
        if let Some(link) = link.and_then(Arc::into_inner) {
            link.close().await;
        }
        Ok(())
    }
}

impl fmt::Debug for MqttSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttSink").field("topic", &self.config.topic.as_str()).finish_non_exhaustive()
    }
}
