//! Which proxy leads to a host, and how: forwarding for `http`, CONNECT (RFC 9110 section 9.3.6) for `https`, SOCKS5
//! (RFC 1928, RFC 1929) for both.

use std::net::IpAddr;

use haul_core::{Body, Endpoint, Error, ErrorKind, Result};
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_socks::tcp::Socks5Stream;

/// The proxies in use.
#[derive(Debug)]
pub(super) enum Proxies {
    None,
    /// As the environment says; never for loopback.
    Environment(Matcher),
    Named(Matcher),
}

impl Proxies {
    /// `named` may be empty: no proxy then, whatever the environment says.
    pub(super) fn new(named: Option<&str>) -> Result<Self> {
        match named {
            None => Ok(Self::Environment(Matcher::from_env())),
            Some("") => Ok(Self::None),
            Some(named) => {
                let endpoint = Endpoint::parse(named).map_err(|why| why.while_doing("proxy"))?;
                endpoint.require_host().map_err(|why| why.while_doing("proxy"))?;
                known(endpoint.scheme())?;
                Ok(Self::Named(Matcher::builder().all(named).build()))
            }
        }
    }

    /// The proxy that leads to `target`.
    pub(super) fn of(&self, target: &Uri) -> Result<Option<Proxy>> {
        let found = match self {
            Self::None => None,
            Self::Environment(_) if target.host().is_some_and(is_loopback) => None,
            Self::Environment(matcher) | Self::Named(matcher) => matcher.intercept(target),
        };
        let Some(found) = found else { return Ok(None) };
        let kind = known(found.uri().scheme_str().unwrap_or("http"))?;
        Ok(Some(Proxy { kind, found }))
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn known(scheme: &str) -> Result<Kind> {
    match scheme {
        "http" => Ok(Kind::Http),
        "socks5" | "socks5h" => Ok(Kind::Socks),
        other => Err(Error::new(
            ErrorKind::Config,
            format!("scheme {other} is no proxy's; use http://, socks5:// or socks5h://"),
        )),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    Socks,
}

/// A proxy on the way to a target.
pub(super) struct Proxy {
    kind: Kind,
    found: Intercept,
}

impl Proxy {
    /// Where it is, with its port.
    pub(super) fn uri(&self) -> Result<Uri> {
        let uri = self.found.uri();
        if uri.port_u16().is_some() || self.kind == Kind::Http {
            return Ok(uri.clone());
        }
        let made = format!("socks5://{}:1080/", uri.host().unwrap_or_default()).parse();
        made.map_err(|why| Error::new(ErrorKind::Config, format!("proxy {uri}: {why}")))
    }

    /// Whether requests to `target` are sent to it whole, and it sends them on.
    pub(super) fn forwards(&self, target: &Uri) -> bool {
        self.kind == Kind::Http && target.scheme_str() == Some("http")
    }

    /// What a forwarded request carries to be let through.
    pub(super) fn credentials(&self) -> Option<&HeaderValue> {
        self.found.basic_auth()
    }

    /// Asks it, on `stream`, to lead to `host` and `port`.
    pub(super) async fn lead(&self, stream: TcpStream, host: &str, port: u16) -> Result<TcpStream> {
        let led = match self.kind {
            Kind::Http => self.connect(stream, host, port).await,
            Kind::Socks => self.socks(stream, host, port).await,
        };
        led.map_err(|why| why.while_doing(format!("proxy {}", self.found.uri())))
    }

    async fn connect(&self, stream: TcpStream, host: &str, port: u16) -> Result<TcpStream> {
        let broken = |why: hyper::Error| Error::new(ErrorKind::Connect, format!("CONNECT failed: {why}"));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let target = format!("{host}:{port}");
        let mut request = Request::builder().method(Method::CONNECT).uri(&target).header(HOST, &target);
        if let Some(credentials) = self.credentials() {
            request = request.header(PROXY_AUTHORIZATION, credentials);
        }
        let request = request
            .body(Body::empty())
            .map_err(|why| Error::new(ErrorKind::Config, format!("{target} cannot be asked for: {why}")))?;
        let ask = async {
            let answer = sender.send_request(request).await.map_err(broken)?;
            match answer.status() {
                status if status.is_success() => hyper::upgrade::on(answer).await.map_err(broken),
                StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::UNAUTHORIZED => Err(Error::new(
                    ErrorKind::Unauthorized,
                    "it wants credentials: put user and password into its URL",
                )),
                status => Err(Error::new(ErrorKind::Connect, format!("it answered {status}"))),
            }
        };
        // The connection ends when it is upgraded, or when the answer was a refusal and `sender` is gone.
        let led = tokio::select! {
            biased;
            led = ask => led,
            Err(why) = connection.with_upgrades() => Err(broken(why)),
        };
        let parts = led?.downcast::<TokioIo<TcpStream>>().map_err(|_| {
            Error::new(ErrorKind::Internal, "the upgraded stream is not the one that was connected")
        })?;
        if !parts.read_buf.is_empty() {
            return Err(Error::new(ErrorKind::Protocol, "it sent bytes of its own after its answer"));
        }
        Ok(parts.io.into_inner())
    }

    async fn socks(&self, stream: TcpStream, host: &str, port: u16) -> Result<TcpStream> {
        let target = (host, port);
        let led = match self.found.raw_auth() {
            Some((user, password)) => {
                Socks5Stream::connect_with_password_and_socket(stream, target, user, password).await
            }
            None => Socks5Stream::connect_with_socket(stream, target).await,
        };
        led.map(Socks5Stream::into_inner).map_err(|why| {
            let kind = match why {
                tokio_socks::Error::PasswordAuthFailure(_) | tokio_socks::Error::NoAcceptableAuthMethods => {
                    ErrorKind::Unauthorized
                }
                _ => ErrorKind::Connect,
            };
            Error::new(kind, why.to_string())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_proxy_never_leads_to_loopback_and_a_named_one_does() {
        let all = || Matcher::builder().all("http://proxy.example:3128").no("direct.example").build();
        let leads = |proxies: &Proxies, target: &str| {
            proxies.of(&target.parse().unwrap()).unwrap().map(|proxy| proxy.uri().unwrap().to_string())
        };
        let proxy = Some("http://proxy.example:3128/".to_owned());
        let environment = Proxies::Environment(all());
        assert_eq!(leads(&environment, "https://a.example/"), proxy);
        for direct in
            ["http://localhost/", "http://127.0.0.1:1/", "http://[::1]/", "https://sub.direct.example/"]
        {
            assert_eq!(leads(&environment, direct), None, "{direct}");
        }
        assert_eq!(leads(&Proxies::Named(all()), "http://localhost/"), proxy);
        assert_eq!(leads(&Proxies::new(Some("")).unwrap(), "http://a.example/"), None);
        let socks = Proxies::new(Some("socks5://proxy.example")).unwrap();
        assert_eq!(leads(&socks, "http://a.example/").as_deref(), Some("socks5://proxy.example:1080/"));
    }

    #[test]
    fn a_proxy_of_another_scheme_is_refused_wherever_it_is_named() {
        assert_eq!(Proxies::new(Some("https://proxy.example")).unwrap_err().kind(), ErrorKind::Config);
        let environment = Proxies::Environment(Matcher::builder().all("socks4://proxy.example").build());
        let why = environment.of(&"http://a.example/".parse().unwrap()).err().unwrap();
        assert_eq!(why.kind(), ErrorKind::Config);
    }
}
