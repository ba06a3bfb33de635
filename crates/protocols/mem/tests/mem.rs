//! What is particular to in-process connections; the conformance suites see to the rest.

use std::time::Duration;

use haul_core::{Endpoint, ErrorKind, Packet, Sent, Status, StreamOptions};
use haul_mem::{MAX_DATAGRAM, Mem, pair};
use tokio::time::timeout;

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), work).await.unwrap_or_else(|_| panic!("waited 10 s for {what}"))
}

fn endpoint(text: &str) -> Endpoint {
    text.parse().expect("an endpoint")
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_and_free_again_after_shutdown() {
    let mem = Mem::new();
    let first = mem.listen(endpoint("mem://one")).unwrap();
    let error = mem.listen(endpoint("mem://one")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.to_string().contains("the name one is taken"), "{error}");
    soon("the shutdown", first.shutdown(Duration::from_secs(1))).await.unwrap();
    mem.listen(endpoint("mem://one")).unwrap();
}

#[tokio::test]
async fn namespaces_do_not_meet() {
    let (one, other) = (Mem::new(), Mem::new());
    let _listener = one.listen(endpoint("mem://name")).unwrap();
    let error = other.dial(endpoint("mem://name")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.status(), error.sent()),
        (ErrorKind::Connect, Status::Transient, Sent::No)
    );
    soon("the dial", one.dial(endpoint("mem://name"))).await.unwrap();
}

#[tokio::test]
async fn a_payload_is_handed_over_without_a_copy() {
    let (a, mut b) = pair();
    let packet = Packet::binary(vec![7; 100]);
    let at = packet.payload().as_ptr();
    a.send(packet).await.unwrap();
    let received = soon("the packet", b.recv()).await.unwrap().unwrap();
    assert_eq!(received.payload().as_ptr(), at);
}

#[tokio::test]
async fn datagrams_that_find_no_room_are_dropped_and_counted() {
    let (a, b) = pair();
    let out = a.open(StreamOptions::datagrams()).await.unwrap();
    let mut into = soon("the stream", b.accept()).await.unwrap().unwrap();
    let count = 1000;
    for _ in 0..count {
        out.send(Packet::binary(vec![0; MAX_DATAGRAM]).unreliable()).await.unwrap();
    }
    soon("the flush", out.flush()).await.unwrap();
    soon("the finish", out.finish()).await.unwrap();
    let mut received = 0;
    while soon("a datagram", into.recv()).await.unwrap().is_some() {
        received += 1;
    }
    let stats = into.stats();
    assert_eq!(stats.packets_received, received);
    assert_eq!(received + stats.packets_discarded, count);
    assert!(stats.packets_discarded > 0, "nothing was dropped");
}

#[tokio::test]
async fn a_session_is_over_when_one_side_has_no_stream_left() {
    let (a, b) = pair();
    let side = a.open(StreamOptions::default()).await.unwrap();
    let other = soon("the stream", b.accept()).await.unwrap().unwrap();
    let (_, _) = tokio::join!(
        soon("a's close", a.close(haul_core::CloseReason::NORMAL)),
        soon("b's close", b.close(haul_core::CloseReason::NORMAL))
    );
    let third = b.open(StreamOptions::default()).await.unwrap();
    drop((side, other, third));
    assert!(soon("the end", b.accept()).await.unwrap().is_none());
    let error = a.open(StreamOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn an_endpoint_with_a_port_or_path_is_refused() {
    for text in ["mem://name:1", "mem://name/path", "mem://", "tcp://name"] {
        let error = Mem::new().listen(endpoint(text)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
    }
}
