//! The conformance suite.

use haul_core::AnySink;
use haul_kit::sink;
use haul_null::Null;

#[tokio::test(flavor = "multi_thread")]
async fn sinks() {
    sink::suite("haul-null", async || sink::Rig::new(AnySink::new(Null::new()))).await;
}
