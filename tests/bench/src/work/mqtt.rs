//! Packets at QoS 1 to a topic that nobody subscribes to, against the client used by hand.

use std::time::{Duration, Instant};

use bytes::Bytes;
use haul_mqtt::{MqttConfig, MqttSink};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tempfile::TempDir;

use super::load::runtime;
use super::stored::{PAYLOAD, Program, WINDOW, batches, free_port, sample};
use crate::measure::{Sample, cpu_seconds};

const TOPIC: &str = "bench";

/// A broker of our own.
pub(crate) struct Mosquitto {
    port: u16,
    _program: Program,
    _folder: TempDir,
}

impl Mosquitto {
    /// `None` after saying what did not run.
    pub(crate) fn start() -> Option<Self> {
        let (mut command, port) = (haul_services::mosquitto()?, free_port());
        let folder = TempDir::new().expect("a folder of our own");
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nmax_inflight_messages {WINDOW}\n"
        );
        let path = folder.path().join("mosquitto.conf");
        std::fs::write(&path, config).expect("a file");
        command.arg("-c").arg(path);
        Some(Self { port, _program: Program::start(command, port), _folder: folder })
    }

    /// Batches of haul's sink.
    pub(crate) fn haul(&self, length: Duration) -> Sample {
        let url = format!("mqtt://127.0.0.1:{}/{TOPIC}?mandatory=false&pipeline={WINDOW}", self.port);
        let config = MqttConfig::from_endpoint(&url.parse().expect("a URL")).expect("a configuration");
        runtime().block_on(batches(MqttSink::new(config).expect("a sink"), 1, 4 * WINDOW, length))
    }

    /// The client, with as many publishings on their way.
    pub(crate) fn by_hand(&self, length: Duration) -> Sample {
        runtime().block_on(async {
            let mut options = MqttOptions::new("by-hand", "127.0.0.1", self.port);
            options.set_outgoing_inflight_upper_limit(WINDOW as u16);
            let (client, mut events) = AsyncClient::new(options, WINDOW);
            let payload = Bytes::from_static(&PAYLOAD);
            let publish = tokio::spawn(async move {
                while client.publish(TOPIC, QoS::AtLeastOnce, false, payload.clone()).await.is_ok() {}
            });
            acknowledged(&mut events).await;
            let (cpu, begun, mut stored) = (cpu_seconds(), Instant::now(), 0);
            while begun.elapsed() < length {
                acknowledged(&mut events).await;
                stored += 1;
            }
            publish.abort();
            sample(stored, begun, cpu)
        })
    }
}

/// Waits for the next acknowledgement.
async fn acknowledged(events: &mut EventLoop) {
    while !matches!(events.poll().await.expect("the broker is there"), Event::Incoming(Packet::PubAck(_))) {}
}
