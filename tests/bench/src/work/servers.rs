//! The bars of servers that store packets: each starts its own.

use std::time::Duration;

use super::Bar;
use super::amqp::Rabbit;
use super::bars::Bars;
use super::kafka::Kafka;
use super::mongodb::Ferret;
use super::mqtt::Mosquitto;
use super::nats::Nats;
use super::postgres::Postgres;
use super::redis::Redis;
use crate::measure::Sample;

/// Against whom, what must be reached, and by hand how.
type Peer<S> = (&'static str, Bar, fn(&S, Duration) -> Sample);

impl Bars<'_> {
    pub(crate) fn servers(&mut self) {
        let bar = Bar::AtLeast(0.9);
        self.server(
            "redis, XADD, pipelines of 1000, 200 B",
            Redis::start,
            Redis::haul,
            [
                ("redis-rs, pipelines", Bar::AtLeast(0.95), Redis::by_hand),
                ("redis-rs, each awaited", Bar::AtLeast(5.0), Redis::one_by_one),
            ],
        );
        self.server(
            "postgres, 1000 rows a statement, 200 B",
            Postgres::start,
            Postgres::haul,
            [
                ("tokio-postgres, insert", bar, Postgres::by_insert),
                ("tokio-postgres, COPY", bar, Postgres::by_copy),
            ],
        );
        self.server(
            "nats, JetStream, 1000 on their way, 200 B",
            Nats::start,
            Nats::haul,
            [("async-nats", bar, Nats::by_hand)],
        );
        self.server(
            "amqp, 1000 confirms on their way, 200 B",
            Rabbit::start,
            Rabbit::haul,
            [("lapin", bar, Rabbit::by_hand)],
        );
        self.server(
            "kafka, 40000 records on their way, 200 B",
            Kafka::start,
            Kafka::haul,
            [("rdkafka", bar, Kafka::by_hand)],
        );
        self.server(
            "mqtt, QoS 1, 1000 on their way, 200 B",
            Mosquitto::start,
            Mosquitto::haul,
            [("rumqttc", bar, Mosquitto::by_hand)],
        );
        self.server(
            "mongodb, FerretDB, 1000 documents an insert, 200 B",
            Ferret::start,
            Ferret::haul,
            [("mongodb, insert_many", bar, Ferret::by_hand)],
        );
    }

    /// Starts a server and measures haul against each peer, if any of that is wanted.
    fn server<S, const N: usize>(
        &mut self,
        name: &str,
        start: fn() -> Option<S>,
        haul: fn(&S, Duration) -> Sample,
        peers: [Peer<S>; N],
    ) {
        if !peers.iter().any(|(peer, ..)| self.wants(&format!("{name} vs {peer}"))) {
            return;
        }
        let Some(server) = start() else { return };
        for (peer, bar, by_hand) in peers {
            let what = ("packets/s", peer, bar);
            self.ratio(name, what, |length| haul(&server, length), |length| by_hand(&server, length));
        }
    }
}
