//! The conformance suite.

use haul_core::{AnySink, Level, Packet};
use haul_kit::sink;
use haul_mock::Mock;

#[tokio::test(flavor = "multi_thread")]
async fn sinks() {
    sink::suite("haul-mock", async || {
        let mock = Mock::new().with_level(Level::Stored);
        sink::Rig::new(AnySink::new(mock.clone())).reads_back(move || {
            let packets = mock.packets();
            async move { packets.into_iter().map(Packet::into_payload).collect() }
        })
    })
    .await;
}
