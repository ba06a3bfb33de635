//! The sink: commands in pipelines.

use std::borrow::Cow;
use std::fmt;

use haul_core::{
    Batch, Calls, Error, ErrorKind, Level, Packet, Receipt, Result, Sent, Service, Sink, Status,
};
use jiff::Timestamp;
use redis::{Cmd, RedisResult, Value, from_redis_value};

use crate::config::{RedisConfig, Target};
use crate::entry;
use crate::failure::failed;
use crate::server::Connector;

/// Calls at once; further ones wait.
const CALLS: u32 = 4096;

/// Bytes of payloads after which a pipeline takes no further command.
const PIPELINE: usize = 4 << 20;

/// Arguments that a command has room for at first: its name, where it goes, and some fields.
const ARGUMENTS: usize = 20;

/// Commands that go at once.
struct Packed {
    pipeline: redis::Pipeline,
    /// Of each packet that has its place here, why it has no command, if it has none.
    refusals: Vec<Option<Error>>,
}

/// Delivers packets to Redis. Receipts of streams are [`Level::Stored`], with the entry's id as reference, and of lists: the
/// server has them as safely as it keeps anything. Those of channels are [`Level::Acknowledged`] with the number of
/// subscribers, and [`Level::Discarded`] where there is none.
///
/// Nothing makes it idempotent: what is delivered twice is there twice, with the same `id`.
///
/// The packets of a call keep their order. After a failure of connection or server that may pass, those behind its pipeline
/// are not tried; within one the server takes each command for itself. Dropping a call's future leaves out what was not
/// written yet.
pub struct RedisSink {
    config: RedisConfig,
    connector: Connector,
    calls: Calls,
}

impl RedisSink {
    /// A sink with this configuration; nothing is connected yet. Errors: `Config`.
    pub fn new(config: RedisConfig) -> Result<Self> {
        config.check()?;
        let connector = Connector::new(config.server.clone())?;
        Ok(Self { config, connector, calls: Calls::new(CALLS) })
    }

    fn doing(&self, why: Error) -> Error {
        why.while_doing(format!("deliver to redis {}", self.config.to.as_str()))
    }

