use std::future::Future;
use std::time::Duration;

use haul_core::{AnySink, Batch, Connection, Endpoint, Level, Receipt, Registry, Result, Service, Sink};
use haul_event_log::{LogView, Query};
use haul_serve::{Gateway, GatewayStatus, Route, ServeOptions};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// The gateway's own address.
pub(crate) const WEB: &str = "http://127.0.0.1:0";

pub(crate) const SOON: Duration = Duration::from_secs(40);

pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new();
    haul_sse::register(&mut registry);
    haul_tcp::register(&mut registry);
    haul_ws::register(&mut registry);
    haul_wt::register(&mut registry);
    registry
}

pub(crate) async fn start(data: &TempDir, urls: &[&str]) -> Gateway {
    Gateway::start(options(data, urls), registry()).await.unwrap()
}

pub(crate) fn options(data: &TempDir, urls: &[&str]) -> ServeOptions {
    urls.iter().fold(ServeOptions::new(data.path()), |options, url| options.listen(*url))
}

pub(crate) async fn dial(gateway: &Gateway, tail: &str) -> Connection {
    let at = &gateway.local_endpoints()[0];
    let url = format!("{}://127.0.0.1:{}{tail}", at.scheme(), at.port().unwrap());
    registry().connect(Endpoint::parse(&url).unwrap()).await.unwrap()
}

pub(crate) fn port(gateway: &Gateway) -> u16 {
    gateway.local_endpoints()[0].port().unwrap()
}

/// Where `gateway` is by `scheme`, on this port or that of a relay; a WebTransport client knows the certificate.
pub(crate) fn at(gateway: &Gateway, scheme: &str, port: u16, tail: &str) -> Endpoint {
    let mut url = format!("{scheme}://127.0.0.1:{port}{tail}");
    if scheme == "wt" {
        let hash = &gateway.status().listeners[0].certificate_hashes[0];
        url = format!("{url}{}pin={hash}", if tail.contains('#') { '&' } else { '#' });
    }
    Endpoint::parse(&url).unwrap()
}

/// A connection without a session.
pub(crate) async fn plain(gateway: &Gateway, scheme: &str, tail: &str) -> Connection {
    let endpoint = at(gateway, scheme, port(gateway), tail);
    within("a connection", registry().connect(endpoint)).await.unwrap()
}

/// Waits until the status is as wished.
pub(crate) async fn until(what: &str, gateway: &Gateway, wished: impl Fn(&GatewayStatus) -> bool) {
    let waiting = async {
        while !wished(&gateway.status()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(what, waiting).await;
}

/// A stranger who speaks lines.
pub(crate) struct Lines(BufReader<TcpStream>);

impl Lines {
    pub(crate) async fn dial(gateway: &Gateway) -> Self {
        let port = gateway.local_endpoints()[0].port().unwrap();
        Self(BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap()))
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
    }

    /// The next line, without its end; `None` at the end or a cut.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = within("a line", self.0.read_line(&mut line)).await;
        matches!(read, Ok(1..)).then(|| line.trim_end().to_owned())
    }

    pub(crate) async fn json(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.line().await.expect("a receipt")).unwrap()
    }
}

/// A stranger who speaks lines, sends without end and reads no receipts.
pub(crate) struct Rude {
    stuffing: tokio::task::JoinHandle<()>,
}

impl Rude {
    /// One who could write no more for a while: most likely the gateway reads it no more.
    pub(crate) async fn dial(gateway: &Gateway) -> Self {
        let address = ([127, 0, 0, 1], gateway.local_endpoints()[0].port().unwrap()).into();
        let socket = TcpSocket::new_v4().unwrap();
        // What the system holds for it would hide for long that it is read no more.
        socket.set_recv_buffer_size(4096).unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let (progress, mut written) = watch::channel(());
        let line = "x".repeat(500) + "\n";
        let stuffing = tokio::spawn(async move {
            // Until it is cut.
            while stream.write_all(line.as_bytes()).await.is_ok() {
                progress.send_replace(());
            }
        });
        let stuffed = async { while timeout(Duration::from_secs(2), written.changed()).await.is_ok() {} };
        within("it to be stuffed", stuffed).await;
        Self { stuffing }
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        self.stuffing.abort();
    }
}

/// What the log holds: session and text.
pub(crate) fn stored(data: &TempDir) -> Vec<(String, String)> {
    let mut events = LogView::open(data.path()).unwrap().read(Query::default()).unwrap();
    let mut all = Vec::new();
    while let Some(recorded) = events.read().unwrap() {
        let event = recorded.event;
        all.push((event.session, String::from_utf8(event.packet.payload().to_vec()).unwrap()));
    }
    all
}

/// A sink that keeps what it is given.
#[derive(Clone)]
pub(crate) struct Kept(watch::Sender<Vec<String>>);

impl Kept {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }

    pub(crate) fn route(&self, made_of: &str) -> Route {
        let sink = self.clone();
        Route::new("kept", made_of, move |panel| {
            std::future::ready(Ok(panel.receiver("kept:", AnySink::new(sink.clone()))))
        })
    }

    pub(crate) async fn has(&self, expected: &[&str]) {
        let mut kept = self.0.subscribe();
        let enough = kept.wait_for(|kept| kept.len() >= expected.len());
        assert_eq!(*within("the sink's packets", enough).await.unwrap(), expected);
    }
}

impl Service<Batch> for Kept {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let packets = batch.into_packets();
        let outcomes = packets.iter().map(|packet| Ok(Receipt::new(Level::Stored, packet.id()))).collect();
        let texts = packets.iter().map(|packet| packet.as_text().unwrap().to_owned());
        self.0.send_modify(|kept| kept.extend(texts));
        Ok(outcomes)
    }
}

impl Sink for Kept {}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(Duration::from_secs(60), future).await else {
        panic!("waited 60 s for {what}");
    };
    done
}
