//! The source: a consumer of a group, read by a thread of its own, so that the group hears of it however long its packets
//! take, and a `next` that is given up loses nothing.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use haul_core::{BoxFuture, Delivery, Error, ErrorKind, Packet, Receipt, Result, Settle, Source};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Notify;

use crate::client::{self, Cluster};
use crate::config::GroupConfig;
use crate::failure::failed;
use crate::group::{Offsets, Position};
use crate::record;

/// How long the thread waits for records before it looks what else there is to do.
const POLL: Duration = Duration::from_millis(100);

/// How long it waits for room before it asks the cluster to send no more.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads a topic as a consumer of a group: at least once. What is acknowledged is committed as far as nothing before it in
/// its partition is open: every `commit_interval`, when the partition goes to another consumer, and when the source is
/// dropped. An acknowledgement that comes after that is `Closed`, and the packet is given again, by whoever has the
/// partition. What is refused or dropped is given again at once. While the cluster is away it is tried again for ever.
pub struct KafkaSource {
    group: Arc<Group>,
    /// What the thread begins with.
    client: Option<ClientConfig>,
}

/// What thread, source and answers share.
struct Group {
    config: GroupConfig,
    state: Mutex<State>,
    /// An answer came, or the source was dropped: for the thread.
    room: Condvar,
    /// There is something to give: for `next`.
    ready: Notify,
}

#[derive(Default)]
struct State {
    offsets: Offsets,
    queue: VecDeque<Entry>,
    /// Entries in the queue and with those who were given them.
    places: usize,
    /// Nothing is read or committed any more.
    over: bool,
    failed: Option<Error>,
}

/// A record that is not acknowledged.
struct Entry {
    position: Position,
    packet: Result<Packet>,
}

impl KafkaSource {
    /// A source with this configuration; nothing is connected until the first `next`. Errors: `Config`.
    pub fn new(config: GroupConfig) -> Result<Self> {
        let client = Some(config.client()?);
        let (state, room, ready) = (Mutex::default(), Condvar::new(), Notify::new());
        Ok(Self { group: Arc::new(Group { config, state, room, ready }), client })
    }
}

impl Source for KafkaSource {
    async fn next(&mut self) -> Result<Option<Delivery>> {
        if let Some(client) = self.client.take() {
            let group = self.group.clone();
            let thread =
                thread::Builder::new().name("haul-kafka".to_owned()).spawn(move || group.read(client));
            if let Err(why) = thread {
                self.group.end(Some(Error::from(why)));
            }
        }
        loop {
            if let Some(entry) = self.group.take()? {
                return match &entry.packet {
                    Ok(packet) => {
                        let packet = packet.clone();
                        Ok(Some(Delivery::new(packet, Answer { group: self.group.clone(), entry })))
                    }
                    // It would come for ever; the error says which record it is.
                    Err(why) => {
                        let (why, at) = (why.clone(), entry.position);
                        self.group.answer(entry, true)?;
                        Err(self.group.doing(why.with("partition", at.partition).with("offset", at.offset)))
                    }
                };
            }
            self.group.ready.notified().await;
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.group.end(None);
    }
}

impl Group {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doing(&self, why: Error) -> Error {
        why.while_doing(format!("read kafka {} in group {}", self.config.topic, self.config.group))
    }

    /// Nothing is read or committed any more.
    fn end(&self, why: Option<Error>) {
        let mut state = self.state();
        state.over = true;
        if state.failed.is_none() {
            state.failed = why.map(|why| self.doing(why));
        }
        self.room.notify_all();
        self.ready.notify_one();
    }

    /// The next entry, if there is one.
    fn take(&self) -> Result<Option<Entry>> {
        let mut state = self.state();
        match (state.queue.pop_front(), &state.failed) {
            (None, Some(why)) => Err(why.clone()),
            (entry, _) => Ok(entry),
        }
    }

    /// Takes the answer to an entry. Errors: `Closed`, if it comes too late.
    fn answer(&self, entry: Entry, acknowledged: bool) -> Result<()> {
        let mut state = self.state();
        if !acknowledged && !state.over && state.offsets.is_ours(&entry.position) {
            state.queue.push_back(entry);
            self.ready.notify_one();
            return Ok(());
        }
        state.places -= 1;
        self.room.notify_all();
        if !acknowledged || (!state.over && state.offsets.acknowledged(&entry.position)) {
            return Ok(());
        }
        let why = "not acknowledged, and given again: the partition went to another consumer, or the source is gone";
        Err(self.doing(Error::new(ErrorKind::Closed, why)))
    }

