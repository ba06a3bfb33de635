//! Layers around connections, by URL and by configuration.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use haul::adaptive::{AdaptiveOptions, FACT};
use haul::heartbeat::HeartbeatOptions;
use haul::reconnect::ReconnectOptions;
use haul::session::{Acceptor, AcceptorOptions, SessionOptions};
use haul::{Connection, Deliver, ErrorKind, Level, Listener, Packet, Sink, State};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{away, listen, soon};

/// Carries bytes to a server, and cuts on demand.
struct Relay {
    /// How the server is reached through it.
    url: String,
    cuts: watch::Sender<u32>,
}

impl Relay {
    async fn before(server: &Listener) -> Self {
        let target = ("127.0.0.1", server.local_endpoint().port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{}://{}", server.local_endpoint().scheme(), listener.local_addr().unwrap());
        let (cuts, cut) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cut = cut.clone();
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { url, cuts }
    }

    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn sessions() -> (Listener, Relay) {
    let listener = listen().await;
    let relay = Relay::before(&listener).await;
    let acceptor = Acceptor::new(AcceptorOptions::default()).unwrap();
    (acceptor.listen(vec![listener]).unwrap(), relay)
}

async fn accept(listener: &Listener) -> Connection {
    soon("a connection", listener.accept()).await.unwrap().unwrap()
}

#[tokio::test]
async fn all_layers_together_are_a_session_over_the_url_that_answers() {
    let (listener, relay) = sessions().await;
    let dead = away().await;
    let dialing = haul::connect(&dead)
        .or(&relay.url)
        .heartbeat(HeartbeatOptions::default())
        .session(SessionOptions::default());
    let (dialed, mut server) = tokio::join!(soon("the dial", dialing), accept(&listener));
    let client = dialed.unwrap();
    assert_eq!(client.info().facts.get(FACT), Some("url 2"), "both are tcp, so that the place names it");
    relay.cut();
    client.send(Packet::text("after the cut")).await.unwrap();
    let received = soon("the packet", server.recv()).await.unwrap().unwrap();
    assert_eq!(received.as_text(), Some("after the cut"));
}

#[tokio::test]
async fn without_layers_a_cut_is_the_end() {
    let listener = listen().await;
    let relay = Relay::before(&listener).await;
    let mut client = haul::connect(&relay.url).await.unwrap();
    let _server = accept(&listener).await;
    relay.cut();
    soon("the end", client.recv()).await.unwrap_err();
    assert!(matches!(client.state(), State::Failed { .. }), "{:?}", client.state());
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_given_up_by_the_heartbeat() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", silent.local_addr().unwrap());
    let soonest = std::time::Duration::from_millis(10);
    let options = HeartbeatOptions { interval: soonest, timeout: soonest, ..HeartbeatOptions::default() };
    let greeting = async {
        let (mut peer, _) = silent.accept().await.unwrap();
        peer.write_all(b"haul.v1\n").await.unwrap();
        peer
    };
    let (dialed, _peer) =
        soon("the dial", async { tokio::join!(haul::connect(&url).heartbeat(options), greeting) }).await;
    let error = soon("its end", dialed.unwrap().recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[tokio::test]
async fn a_sink_delivers_through_the_layers() {
    let (listener, relay) = sessions().await;
    let sink = haul::connect(&relay.url).session(SessionOptions::default()).sink().await.unwrap();
    let (ready, mut server) = tokio::join!(soon("the dial", sink.ready()), accept(&listener));
    ready.unwrap();
    relay.cut();
    let reading = async { server.recv().await.unwrap().unwrap() };
    let (receipt, _) =
        soon("the receipt", async { tokio::join!(sink.deliver(Packet::text("x")), reading) }).await;
    assert_eq!(receipt.unwrap().level, Level::Acknowledged);
    assert_eq!(listener.stats().accepted, 1, "it dialed another session");
}

#[tokio::test]
async fn a_sink_that_is_cut_off_is_not_ready() {
    let listener = listen().await;
    let relay = Relay::before(&listener).await;
    // The next dial is far away.
    let far = std::time::Duration::from_secs(3600);
    let options = ReconnectOptions { base: far, cap: far, ..ReconnectOptions::default() };
    let sink = haul::connect(&relay.url).reconnect(options).sink().await.unwrap();
    sink.ready().await.unwrap();
    relay.cut();
    let why = soon("the cut to be seen", async {
        loop {
            match sink.ready().await {
                Ok(()) => tokio::task::yield_now().await,
                Err(why) => return why,
            }
        }
    })
    .await;
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Connect, haul::Sent::No), "{why}");
}

#[tokio::test]
async fn what_makes_no_sense_together_is_refused_before_anything_is_dialed() {
    let both = haul::connect("tcp://127.0.0.1:1")
        .session(SessionOptions::default())
        .reconnect(ReconnectOptions::default());
    let adaptive = haul::connect("tcp://127.0.0.1:1").adaptive(AdaptiveOptions::default());
    let many = (0..16).fold(haul::connect("tcp://127.0.0.1:1"), |connect, _| connect.or("tcp://127.0.0.1:1"));
    for (wrong, word) in [(both, "reconnect"), (adaptive, "wss"), (many, "17 URLs")] {
        let error = wrong.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let layered = haul::connect("null:").session(SessionOptions::default()).sink().await;
    assert_eq!(layered.unwrap_err().kind(), ErrorKind::Config);
    let unknown = haul::connect("tcp://127.0.0.1:1").or("kafka://host").await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Unsupported);
    let shown = format!("{:?}", haul::connect("tcp://me:secret@host:1").or("tcp://me:secret@host:2"));
    assert!(shown.contains("host:1") && !shown.contains("secret"), "{shown}");
}

#[cfg(feature = "config")]
#[tokio::test]
async fn a_route_is_connected_through_what_the_configuration_says() {
    let (listener, relay) = sessions().await;
    let read = |sink: &str, connect: &str| {
        let text = format!("[[route]]\nname = 'upstream'\nsink = '{sink}'\nconnect = {connect}");
        haul::Config::parse(&text, "haul.toml", None, &Default::default())
    };
    let dead = away().await;
    let connect = format!("{{ session = {{}}, heartbeat = {{ interval = '5s' }}, or = ['{}'] }}", relay.url);
    let config = read(&dead, &connect).unwrap();
    let sink = config.routes[0].open(&haul::registry(), &haul::event_log::Panel::default()).await.unwrap();
    let (ready, mut server) = tokio::join!(soon("the dial", sink.ready()), accept(&listener));
    ready.unwrap();
    let reading = async { server.recv().await.unwrap().unwrap() };
    let (receipt, _) =
        soon("the receipt", async { tokio::join!(sink.deliver(Packet::text("x")), reading) }).await;
    receipt.unwrap();

    let no_connection = read("null:", "{ session = {} }").unwrap();
    let error = no_connection.routes[0]
        .open(&haul::registry(), &haul::event_log::Panel::default())
        .await
        .unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("route upstream"), "{error}");
    let misspelt = read("tcp://127.0.0.1:1", "{ sesion = {} }").unwrap_err().to_string();
    assert!(misspelt.contains("line 4") && misspelt.contains("did you mean session?"), "{misspelt}");
    let misspelt = read("tcp://127.0.0.1:1", "{ session = { atempts = 1 } }").unwrap_err().to_string();
    assert!(misspelt.contains("line 4") && misspelt.contains("did you mean attempts?"), "{misspelt}");
}
