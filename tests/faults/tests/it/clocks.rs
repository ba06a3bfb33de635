//! Clocks that jump. Sessions and what is beneath them measure time by tokio's clock alone, which these tests turn; the
//! calendar is asked for what a certificate and a receipt say.

use std::time::Duration;

use haul_core::{CloseReason, Dial, Endpoint, ErrorKind, Packet, PacketId, Shared};
use haul_heartbeat::{HeartbeatLayer, HeartbeatOptions};
use haul_mem::Mem;
use haul_reconnect::{ReconnectLayer, ReconnectOptions};
use haul_session::{Acceptor, AcceptorOptions};
use tokio::time::advance;
use tower_layer::Layer as _;

use crate::soon;
use crate::traffic::{Traffic, numbered};
use crate::transports::sessions_over;

const DAY: Duration = Duration::from_secs(24 * 3600);

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
        advance(DAY).await;
    }
    traffic.more(100).await;
    traffic.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_cut_is_dialed_again_though_the_clock_jumps_by_a_day_meanwhile() {
    let mem = Mem::new();
    let place = Endpoint::parse("mem://server").unwrap();
    let listener = mem.listen(place.clone()).unwrap();
    tokio::spawn(async move {
        while let Ok(Some(mut peer)) = listener.accept().await {
            while let Ok(Some(packet)) = peer.recv().await {
                if packet.as_text() == Some("hang up") {
                    break;
                }
                peer.send(packet).await.unwrap();
                peer.flush().await.unwrap();
            }
            peer.abort(CloseReason::INTERNAL);
        }
    });
    let heartbeat = HeartbeatLayer::new(HeartbeatOptions::default()).unwrap().layer(mem.dialer());
    let dialer = ReconnectLayer::new(ReconnectOptions::default()).unwrap().layer(heartbeat);
    let mut client = soon("a connection", dialer.dial(place)).await.unwrap();
    for number in 0..10 {
        client.send(Packet::text("hang up")).await.unwrap();
        advance(DAY).await;
        // It is sent again where the old link took it.
        client.send(numbered(number).with_id(PacketId::random())).await.unwrap();
        let echo = async {
            loop {
                match client.recv().await {
                    Err(gap) if gap.kind() == ErrorKind::Gap => {}
                    echo => return echo.unwrap().unwrap(),
                }
            }
        };
        assert_eq!(soon("the echo", echo).await.payload(), numbered(number).payload());
    }
}
