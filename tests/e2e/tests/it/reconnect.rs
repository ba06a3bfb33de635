//! Connections of `haul-reconnect` over sockets that are cut, stalled and refused, and over servers that die.

mod ends;
mod gateway;
mod wire;

use std::collections::HashSet;
use std::time::Duration;

use haul_core::{CloseReason, ErrorKind, State};
use tokio::time::{Instant, sleep};

use ends::{ALL, BASE, CAP, Client, Server, Speech, check, hearing, numbered, reconnect, soon, watching};
use wire::{Fate, Wire};

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Looks until `found`.
async fn until(what: &str, mut found: impl FnMut() -> bool) {
    let looking = async {
        while !found() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    soon(what, looking).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_cut_is_one_gap_and_without_a_cut_there_is_none() {
    for speech in ALL {
        let server = Server::start(speech).await;
        let wire = Wire::new(server.address, []);
        let mut client = Client::dial(speech, wire.address, "").await;
        for cuts in 0..5 {
            assert!(client.hear().await, "{speech:?}: a gap without a cut");
            client.connection.send(numbered(cuts, 0)).await.unwrap();
            // Its answer says that it arrived: the gap counts it all the same, for no receipt proved it.
            assert!(client.hear().await, "{speech:?}: a gap without a cut");
            wire.cut();
            assert!(!client.hear().await, "{speech:?}: a cut without a gap");
            assert_eq!((client.told.gaps, client.told.lost), (cuts + 1, cuts + 1), "{speech:?}");
        }
        client.told.check();
        assert_eq!(server.got(), [0, 1, 2, 3, 4], "{speech:?}");
        client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_packet_cut_in_the_middle_of_its_frame_arrives_once_or_is_counted() {
    // More than the buffers of the sockets hold.
    const LARGE: usize = 6 << 20;
    for speech in ALL {
        for fate in [Fate::ResetAfter(1 << 19), Fate::EndsAfter(1 << 19)] {
            let server = Server::start(speech).await;
            let wire = Wire::new(server.address, [fate]);
            let mut client = Client::dial(speech, wire.address, "").await;
            assert!(client.hear().await);
            client.connection.send(numbered(1, LARGE)).await.unwrap();
            assert!(!client.hear().await, "{speech:?}: a cut without a gap");
            client.connection.send(numbered(2, 0)).await.unwrap();
            until("the packet after the cut", || server.got().contains(&2)).await;
            // A peer of lines may have taken the first part of it for a packet: it is not sent again.
            let lines = speech == Speech::TcpLines;
            assert_eq!(client.told.lost, u64::from(lines), "{speech:?}");
            let whole: &[u64] = if lines { &[2] } else { &[1, 2] };
            assert_eq!(server.links().last().unwrap(), whole, "{speech:?}");
            client.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_it_is_cut_nothing_comes_twice_without_an_id_or_is_lost_in_silence() {
    let seed = haul_services::seed(11);
    for speech in ALL {
        let mut random = Random(seed);
        let fates: Vec<_> = (0..15)
            .map(|_| match (random.below(2), 1 + random.below(20_000) as usize) {
                (0, bytes) => Fate::ResetAfter(bytes),
                (_, bytes) => Fate::EndsAfter(bytes),
            })
            .collect();
        let server = Server::start(speech).await;
        let wire = Wire::new(server.address, fates);
        let (reconnect, dials) = reconnect(speech);
        let connection = reconnect.connect_lazy(speech.endpoint(wire.address, ""));
        let states = watching(connection.watch());
        let (sender, receiver) = connection.split();
        let told = hearing(receiver);
        let (mut sent, mut with_id) = (0, HashSet::new());
        while wire.fates_left() > 0 || sent < 300 {
            let packet = numbered(sent, 20 + random.below(1000) as usize);
            if speech.receipts() && random.below(3) == 0 {
                with_id.insert(sent);
                soon("room", sender.send(packet.identified())).await.unwrap();
            } else {
                soon("room", sender.send(packet)).await.unwrap();
            }
            sent += 1;
            if random.below(20) == 0 {
                sleep(Duration::from_millis(random.below(10))).await;
            }
        }
        // The last fates may still be met: what arrives now came over a link that lives.
        let sending = async {
            while !server.got().contains(&sent) {
                sender.send(numbered(sent, 0)).await.unwrap();
                sleep(Duration::from_millis(5)).await;
            }
        };
        soon("the last packet", sending).await;
        until("the packets with ids", || with_id.iter().all(|number| server.got().contains(number))).await;
        soon("the close", sender.close(CloseReason::NORMAL)).await.unwrap();
        let told = soon("the end", told).await.unwrap();
        let links = server.links();
        check(&links, sent, &with_id, told.lost);
        told.check();
        let dials = dials.lock().unwrap().len() as u64;
        assert!((5..dials).contains(&told.gaps), "seed {seed} {speech:?}: {} of {dials}", told.gaps);
        let last = soon("the last state", states).await.unwrap().pop();
        assert!(matches!(last, Some(State::Disconnected { reason: Some(_) })), "{last:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_for_a_while_is_dialed_no_faster_than_the_backoff() {
    const REFUSED: usize = 25;
    for speech in [Speech::Tcp, Speech::Ws] {
        let server = Server::start(speech).await;
        let mut wire = Wire::new(server.address, []);
        let mut client = Client::dial(speech, wire.address, "").await;
        let states = watching(client.connection.watch());
        assert!(client.hear().await);
        wire.refuse().await;
        wire.cut();
        let cut = Instant::now();
        let down = || matches!(client.connection.state(), State::Reconnecting { .. });
        until("the cut", down).await;
        // What is sent meanwhile waits, and goes when a link stands.
        for number in 0..10 {
            client.connection.send(numbered(number, 0)).await.unwrap();
        }
        let dials = client.dials.clone();
        let heard = async {
            let waiting = async {
                until("the dials", || dials.lock().unwrap().len() > REFUSED).await;
                wire.listen();
            };
            tokio::join!(waiting, client.hear()).1
        };
        assert!(!heard.await, "{speech:?}: a cut without a gap");
        assert_eq!(client.told.lost, 0, "{speech:?}");
        // The waits are drawn between zero and twice their mean: a fifth of the mean is as good as impossible.
        let dials = client.dials.lock().unwrap().len();
        let least = (CAP / 2) * u32::try_from(REFUSED).unwrap() / 5;
        assert!(cut.elapsed() > least.max(BASE), "{speech:?}: {dials} dials in {:?}", cut.elapsed());
        until("the packets", || server.got().len() == 10).await;
        assert_eq!(server.got(), (0..10).collect::<Vec<_>>(), "{speech:?}");
        client.close().await;
        let attempts =
            soon("the states", states).await.unwrap().into_iter().filter_map(|state| match state {
                State::Reconnecting { attempt } => Some(attempt as usize),
                _ => None,
            });
        // The first dial of all was no attempt to reconnect.
        assert_eq!(attempts.max(), Some(dials - 1), "{speech:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_falls_silent_without_an_end_is_given_up_and_dialed_again() {
    for speech in ALL {
        let server = Server::start(speech).await;
        let wire = Wire::new(server.address, [Fate::StallsAfter(2000)]);
        let mut client = Client::dial(speech, wire.address, "idle=2s&ping=200ms").await;
        assert!(client.hear().await);
        let (receipts, mut with_id) = (speech.receipts(), HashSet::new());
        for number in 0..100 {
            let packet = numbered(number, 100);
            if receipts && number % 2 == 0 {
                with_id.insert(number);
                client.connection.send(packet.identified()).await.unwrap();
            } else {
                client.connection.send(packet).await.unwrap();
            }
        }
        while client.hear().await {}
        client.connection.send(numbered(100, 0)).await.unwrap();
        until("the packet after the gap", || server.got().contains(&100)).await;
        until("the packets with ids", || with_id.iter().all(|number| server.got().contains(number))).await;
        check(&server.links(), 101, &with_id, client.told.lost);
        assert_eq!(client.told.gaps, 1, "{speech:?}");
        client.told.check();
        client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lines_cannot_carry_is_answered_to_its_sender_and_the_connection_stays() {
    let server = Server::start(Speech::TcpLines).await;
    let wire = Wire::new(server.address, []);
    let mut client = Client::dial(Speech::TcpLines, wire.address, "").await;
    assert!(client.hear().await);
    let error = client.connection.send(numbered(1, 0).with("name", "value")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    client.connection.send(numbered(2, 0)).await.unwrap();
    assert!(client.hear().await, "the connection was cut");
    assert_eq!(server.got(), [2]);
    client.close().await;
}
