//! kill -9 of the gateway under connections that survive.

use std::collections::HashSet;

use haul_core::{CloseReason, Deliver, Dial, Level, Packet, PacketId};

use super::ends::{Speech, hearing, reconnect, soon};
use crate::program::{Gateway, cat, verify};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_and_restarted_has_all_that_was_delivered_or_had_an_id() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    // An address of its own, so that nobody takes the ports while it is down.
    let mut urls = vec!["tcp://127.66.0.1:0".to_owned(), "ws://127.66.0.1:0".to_owned()];
    let start =
        |urls: &[String]| Gateway::start(&data, &urls.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let mut gateway = start(&urls);
    urls.clone_from(&gateway.urls);
    let mut clients = Vec::new();
    for (speech, url) in [Speech::Tcp, Speech::Ws].into_iter().zip(&urls) {
        let (reconnect, _) = reconnect(speech);
        let endpoint = url.parse().unwrap();
        let connection = soon("the dial", reconnect.dial(endpoint)).await.unwrap();
        clients.push((format!("{speech:?}"), connection.split(), Vec::new(), 0_u64));
    }
    let (mut hearings, mut deliveries) = (Vec::new(), Vec::new());
    let mut senders = Vec::new();
    for (name, (sender, receiver), stored, sent) in clients {
        hearings.push(hearing(receiver));
        senders.push((name, sender, stored, sent));
    }
    for round in 0..3 {
        for (name, sender, stored, sent) in &mut senders {
            for _ in 0..200 {
                let text = format!("{name}-{sent}");
                *sent += 1;
                match *sent % 3 {
                    0 => soon("room", sender.send(Packet::text(text))).await.unwrap(),
                    1 => {
                        stored.push(text.clone());
                        soon("room", sender.send(Packet::text(text).identified())).await.unwrap();
                    }
                    _ => {
                        stored.push(text.clone());
                        let (sender, id) = (sender.clone(), PacketId::random());
                        let packet = Packet::text(text).with_id(id);
                        deliveries.push(tokio::spawn(async move { sender.deliver(packet).await }));
                    }
                }
            }
        }
        gateway.kill();
        gateway = start(&urls);
        for (name, sender, ..) in &senders {
            let last = sender.deliver(Packet::text(format!("{name} round {round}")));
            assert_eq!(soon("a receipt", last).await.unwrap().level, Level::Stored);
        }
    }
    for delivery in deliveries {
        assert_eq!(soon("a receipt", delivery).await.unwrap().unwrap().level, Level::Stored);
    }
    for (_, sender, ..) in &senders {
        soon("the close", sender.close(CloseReason::NORMAL)).await.unwrap();
    }
    assert_eq!(gateway.stop().code, Some(0));
    verify(&data);
    let log = String::from_utf8(cat(&data, &[])).unwrap();
    for ((name, _, stored, sent), hearing) in senders.iter().zip(hearings) {
        let told = soon("the end", hearing).await.unwrap();
        let mine: Vec<_> = log.lines().filter(|line| line.starts_with(&format!("{name}-"))).collect();
        let there: HashSet<_> = mine.iter().copied().collect();
        for text in stored {
            assert!(there.contains(text.as_str()), "{text} is not in the log");
        }
        let with_id: HashSet<_> = stored.iter().map(String::as_str).collect();
        let once: Vec<_> = mine.iter().filter(|text| !with_id.contains(**text)).collect();
        assert_eq!(once.len(), once.iter().collect::<HashSet<_>>().len(), "{name}: twice without an id");
        let missing = sent - there.len() as u64;
        assert!(missing <= told.lost, "{name}: {missing} missing, {} told", told.lost);
        assert_eq!(told.gaps, 3, "{name}");
    }
}