    /// The thread: reads until the source is dropped or nothing will help.
    fn read(self: Arc<Self>, client: ClientConfig) {
        /// Also for a panic: `next` would wait for ever.
        struct Ends(Arc<Group>);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.end(Some(Error::new(ErrorKind::Internal, "the reading thread ended")));
            }
        }
        let ends = Ends(self);
        if let Err(why) = ends.0.consume(&client) {
            ends.0.end(Some(why));
        }
    }

    fn consume(self: &Arc<Self>, client: &ClientConfig) -> Result<()> {
        let member = Member { group: self.clone(), cluster: Cluster::new(), paused: AtomicBool::new(false) };
        let consumer: BaseConsumer<Member> =
            client.create_with_context(member).map_err(|why| failed(&why))?;
        let member = consumer.context().clone();
        if !self.find(&consumer)? {
            return Ok(());
        }
        consumer.subscribe(&[&self.config.topic]).map_err(|why| failed(&why))?;
        loop {
            let room = self.wait_for_room();
            self.store(&consumer);
            let Some(room) = room else { return Ok(()) };
            let was_paused = member.paused.swap(!room, Ordering::AcqRel);
            if was_paused == room {
                let all = consumer.assignment().map_err(|why| failed(&why))?;
                let done = if room { consumer.resume(&all) } else { consumer.pause(&all) };
                done.map_err(|why| failed(&why))?;
            }
            match consumer.poll(POLL) {
                Some(Ok(record)) => {
                    let packet = record::packet(&record, self.config.key.as_deref());
                    self.push(record.partition(), record.offset(), packet);
                }
                Some(Err(why)) => self.judge(&why)?,
                None => {}
            }
        }
    }

    /// Waits for the cluster, and a little for the topic; false if the source was dropped meanwhile.
    fn find(&self, consumer: &BaseConsumer<Member>) -> Result<bool> {
        let patience = Instant::now() + self.config.server.connect_timeout;
        while !self.state().over {
            let cluster = &consumer.context().cluster;
            match cluster.reach(consumer.client(), Some(&self.config.topic), Instant::now() + PATIENCE) {
                Ok(()) => return Ok(true),
                Err(why) if why.kind() == ErrorKind::Connect => {
                    tracing::warn!("{}; trying again", self.doing(why))
                }
                Err(why) if why.kind() == ErrorKind::NotFound && Instant::now() < patience => {}
                Err(why) => return Err(why),
            }
            // What it is told comes by this.
            let _ = consumer.poll(POLL);
        }
        Ok(false)
    }

    /// Whether there is room, after some waiting; `None` if there is no need any more.
    fn wait_for_room(&self) -> Option<bool> {
        let full = |state: &mut State| state.places >= self.config.max_unacked && !state.over;
        let (state, _) = self
            .room
            .wait_timeout_while(self.state(), PATIENCE, full)
            .unwrap_or_else(PoisonError::into_inner);
        (!state.over).then_some(state.places < self.config.max_unacked)
    }

    fn push(&self, partition: i32, offset: i64, packet: Result<Packet>) {
        let mut state = self.state();
        if let Some(position) = state.offsets.given(partition, offset) {
            state.queue.push_back(Entry { position, packet });
            state.places += 1;
            self.ready.notify_one();
        }
    }

    /// Tells the client what to commit.
    fn store(&self, consumer: &BaseConsumer<Member>) {
        let commits = self.state().offsets.commits();
        if commits.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(commits.len());
        for (partition, offset) in commits {
            if let Err(why) = list.add_partition_offset(&self.config.topic, partition, Offset::Offset(offset))
            {
                tracing::warn!("offset {offset} of partition {partition} is no offset: {why}");
            }
        }
        if let Err(why) = consumer.store_offsets(&list) {
            tracing::warn!(
                "{}",
                self.doing(failed(&why).while_doing("acknowledged packets will be given again"))
            );
        }
    }

    /// Partitions went to another consumer.
    fn revoked(&self, partitions: &TopicPartitionList) {
        let mut state = self.state();
        for partition in partitions.elements() {
            state.offsets.revoked(partition.partition());
        }
        let State { offsets, queue, places, .. } = &mut *state;
        queue.retain(|entry| {
            let ours = offsets.is_ours(&entry.position);
            *places -= usize::from(!ours);
            ours
        });
        self.room.notify_all();
    }

    /// Errors: those that will not pass by themselves.
    fn judge(&self, why: &KafkaError) -> Result<()> {
        let error = failed(why);
        match (why, error.kind()) {
            (KafkaError::MessageConsumptionFatal(_), _) | (_, ErrorKind::Unauthorized) => Err(error),
            _ => {
                tracing::warn!("{}; going on", self.doing(error));
                Ok(())
            }
        }
    }
}

/// The consumer in the eyes of the client.
struct Member {
    group: Arc<Group>,
    cluster: Cluster,
    paused: AtomicBool,
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.cluster.heard(&error, reason);
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            self.group.store(consumer);
            self.group.revoked(partitions);
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let (Rebalance::Assign(partitions), true) = (rebalance, self.paused.load(Ordering::Acquire))
            && let Err(why) = consumer.pause(partitions)
        {
            tracing::warn!("{}", self.group.doing(failed(&why)));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(why) = result {
            tracing::warn!("{}", self.group.doing(failed(&why).while_doing("commit")));
        }
    }
}

/// The answer to an entry.
struct Answer {
    group: Arc<Group>,
    entry: Entry,
}

impl Settle for Answer {
    fn settle(self: Box<Self>, outcome: Result<Receipt>) -> BoxFuture<'static, Result<()>> {
        let answered = self.group.answer(self.entry, outcome.is_ok());
        Box::pin(async { answered })
    }

    fn dropped(self: Box<Self>) {
        // A refusal never fails.
        let _ = self.group.answer(self.entry, false);
    }
}

impl fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSource").field("topic", &self.group.config.topic).finish_non_exhaustive()
    }
}
