//! From a URI to a stream: name, socket, proxy, TLS, within one deadline.

use std::error::Error as _;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use haul_core::{BoxFuture, Error, ErrorKind, Result, Sent};
use haul_tls::{ClientOptions, ClientTls};
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::net::TcpStream;
use tower_service::Service;

use super::config::{ClientConfig, Version};
use super::dns::Resolver;
use super::proxy::Proxies;
use super::stream::Stream;

/// Makes the connections of a client.
#[derive(Clone)]
pub(super) struct Connector(Arc<Shared>);

struct Shared {
    sockets: HttpConnector<Resolver>,
    resolver: Resolver,
    proxies: Arc<Proxies>,
    options: ClientOptions,
    /// Made when it is first needed: without https, nobody needs roots.
    tls: OnceLock<Result<ClientTls>>,
    version: Version,
    deadline: Duration,
}

impl Connector {
    pub(super) fn new(config: &ClientConfig, proxies: Arc<Proxies>) -> Result<Self> {
        let resolver = Resolver::new(config.dns_cache);
        let mut sockets = HttpConnector::new_with_resolver(resolver.clone());
        sockets.enforce_http(false);
        sockets.set_nodelay(true);
        let mut options = config.tls.clone();
        options.alpn.get_or_insert_with(|| {
            match config.version {
                Version::Auto => "h2,http/1.1",
                Version::Http1 => "http/1.1",
                Version::Http2 => "h2",
            }
            .to_owned()
        });
        let shared = Shared {
            sockets,
            resolver,
            proxies,
            options,
            tls: OnceLock::new(),
            version: config.version,
            deadline: config.connect_timeout,
        };
        if config.tls != ClientOptions::default() {
            shared.tls()?;
        }
        Ok(Self(Arc::new(shared)))
    }
}

impl Shared {
    fn tls(&self) -> Result<ClientTls> {
        self.tls.get_or_init(|| self.options.build()).clone()
    }

    async fn connect(&self, target: &Uri) -> Result<Stream> {
        let secure = target.scheme_str() == Some("https");
        let host = target.host().unwrap_or_default();
        let port = target.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let socket = match self.proxies.of(target)? {
            None => self.socket(target.clone()).await?,
            Some(proxy) => {
                let uri = proxy.uri()?;
                let socket = self.socket(uri.clone()).await;
                let socket = socket.map_err(|why| why.while_doing(format!("proxy {uri}")))?;
                if proxy.forwards(target) {
                    return Ok(Stream::plain(socket, true));
                }
                proxy.lead(socket, host, port).await?
            }
        };
        if !secure {
            return Ok(Stream::plain(socket, false));
        }
        let stream = self.tls()?.connect(socket, host).await?;
        let h2 = stream.info().alpn.as_deref() == Some("h2");
        if self.version == Version::Http2 && !h2 {
            return Err(Error::new(ErrorKind::Unsupported, "the peer does not speak HTTP/2: version=auto"));
        }
        Ok(Stream::tls(stream, h2))
    }

    async fn socket(&self, uri: Uri) -> Result<TcpStream> {
        let mut sockets = self.sockets.clone();
        let host = uri.host().unwrap_or_default().to_owned();
        let connected = async {
            poll_fn(|cx| sockets.poll_ready(cx)).await?;
            sockets.call(uri).await
        };
        connected.await.map(|socket| socket.into_inner()).map_err(|why| {
            self.resolver.forget(&host);
            // What hyper-util says, then what the operating system said.
            let cause = why.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            Error::new(ErrorKind::Connect, format!("{why}{cause}"))
        })
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> BoxFuture<'static, Result<Stream>> {
        let shared = self.0.clone();
        Box::pin(async move {
            let deadline = shared.deadline;
            let late = |_| Error::new(ErrorKind::Timeout, format!("not connected within {deadline:?}"));
            let connected = tokio::time::timeout(deadline, shared.connect(&target)).await.map_err(late);
            // Nothing of the request was sent yet.
            connected.flatten().map_err(|why| why.with_sent(Sent::No))
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connector(known: &str, address: &str) -> Connector {
        let config = ClientConfig { dns_cache: Duration::from_secs(3600), ..ClientConfig::default() };
        let proxies = Arc::new(Proxies::new(Some("")).unwrap());
        let connector = Connector::new(&config, proxies).unwrap();
        connector.0.resolver.keep(known.to_owned(), &[address.parse().unwrap()]);
        connector
    }

    #[tokio::test]
    async fn addresses_that_are_known_are_connected_to_and_those_that_do_not_help_are_looked_up_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let uri = |host: &str| format!("http://{host}:{port}/").parse::<Uri>().unwrap();

        let known = connector("no-such-host.invalid", "127.0.0.1:0");
        known.0.connect(&uri("no-such-host.invalid")).await.unwrap();

        // Nobody listens on that address, which is not what the system says of the name.
        let outdated = connector("localhost", "127.0.0.2:0");
        let why = outdated.0.connect(&uri("localhost")).await.err().unwrap();
        assert_eq!(why.kind(), ErrorKind::Connect, "{why}");
        outdated.0.connect(&uri("localhost")).await.unwrap();
    }
}
