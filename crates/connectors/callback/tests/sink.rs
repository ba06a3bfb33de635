//! What a closure answers is what the caller gets.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use haul_callback::Callback;
use haul_core::{
    Deliver, DeliverAll, Error, ErrorKind, Level, Packet, PacketId, Receipt, Sent, Sink, Status,
};

fn numbered(count: usize) -> Vec<Packet> {
    (0..count).map(|n| Packet::text(n.to_string())).collect()
}

#[tokio::test]
async fn packets_of_a_batch_come_in_order_and_each_gets_its_own_answer() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let closure_seen = seen.clone();
    let sink = Callback::new(move |packet: Packet| {
        let seen = closure_seen.clone();
        async move {
            tokio::task::yield_now().await;
            let text = packet.as_text().unwrap().to_owned();
            seen.lock().unwrap().push(text.clone());
            if text == "3" { Err("not three") } else { Ok(()) }
        }
    });
    let outcomes = sink.deliver_all(numbered(5)).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), ["0", "1", "2", "3", "4"]);
    for (at, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.is_ok(), at != 3, "{outcome:?}");
    }
    let refused = outcomes[3].as_ref().unwrap_err();
    assert!(refused.to_string().contains("not three"), "{refused}");
    assert_eq!(
        (refused.kind(), refused.status(), refused.sent()),
        (ErrorKind::Rejected, Status::Transient, Sent::No)
    );
}

#[tokio::test]
async fn a_panic_is_a_permanent_error_and_the_sink_goes_on() {
    fn on_two(packet: &Packet) {
        assert_ne!(packet.as_text(), Some("2"), "two is bad");
    }
    let early = Callback::new(|packet| {
        on_two(&packet);
        async { Ok::<(), Error>(()) }
    });
    let late = Callback::new(|packet| async move {
        tokio::task::yield_now().await;
        on_two(&packet);
        Ok::<(), Error>(())
    });
    let sync = Callback::sync(|packet| {
        on_two(&packet);
        Ok::<(), Error>(())
    });
    for sink in [early, late, sync] {
        let outcomes = sink.deliver_all(numbered(4)).await.unwrap();
        let kinds: Vec<_> = outcomes.iter().map(|o| o.as_ref().err().map(Error::kind)).collect();
        assert_eq!(kinds, [None, None, Some(ErrorKind::Internal), None]);
        let panic = outcomes[2].as_ref().unwrap_err();
        assert_eq!(panic.status(), Status::Permanent);
        assert!(panic.to_string().contains("two is bad"), "{panic}");
    }
}

#[tokio::test]
async fn a_receipt_or_a_haul_error_of_the_closure_is_passed_on_as_it_is() {
    let id = PacketId::random();
    let stored = Callback::sync(|packet| {
        Ok::<_, Error>(Receipt::new(Level::Stored, packet.id()).with_reference("row 7"))
    });
    let receipt = stored.deliver(Packet::text("a").with_id(id)).await.unwrap();
    assert_eq!((receipt.level, receipt.id), (Level::Stored, Some(id)));
    assert_eq!(receipt.reference.as_deref(), Some("row 7"));

    let slow = Callback::sync(|_| Err::<(), _>(Error::new(ErrorKind::RateLimited, "slow down")));
    let error = slow.deliver(Packet::text("a")).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::RateLimited, "slow down"));
}

#[tokio::test]
async fn a_closed_sink_calls_nothing() {
    let sink = Callback::sync(|_| -> Result<(), Error> { panic!("called after close") });
    sink.close().await.unwrap();
    assert_eq!(sink.deliver(Packet::text("a")).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(sink.deliver_all(numbered(1)).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(sink.ready().await.unwrap_err().kind(), ErrorKind::Closed);
}
