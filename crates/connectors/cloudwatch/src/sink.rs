//! The sink: events by stream, many in a request.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use futures_util::{StreamExt as _, stream};
use haul_core::{
    Batch, BoxFuture, Calls, Error, ErrorKind, Level, Packet, Receipt, Result, Service, Sink, Status,
};

use crate::config::CloudwatchConfig;
use crate::event::{self, Event};
use crate::group::Group;

/// Calls at once; further ones wait.
const CALLS: u32 = 1024;

/// Delivers packets to a log group. Receipts are [`Level::Stored`]; the server names nothing that could be their reference.
///
/// Nothing makes it idempotent: what is delivered twice is there twice, with the same `id` in its envelope.
///
/// The packets of a call are split by stream, and sorted by time within each, as the server asks; those of one moment keep
/// their order. Streams are written at the same time, each one request after the other; after a failure that may pass nothing
/// more is tried in its stream. Dropping a call's future cuts the requests under way, which may have arrived.
pub struct CloudwatchSink {
    config: CloudwatchConfig,
    group: Group,
    calls: Calls,
}

impl CloudwatchSink {
    /// A sink with this configuration; nothing is connected yet. Errors: `Config`.
    pub fn new(config: CloudwatchConfig) -> Result<Self> {
        config.check()?;
        let group = Group::new(config.account.clone(), &config.group, config.create);
        Ok(Self { config, group, calls: Calls::new(CALLS) })
    }

    /// Writes the events of one stream; answers what became of which packet.
    async fn write(&self, stream: String, events: Vec<Event>) -> Vec<(usize, Result<()>)> {
        let (mut outcomes, mut failed): (_, Option<Error>) = (Vec::with_capacity(events.len()), None);
        for request in event::requests(events) {
            let answers = match &failed {
                Some(behind) => vec![Err(behind.clone()); request.len()],
                None => self.group.put(&stream, &request).await,
            };
            let mut failures = answers.iter().filter_map(|answer| answer.as_ref().err());
            let passing = failures.find(|why| why.status() == Status::Transient).map(Error::not_tried);
            failed = failed.or(passing);
            outcomes.extend(request.iter().map(|event| event.place).zip(answers));
        }
        outcomes
    }

    async fn deliver_all(&self, packets: &[Packet]) -> Result<Vec<Result<Receipt>>> {
        let _call = self.calls.begin().await.map_err(|why| self.group.doing(why))?;
        let now = jiff::Timestamp::try_from(SystemTime::now());
        let now = now.map_err(|why| Error::new(ErrorKind::Config, format!("this machine's clock: {why}")))?;
        let mut streams: BTreeMap<String, Vec<Event>> = BTreeMap::new();
        let mut refused = Vec::new();
        for (place, packet) in packets.iter().enumerate() {
            let event = Event::new(place, packet, &self.config, now.as_millisecond());
            match event.and_then(|event| Ok((self.stream(packet)?, event))) {
                Ok((stream, event)) => streams.entry(stream).or_default().push(event),
                Err(why) => refused.push((place, Err(self.group.doing(why)))),
            }
        }
        let writes: Vec<BoxFuture<'_, _>> =
            streams.into_iter().map(|(stream, events)| Box::pin(self.write(stream, events)) as _).collect();
        let written: Vec<_> = stream::iter(writes).buffer_unordered(self.config.streams).collect().await;
        let mut outcomes: Vec<_> = refused.into_iter().chain(written.into_iter().flatten()).collect();
        outcomes.sort_by_key(|(place, _)| *place);
        let receipt = |(place, outcome): (usize, Result<()>)| {
            outcome.map(|()| Receipt::new(Level::Stored, packets[place].id()))
        };
        Ok(outcomes.into_iter().map(receipt).collect())
    }

    /// Errors: `Rejected` for names that no stream has, and what the template says.
    fn stream(&self, packet: &Packet) -> Result<String> {
        let name = self.config.stream.render(packet)?.into_owned();
        if !(1..=512).contains(&name.chars().count()) || name.contains([':', '*']) {
            let why = format!("a stream is called by 1 to 512 characters without : and *, not {name:?}");
            return Err(Error::new(ErrorKind::Rejected, why).with_sent(haul_core::Sent::No));
        }
        Ok(name)
    }
}

impl Service<Batch> for CloudwatchSink {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.deliver_all(batch.packets()).await
    }
}

impl Service<Packet> for CloudwatchSink {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let mut outcomes = self.deliver_all(std::slice::from_ref(&packet)).await?;
        outcomes.pop().expect("one outcome per packet")
    }
}

impl Sink for CloudwatchSink {
    /// Asks for the group, and makes it where it may be made.
    async fn ready(&self) -> Result<()> {
        let _call = self.calls.begin().await.map_err(|why| self.group.doing(why))?;
        self.group.find().await
    }

    async fn close(&self) -> Result<()> {
        self.calls.close().await;
        Ok(())
    }
}

impl fmt::Debug for CloudwatchSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudwatchSink").field("group", &self.config.group).finish_non_exhaustive()
    }
}
