//! The connector against a Redis server.

#![allow(clippy::unwrap_used)]

mod faults;
mod places;
mod support;

use haul_core::{AnySink, AnySource, DeliverAll};
use haul_kit::{sink, source};
use haul_redis::{GroupConfig, RedisConfig, RedisSink, RedisSource};

use support::{Redis, read_all};

#[tokio::test(flavor = "multi_thread")]
async fn sinks() {
    if Redis::start(&[]).is_none() {
        return;
    }
    sink::suite("haul-redis", async || {
        let redis = Redis::start(&[]).expect("it was there");
        let (port, stream) = (redis.port, support::fresh("sink"));
        let url = format!("redis://127.0.0.1:{port}/{stream}?max_packet=1MiB");
        let config = RedisConfig::from_endpoint(&url.parse().unwrap()).unwrap();
        let rig = sink::Rig::new(AnySink::new(RedisSink::new(config).unwrap())).holds(redis);
        rig.reads_back(move || {
            let stream = stream.clone();
            async move { read_all(port, &stream).await }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources() {
    if Redis::start(&[]).is_none() {
        return;
    }
    source::suite("haul-redis", async || {
        let redis = Redis::start(&[]).expect("it was there");
        let url = format!("redis://127.0.0.1:{}/{}", redis.port, support::fresh("source"));
        let to = RedisConfig::from_endpoint(&url.parse().unwrap()).unwrap();
        let from = GroupConfig::from_endpoint(&format!("{url}?max_unacked=16").parse().unwrap()).unwrap();
        let rig = source::Rig::new(
            move |packets| {
                let sink = RedisSink::new(to.clone()).unwrap();
                async move {
                    for outcome in sink.deliver_all(packets).await.unwrap() {
                        outcome.unwrap();
                    }
                }
            },
            move || {
                let source = RedisSource::new(from.clone()).unwrap();
                async move { AnySource::new(source) }
            },
        );
        rig.holds(redis)
    })
    .await;
}
