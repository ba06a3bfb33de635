//! Clocks that jump. Sessions and what is beneath them measure time by tokio's clock alone, which these tests turn; the
//! calendar is asked for what a certificate and a receipt say.

use std::time::Duration;

use haul_core::{Endpoint, Shared};
use haul_heartbeat::{HeartbeatLayer, HeartbeatOptions};
use haul_mem::Mem;
use haul_session::{Acceptor, AcceptorOptions};
use tower_layer::Layer as _;

use crate::soon;
use crate::traffic::Traffic;
use crate::transports::sessions_over;

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_by_a_day_again_and_again_loses_and_repeats_no_packet() {
    let mem = Mem::new();
    let place = Endpoint::parse("mem://server").unwrap();
    let beneath = mem.listen(place.clone()).unwrap();
    let options = AcceptorOptions { replay_bytes: 64 << 10, ..AcceptorOptions::default() };
    let listener = Acceptor::new(options).unwrap().listen(vec![beneath]).unwrap();
    // After each jump the peer seems to have been silent for a day.
    let heartbeat = HeartbeatLayer::new(HeartbeatOptions::default()).unwrap().layer(mem.dialer());
    let dialer = sessions_over(Shared::new(heartbeat));
    let both = async { tokio::join!(dialer.open(place), listener.accept()) };
    let (dialed, accepted) = soon("a session", both).await;
    let mut traffic = Traffic::between("a clock that jumps", dialed.unwrap().0, accepted.unwrap().unwrap());
    for _ in 0..10 {
        traffic.more(100).await;
        tokio::time::advance(Duration::from_secs(24 * 3600)).await;
    }
    traffic.more(100).await;
    traffic.ends().await;
}
