//! What the functions that take a URL promise.
#![cfg(all(feature = "tcp", feature = "reconnect", feature = "null"))]

#[cfg(all(feature = "adaptive", feature = "heartbeat", feature = "session"))]
mod stack;

use std::time::Duration;

use haul::{CloseReason, Deliver, ErrorKind, Level, Listener, Packet, Sink, Source};
use tokio::time::timeout;

/// `doing`, or a failure that says what was waited for.
async fn soon<T>(what: &str, doing: impl IntoFuture<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    timeout(limit, doing).await.unwrap_or_else(|_| panic!("waited {limit:?} for {what}"))
}

async fn listen() -> Listener {
    haul::listen("tcp://127.0.0.1:0").await.expect("a free port")
}

/// The URL of a server that is not there any more.
async fn away() -> String {
    let listener = listen().await;
    listener.shutdown(Duration::ZERO).await.expect("no connection is open");
    listener.local_endpoint().to_string()
}

#[tokio::test]
async fn a_sink_dials_when_it_is_needed_and_again_after_its_connection_ended() {
    let listener = listen().await;
    let sink = haul::deliver(listener.local_endpoint().as_str()).await.unwrap();
    assert_eq!(listener.stats().accepted, 0, "it dialed before it was needed");
    for text in ["first", "second"] {
        let delivering = tokio::spawn({
            let sink = sink.clone();
            async move { sink.deliver(Packet::text(text)).await }
        });
        let mut server = soon("a connection", listener.accept()).await.unwrap().unwrap();
        let received = soon("the packet", server.recv()).await.unwrap().unwrap();
        assert_eq!(received.as_text(), Some(text));
        let receipt = soon("the receipt", delivering).await.unwrap().unwrap();
        assert_eq!(receipt.level, Level::Acknowledged);
        soon("the close", server.close(CloseReason::NORMAL)).await.unwrap();
    }
}

#[tokio::test]
async fn a_sink_that_was_closed_delivers_nothing_more() {
    let listener = listen().await;
    let sink = haul::deliver(listener.local_endpoint().as_str()).await.unwrap();
    sink.ready().await.unwrap();
    soon("the close", async {
        let server = listener.accept().await.unwrap().unwrap();
        let (closed, _) = tokio::join!(sink.close(), server.close(CloseReason::NORMAL));
        closed.unwrap();
    })
    .await;
    let refused = sink.deliver(Packet::text("late")).await.unwrap_err();
    assert_eq!((refused.kind(), refused.sent()), (ErrorKind::Closed, haul::Sent::No));
}

#[tokio::test]
async fn a_sink_whose_server_is_away_says_so_when_it_is_asked() {
    let sink = haul::deliver(&away().await).await.unwrap();
    assert_eq!(sink.ready().await.unwrap_err().kind(), ErrorKind::Connect);
    let error = sink.deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Connect, haul::Sent::No));
}

#[tokio::test]
async fn a_connection_is_a_source_whose_answers_reach_the_sender() {
    let listener = listen().await;
    let mut source = haul::source(listener.local_endpoint().as_str()).await.unwrap();
    let server = soon("a connection", listener.accept()).await.unwrap().unwrap();
    let delivering = tokio::spawn(async move { server.deliver(Packet::text("x")).await });
    let delivery = soon("a packet", source.next()).await.unwrap().unwrap();
    let receipt = haul::Receipt::new(Level::Stored, delivery.packet().id());
    delivery.ack(receipt).await.unwrap();
    let told = soon("the receipt", async { tokio::join!(delivering, source.next()) }).await;
    assert_eq!(told.0.unwrap().unwrap().level, Level::Stored);
}

#[tokio::test]
async fn a_lazy_connection_begins_disconnected_and_waits_for_its_server() {
    let url = away().await;
    let connection = haul::connect_lazy(&url).unwrap();
    assert_eq!(connection.state().name(), "disconnected");
    connection.send(Packet::text("early")).await.unwrap();
    let listener = haul::listen(&url).await.unwrap();
    let mut server = soon("a connection", listener.accept()).await.unwrap().unwrap();
    let received = soon("the packet", server.recv()).await.unwrap().unwrap();
    assert_eq!(received.as_text(), Some("early"));
    assert_eq!(connection.state().name(), "connected");
    let unknown = haul::connect_lazy("kafka://host").unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn an_unknown_scheme_lists_sinks_and_connections() {
    let error = haul::deliver("zmq://host").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(text.contains("null") && text.contains("tcp"), "{text}");
    let text = haul::source("zmq://host").await.unwrap_err().to_string();
    assert!(text.contains("tcp"), "{text}");
}

#[cfg(all(feature = "config", feature = "retry", feature = "timeout"))]
mod route {
    use haul::config::Config;

    use super::*;

    fn read(layers: &str, sink: &str) -> Config {
        let text = format!("[[route]]\nname = 'alerts'\nsink = '{sink}'\nlayers = [{layers}]");
        Config::parse(&text, "haul.toml", None, &Default::default()).expect("it is well formed")
    }

    #[tokio::test]
    async fn its_layers_stand_around_its_sink() {
        let listener = listen().await;
        // Nobody answers: only the timeout of the route ends a try, and only its retry makes a second one.
        let layers = "{ type = 'retry', attempts = 2, base = '1ms' }, { type = 'timeout', after = '50ms' }";
        let config = read(layers, &listener.local_endpoint().to_string());
        let sink =
            config.routes[0].open(&haul::registry(), &haul::event_log::Panel::default()).await.unwrap();
        let delivering = sink.deliver(Packet::text("x").identified());
        let error = soon("the end of the tries", delivering).await.unwrap_err();
        let what = (error.kind(), error.status());
        assert_eq!(what, (ErrorKind::Timeout, haul::Status::Exhausted), "{error}");
        let mut server = soon("a connection", listener.accept()).await.unwrap().unwrap();
        for _ in 0..2 {
            assert!(soon("both tries", server.recv()).await.unwrap().is_some());
        }
    }

    #[tokio::test]
    async fn a_wrong_option_of_a_layer_names_the_route() {
        let config = read("{ type = 'retry', attempts = 0 }", "null:");
        let error =
            config.routes[0].open(&haul::registry(), &haul::event_log::Panel::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("route alerts"), "{error}");
    }
}
