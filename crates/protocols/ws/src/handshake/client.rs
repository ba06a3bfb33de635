//! The client's side (RFC 6455 section 4.1).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use haul_core::{Endpoint, Error, ErrorKind, Result, Sent, Status};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Agreed, head};

/// How much of an error answer's body goes into the error.
const BODY_SHOWN: usize = 512;

/// What is asked for.
pub(crate) struct Request<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) subprotocols: &'a [String],
    pub(crate) headers: &'a [(String, String)],
}

/// Asks for a WebSocket on `stream`. The caller sets the deadline.
///
/// Errors: what an HTTP answer other than 101 says, by its status; `Protocol` for what is no WebSocket server.
pub(crate) async fn shake(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: Request<'_>,
) -> Result<Agreed> {
    let key = generate_key();
    stream.write_all(request.head(&key)?.as_bytes()).await?;
    stream.flush().await?;
    let (head, mut early) = head::read(stream, head::a_response).await?;
    let mut headers = [httparse::EMPTY_HEADER; head::MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(&head).map_err(|why| broken(format!("its answer is no HTTP response: {why}")))?;
    let headers = &*response.headers;
    match response.code {
        Some(101) => {}
        code => {
            read_body(stream, headers, &mut early).await;
            return Err(refused(
                code.unwrap_or_default(),
                response.reason.unwrap_or_default(),
                headers,
                &early,
            ));
        }
    }
    if !head::has_token(headers, "upgrade", "websocket") || !head::has_token(headers, "connection", "upgrade")
    {
        return Err(broken("it answered 101 without Upgrade: websocket"));
    }
    if head::text(headers, "sec-websocket-accept") != Some(&derive_accept_key(key.as_bytes())) {
        return Err(broken("its Sec-WebSocket-Accept does not answer our key"));
    }
    if headers.iter().any(|header| header.name.eq_ignore_ascii_case("sec-websocket-extensions")) {
        return Err(broken("it chose an extension that was not offered"));
    }
    let subprotocol = head::text(headers, "sec-websocket-protocol").map(str::to_owned);
    if let Some(chosen) = &subprotocol
        && !request.subprotocols.contains(chosen)
    {
        return Err(broken(format!("it chose subprotocol {chosen:?}, which was not offered")));
    }
    Ok(Agreed { subprotocol, early, target: request.endpoint.path_and_query(), facts: Vec::new() })
}

impl Request<'_> {
    fn head(&self, key: &str) -> Result<String> {
        let host = self.endpoint.require_host()?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let host = self.endpoint.port().map_or(host.clone(), |port| format!("{host}:{port}"));
        let mut head = format!(
            "GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n",
            self.endpoint.path_and_query()
        );
        if !self.subprotocols.is_empty() {
            head.push_str(&format!("Sec-WebSocket-Protocol: {}\r\n", self.subprotocols.join(", ")));
        }
        if let Some(user) = self.endpoint.user() {
            let credentials =
                STANDARD.encode(format!("{user}:{}", self.endpoint.password().unwrap_or_default()));
            head.push_str(&format!("Authorization: Basic {credentials}\r\n"));
        }
        for (name, value) in self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Ok(head)
    }
}

/// Reads what of the body is worth showing; the connection is over anyway.
async fn read_body(
    stream: &mut (impl AsyncRead + Unpin),
    headers: &[httparse::Header<'_>],
    body: &mut BytesMut,
) {
    let announced = head::text(headers, "content-length").and_then(|len| len.trim().parse().ok());
    let wanted = announced.unwrap_or(0usize).min(BODY_SHOWN);
    while body.len() < wanted {
        match stream.read_buf(body).await {
            Ok(1..) => {}
            _ => return,
        }
    }
}

fn refused(code: u16, reason: &str, headers: &[httparse::Header<'_>], body: &[u8]) -> Error {
    let (kind, status) = match code {
        401 | 403 | 407 => (ErrorKind::Unauthorized, Status::Permanent),
        404 | 410 => (ErrorKind::NotFound, Status::Permanent),
        408 | 504 => (ErrorKind::Timeout, Status::Transient),
        429 => (ErrorKind::RateLimited, Status::Transient),
        503 => (ErrorKind::Overloaded, Status::Transient),
        500..=599 => (ErrorKind::Rejected, Status::Transient),
        _ => (ErrorKind::Rejected, Status::Permanent),
    };
    let hint = match code {
        200..=299 => "; it speaks HTTP there, but no WebSocket",
        300..=399 => "; dial where it points to",
        401 => "; put user and password into the endpoint, or an Authorization header",
        _ => "",
    };
    let mut error = Error::new(kind, format!("the server answered HTTP {code} {reason}{hint}"))
        .with_status(status)
        .with_sent(Sent::No)
        .with("http_status", code);
    if let Some(location) = head::text(headers, "location") {
        error = error.with("location", location);
    }
    let shown = String::from_utf8_lossy(&body[..body.len().min(BODY_SHOWN)]);
    if !shown.trim().is_empty() {
        error = error.with("body", format_args!("{:?}", shown.trim()));
    }
    match head::text(headers, "retry-after").and_then(|wait| wait.trim().parse().ok()) {
        Some(seconds) => error.with_retry_after(Duration::from_secs(seconds)),
        None => error,
    }
}

fn broken(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Protocol, format!("the server is no WebSocket server: {why}"))
}
