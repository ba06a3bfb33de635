#![doc = include_str!("../README.md")]

#[cfg(feature = "config")]
pub mod config;
mod open;
#[cfg(feature = "adaptive")]
mod realtime;
mod registry;
mod stack;

pub use haul_core::*;

#[cfg(feature = "config")]
pub use config::Config;
#[cfg(feature = "reconnect")]
pub use open::connect_lazy;
pub use open::{deliver, listen, source};
#[cfg(feature = "adaptive")]
pub use realtime::{connect_realtime, realtime};
pub use registry::registry;
pub use stack::{Connect, Stack, connect};

#[cfg(feature = "adaptive")]
pub use haul_adaptive as adaptive;
#[cfg(feature = "amqp")]
pub use haul_amqp as amqp;
#[cfg(feature = "auth")]
pub use haul_auth as auth;
#[cfg(feature = "aws")]
pub use haul_aws as aws;
#[cfg(feature = "balance")]
pub use haul_balance as balance;
#[cfg(feature = "batch")]
pub use haul_batch as batch;
#[cfg(feature = "breaker")]
pub use haul_breaker as breaker;
#[cfg(feature = "callback")]
pub use haul_callback as callback;
#[cfg(feature = "cloudwatch")]
pub use haul_cloudwatch as cloudwatch;
#[cfg(feature = "dedupe")]
pub use haul_dedupe as dedupe;
#[cfg(feature = "event-log")]
pub use haul_event_log as event_log;
#[cfg(feature = "fallback")]
pub use haul_fallback as fallback;
#[cfg(feature = "fanout")]
pub use haul_fanout as fanout;
#[cfg(feature = "file")]
pub use haul_file as file;
#[cfg(feature = "gcp-logging")]
pub use haul_gcp_logging as gcp_logging;
#[cfg(feature = "heartbeat")]
pub use haul_heartbeat as heartbeat;
#[cfg(feature = "http")]
pub use haul_http as http;
#[cfg(feature = "journal")]
pub use haul_journal as journal;
#[cfg(feature = "kafka")]
pub use haul_kafka as kafka;
#[cfg(feature = "limit")]
pub use haul_limit as limit;
#[cfg(feature = "log")]
pub use haul_log as log;
#[cfg(feature = "mem")]
pub use haul_mem as mem;
#[cfg(feature = "mock")]
pub use haul_mock as mock;
#[cfg(feature = "mongodb")]
pub use haul_mongodb as mongodb;
#[cfg(feature = "mqtt")]
pub use haul_mqtt as mqtt;
#[cfg(feature = "nats")]
pub use haul_nats as nats;
#[cfg(feature = "null")]
pub use haul_null as null;
#[cfg(feature = "outbox")]
pub use haul_outbox as outbox;
#[cfg(feature = "postgres")]
pub use haul_postgres as postgres;
#[cfg(feature = "queue")]
pub use haul_queue as queue;
#[cfg(feature = "quic")]
pub use haul_quic as quic;
#[cfg(feature = "reconnect")]
pub use haul_reconnect as reconnect;
#[cfg(feature = "redis")]
pub use haul_redis as redis;
#[cfg(feature = "retry")]
pub use haul_retry as retry;
#[cfg(feature = "serve")]
pub use haul_serve as serve;
#[cfg(feature = "session")]
pub use haul_session as session;
#[cfg(feature = "sqs")]
pub use haul_sqs as sqs;
#[cfg(feature = "sse")]
pub use haul_sse as sse;
#[cfg(feature = "tcp")]
pub use haul_tcp as tcp;
#[cfg(feature = "timeout")]
pub use haul_timeout as timeout;
#[cfg(feature = "tls")]
pub use haul_tls as tls;
#[cfg(feature = "tower")]
pub use haul_tower as tower;
#[cfg(feature = "trace")]
pub use haul_trace as trace;
#[cfg(feature = "ws")]
pub use haul_ws as ws;
#[cfg(feature = "wt")]
pub use haul_wt as wt;

/// The example of the workspace's front door is compiled and run.
#[cfg(all(doctest, feature = "ws"))]
#[doc = include_str!("../../../README.md")]
mod front_door {}

/// So are those of the guides.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/own-transport.md")]
mod own_transport {}

#[cfg(all(doctest, feature = "outbox", feature = "null"))]
#[doc = include_str!("../../../docs/guides/outbox.md")]
mod outbox_guide {}

/// And those of the pages for users.
#[cfg(all(doctest, feature = "protocols", feature = "layers"))]
mod pages {
    #[doc = include_str!("../../../docs/sessions.md")]
    mod sessions {}
    #[doc = include_str!("../../../docs/migration/realtime.md")]
    mod realtime {}
    #[doc = include_str!("../../../docs/guides/scale-out.md")]
    mod scale_out {}
    #[cfg(all(feature = "config", feature = "callback", feature = "log", feature = "mock"))]
    #[doc = include_str!("../../../docs/migration/delivery.md")]
    mod delivery {}
}
