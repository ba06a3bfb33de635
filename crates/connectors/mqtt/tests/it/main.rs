//! The connector against a Mosquitto broker.

#![allow(clippy::unwrap_used)]

mod faults;
mod publishing;
mod reading;
mod support;

use haul_core::{AnySink, AnySource, DeliverAll};
use haul_kit::{sink, source};

use support::{Ear, Mosquitto};

async fn sink_at(qos: u8) -> sink::Rig {
    let broker = Mosquitto::start().expect("it was there");
    let ear = Ear::at(&broker, "events");
    let sink = broker.sink(&format!("events?qos={qos}&max_packet=1MiB"));
    let rig = sink::Rig::new(AnySink::new(sink)).holds(broker);
    rig.reads_back(move || {
        let ear = ear.clone();
        async move { ear.heard().await }
    })
}

async fn source_at(qos: u8) -> source::Rig {
    let broker = Mosquitto::start().expect("it was there");
    broker.subscribe("reader", "events");
    let to = broker.url(&format!("events?qos={qos}"));
    let from = broker.url(&format!("events?client_id=reader&qos={qos}&max_unacked=16&again=50ms"));
    let rig = source::Rig::new(
        move |packets| {
            let sink = support::sink(&to);
            async move {
                for outcome in sink.deliver_all(packets).await.unwrap() {
                    outcome.unwrap();
                }
            }
        },
        move || {
            let source = support::source(&from);
            async move { AnySource::new(source) }
        },
    );
    rig.holds(broker)
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks() {
    if Mosquitto::start().is_some() {
        sink::suite("haul-mqtt", || sink_at(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_at_qos_0() {
    if Mosquitto::start().is_some() {
        sink::suite("haul-mqtt/qos0", || sink_at(0)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_at_qos_2() {
    if Mosquitto::start().is_some() {
        sink::suite("haul-mqtt/qos2", || sink_at(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sources() {
    if Mosquitto::start().is_some() {
        source::suite("haul-mqtt", || source_at(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_at_qos_2() {
    if Mosquitto::start().is_some() {
        source::suite("haul-mqtt/qos2", || source_at(2)).await;
    }
}
