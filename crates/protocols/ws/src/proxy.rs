//! Outgoing connections through a proxy: HTTP CONNECT (RFC 9110 section 9.3.6) and SOCKS5 (RFC 1928, RFC 1929).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use haul_core::{Endpoint, Error, ErrorKind, Result};
use haul_tcp::socket;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_socks::tcp::Socks5Stream;

use crate::handshake::head;

/// Connects to `host` and `port`: through `named`, or what the environment names, or directly.
///
/// `named` may be empty: no proxy then, whatever the environment says.
pub(crate) async fn connect(host: &str, port: u16, secure: bool, named: Option<&str>) -> Result<TcpStream> {
    let proxy = match named {
        Some(named) => Some(named.to_owned()),
        None => from_environment(host, secure, |name| std::env::var(name).ok()),
    };
    let Some(proxy) = proxy.filter(|proxy| !proxy.is_empty()) else {
        return socket::connect(host, port).await;
    };
    let proxy = Endpoint::parse(&proxy).map_err(|why| why.while_doing("proxy"))?;
    let through = match proxy.scheme() {
        "http" => http(&proxy, host, port).await,
        "socks5" | "socks5h" => socks5(&proxy, host, port).await,
        other => Err(Error::new(
            ErrorKind::Config,
            format!("scheme {other} is no proxy's; use http://, socks5:// or socks5h://"),
        )),
    };
    through.map_err(|why| why.while_doing(format!("proxy {proxy}")))
}

/// The proxy that the usual variables name: `http_proxy` for ws, `https_proxy` for wss, `all_proxy`, in lower or upper
/// case; `no_proxy` lists hosts and domains that are reached directly, and loopback always is.
fn from_environment(host: &str, secure: bool, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let either = |name: &str| variable(name).or_else(|| variable(&name.to_ascii_uppercase()));
    let loopback =
        host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    if loopback || either("no_proxy").is_some_and(|list| is_listed(host, &list)) {
        return None;
    }
    either(if secure { "https_proxy" } else { "http_proxy" }).or_else(|| either("all_proxy"))
}

fn is_listed(host: &str, list: &str) -> bool {
    list.split(',').map(|entry| entry.trim().trim_start_matches('.')).any(|entry| {
        let domain = || {
            host.len() > entry.len()
                && host.ends_with(entry)
                && host[..host.len() - entry.len()].ends_with('.')
        };
        !entry.is_empty() && (entry == "*" || host == entry || domain())
    })
}

async fn http(proxy: &Endpoint, host: &str, port: u16) -> Result<TcpStream> {
    let mut stream = socket::connect(proxy.require_host()?, proxy.port().unwrap_or(80)).await?;
    let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(user) = proxy.user() {
        let credentials = STANDARD.encode(format!("{user}:{}", proxy.password().unwrap_or_default()));
        head.push_str(&format!("Proxy-Authorization: Basic {credentials}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    let (answer, early) = head::read(&mut stream, head::a_response).await?;
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(&answer);
    parsed
        .map_err(|why| Error::new(ErrorKind::Protocol, format!("its answer is no HTTP response: {why}")))?;
    match response.code {
        Some(200..=299) if early.is_empty() => Ok(stream),
        Some(200..=299) => Err(Error::new(ErrorKind::Protocol, "it sent bytes of its own after its answer")),
        Some(407) => Err(Error::new(
            ErrorKind::Unauthorized,
            "it wants credentials: put user and password into its URL",
        )),
        code => {
            let reason = response.reason.unwrap_or_default();
            let code = code.unwrap_or_default();
            Err(Error::new(ErrorKind::Connect, format!("it answered HTTP {code} {reason}")))
        }
    }
}

async fn socks5(proxy: &Endpoint, host: &str, port: u16) -> Result<TcpStream> {
    let address = (proxy.require_host()?, proxy.port().unwrap_or(1080));
    let target = (host, port);
    let stream = match proxy.user() {
        Some(user) => {
            Socks5Stream::connect_with_password(address, target, user, proxy.password().unwrap_or_default())
                .await
        }
        None => Socks5Stream::connect(address, target).await,
    };
    stream.map(Socks5Stream::into_inner).map_err(|why| {
        let kind = match why {
            tokio_socks::Error::PasswordAuthFailure(_) | tokio_socks::Error::NoAcceptableAuthMethods => {
                ErrorKind::Unauthorized
            }
            _ => ErrorKind::Connect,
        };
        Error::new(kind, why.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_variables_name_the_proxy_and_its_exceptions() {
        let variable = |name: &str| match name {
            "HTTP_PROXY" => Some("http://plain:1".to_owned()),
            "https_proxy" => Some("http://secure:1".to_owned()),
            "no_proxy" => Some("direct.example, .inner.example".to_owned()),
            _ => None,
        };
        let proxy = |host, secure| from_environment(host, secure, variable);
        assert_eq!(proxy("a.example", false).as_deref(), Some("http://plain:1"));
        assert_eq!(proxy("a.example", true).as_deref(), Some("http://secure:1"));
        for direct in
            ["direct.example", "sub.direct.example", "x.inner.example", "localhost", "127.0.0.1", "::1"]
        {
            assert_eq!(proxy(direct, false), None, "{direct}");
        }
        assert!(proxy("indirect.example", false).is_some());
    }
}
