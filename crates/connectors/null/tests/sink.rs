//! The null sink says that it discards, and nothing else.

#![allow(clippy::unwrap_used)]

use haul_core::{Deliver, DeliverAll, Endpoint, ErrorKind, Level, Packet, PacketId, Registry, Sink};
use haul_null::{Null, NullConfig, register};

#[tokio::test]
async fn each_packet_is_answered_as_discarded_with_its_id() {
    let id = PacketId::random();
    let packets = vec![Packet::text("a"), Packet::binary(vec![0u8; 70_000]).with_id(id)];
    let outcomes = Null::new().deliver_all(packets).await.unwrap();
    let levels: Vec<_> = outcomes.iter().map(|o| o.as_ref().unwrap().level).collect();
    assert_eq!(levels, [Level::Discarded; 2]);
    assert_eq!(outcomes[1].as_ref().unwrap().id, Some(id));
}

#[tokio::test]
async fn a_closed_sink_answers_closed() {
    let null = Null::new();
    null.ready().await.unwrap();
    null.close().await.unwrap();
    assert_eq!(null.deliver(Packet::text("a")).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(null.ready().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn the_registry_opens_it_and_refuses_what_it_would_not_read() {
    let mut registry = Registry::new();
    register(&mut registry);
    let sink = registry.open_sink("null://".parse().unwrap()).await.unwrap();
    assert_eq!(sink.deliver(Packet::text("a")).await.unwrap().level, Level::Discarded);
    for url in ["null://host", "null:///path", "null://?level=info"] {
        let endpoint: Endpoint = url.parse().unwrap();
        assert_eq!(registry.open_sink(endpoint).await.unwrap_err().kind(), ErrorKind::Config, "{url}");
    }
    assert_eq!(NullConfig::from_endpoint(&"null://".parse().unwrap()).unwrap(), NullConfig {});
}