    /// The command for a packet, and its key.
    fn command<'a>(&'a self, packet: &'a Packet, now: &str) -> Result<(Cow<'a, str>, Cmd)> {
        if packet.len() > self.config.max_packet {
            let error = Error::new(ErrorKind::TooLarge, format!("a packet of {} bytes", packet.len()));
            return Err(error.with("max_packet", self.config.max_packet).with_sent(Sent::No));
        }
        let key = self.config.to.render(packet)?;
        let beside = key.len() + 2 * (packet.weight() - packet.len());
        let mut command = Cmd::with_capacity(ARGUMENTS, packet.len() + beside);
        match self.config.target {
            Target::Stream => {
                command.arg("XADD").arg(&*key);
                if let Some(most) = self.config.max_len {
                    command.arg("MAXLEN").arg("~").arg(most);
                }
                command.arg("*");
                match &self.config.fields[..] {
                    [] => entry::usual(packet, now, &mut command)?,
                    fields => entry::mapped(packet, fields, &mut command)?,
                }
            }
            target => {
                if !packet.metadata().is_empty() {
                    let why = "lists and channels carry no metadata; as=stream does";
                    return Err(Error::new(ErrorKind::Unsupported, why).with_sent(Sent::No));
                }
                let name = if target == Target::List { "RPUSH" } else { "PUBLISH" };
                command.arg(name).arg(&*key).arg(&packet.payload()[..]);
            }
        }
        Ok((key, command))
    }

    fn receipt(&self, packet: &Packet, answer: Value) -> Result<Receipt> {
        let wrong =
            |why: redis::ParsingError| Error::new(ErrorKind::Protocol, format!("a strange answer: {why}"));
        Ok(match self.config.target {
            Target::Stream => {
                let id: String = from_redis_value(answer).map_err(wrong)?;
                Receipt::new(Level::Stored, packet.id()).with_reference(id)
            }
            Target::List => Receipt::new(Level::Stored, packet.id()),
            Target::Channel => {
                let subscribers: u64 = from_redis_value(answer).map_err(wrong)?;
                let level = if subscribers == 0 { Level::Discarded } else { Level::Acknowledged };
                Receipt::new(level, packet.id()).with_reference(subscribers.to_string())
            }
        })
    }

    /// Packs the first of `packets`, as many as go in one pipeline.
    fn pack(&self, packets: &[Packet]) -> Packed {
        let most = packets.len().min(self.config.pipeline);
        let mut pipeline = redis::Pipeline::with_capacity(most);
        let (mut refusals, mut bytes, now) = (Vec::with_capacity(most), 0, Timestamp::now().to_string());
        let mut first: Option<Cow<'_, str>> = None;
        for packet in packets {
            if pipeline.len() == self.config.pipeline || bytes >= PIPELINE {
                break;
            }
            let command = self.command(packet, &now);
            if let Ok((key, _)) = &command {
                let first = first.get_or_insert_with(|| key.clone());
                // The slots of a cluster are on different nodes.
                if self.config.server.cluster && first != key {
                    break;
                }
            }
            bytes += packet.len();
            match command {
                Ok((_, command)) => {
                    pipeline.add_command(command);
                    refusals.push(None);
                }
                Err(why) => refusals.push(Some(why)),
            }
        }
        Packed { pipeline, refusals }
    }

    /// The outcomes of packets that were packed so.
    fn outcomes(
        &self,
        packets: &[Packet],
        refusals: Vec<Option<Error>>,
        answered: Result<Vec<RedisResult<Value>>>,
    ) -> Vec<Result<Receipt>> {
        let (mut answers, failure) = match answered {
            Ok(answers) => (answers.into_iter(), None),
            Err(why) => (Vec::new().into_iter(), Some(why)),
        };
        let outcomes = packets.iter().zip(refusals).map(|(packet, refusal)| {
            refusal.map_or(Ok(()), Err)?;
            match (&failure, answers.next()) {
                (Some(why), _) => Err(why.clone()),
                (None, Some(Ok(answer))) => self.receipt(packet, answer),
                (None, Some(Err(why))) => Err(failed(&why)),
                (None, None) => Err(Error::new(ErrorKind::Protocol, "an answer is missing")),
            }
        });
        outcomes.map(|outcome| outcome.map_err(|why| self.doing(why))).collect()
    }

    async fn ask(&self, mut pipeline: redis::Pipeline) -> Result<Vec<RedisResult<Value>>> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.connector.connection().await?;
        let answered = pipeline.ignore_errors().query_async::<Vec<RedisResult<Value>>>(&mut connection).await;
        let why = match &answered {
            Ok(answers) => answers.iter().find_map(|answer| answer.as_ref().err()),
            Err(why) => Some(why),
        };
        if let Some(why) = why {
            self.connector.judge(why).await;
        }
        answered.map_err(|why| failed(&why))
    }

    async fn deliver_in_order(&self, packets: &[Packet]) -> Result<Vec<Result<Receipt>>> {
        let _call = self.calls.begin().await.map_err(|why| self.doing(why))?;
        let mut outcomes: Vec<Result<Receipt>> = Vec::with_capacity(packets.len());
        let mut packed = self.pack(packets);
        while outcomes.len() < packets.len() {
            let (these, rest) = packets[outcomes.len()..].split_at(packed.refusals.len());
            // While one is on its way the next is packed: the server need not wait for it.
            let (answered, next) = tokio::join!(biased; self.ask(packed.pipeline), async { self.pack(rest) });
            let some = self.outcomes(these, packed.refusals, answered);
            packed = next;
            let mut failures = some.iter().filter_map(|outcome| outcome.as_ref().err());
            let passing = failures.find(|why| why.status() == Status::Transient).map(Error::not_tried);
            outcomes.extend(some);
            if let Some(behind) = passing {
                outcomes.resize_with(packets.len(), || Err(behind.clone()));
            }
        }
        Ok(outcomes)
    }
}

impl Service<Batch> for RedisSink {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.deliver_in_order(batch.packets()).await
    }
}

impl Service<Packet> for RedisSink {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let mut outcomes = self.deliver_in_order(std::slice::from_ref(&packet)).await?;
        outcomes.pop().expect("one outcome per packet")
    }
}

impl Sink for RedisSink {
    /// Connects, and asks with PING.
    async fn ready(&self) -> Result<()> {
        let _call = self.calls.begin().await.map_err(|why| self.doing(why))?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("PING");
        let answers = self.ask(pipeline).await.map_err(|why| self.doing(why))?;
        let refused = answers.into_iter().find_map(RedisResult::err);
        refused.map_or(Ok(()), |why| Err(self.doing(failed(&why))))
    }

    async fn close(&self) -> Result<()> {
        self.calls.close().await;
        self.connector.forget().await;
        Ok(())
    }
}

impl fmt::Debug for RedisSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSink").field("to", &self.config.to.as_str()).finish_non_exhaustive()
    }
}
