//! The server's side (RFC 6455 section 4.2).

use haul_core::wire::PROTOCOL;
use haul_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Agreed, head};

/// What a listener asks of its clients.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The only path that is served; `None` serves any.
    pub(crate) path: Option<String>,
    /// Subprotocols in order of preference. If they were named by the operator, a client must offer one of them.
    pub(crate) subprotocols: Vec<String>,
    /// A client that offers none of them is turned away.
    pub(crate) strict: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self { path: None, subprotocols: vec![PROTOCOL.to_owned()], strict: false }
    }
}

/// Why a request becomes no WebSocket.
pub(crate) struct Refusal {
    pub(crate) status: &'static str,
    /// Header lines that belong to the status.
    pub(crate) extra: &'static str,
    pub(crate) why: String,
}

/// Answers a client that asks for a WebSocket on `stream`. The caller sets the deadline.
///
/// Errors: `Protocol` for what is no WebSocket handshake; the client was told with the HTTP status that fits.
pub(crate) async fn shake(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    terms: &Terms,
) -> Result<Agreed> {
    let (bytes, early) = match head::read(stream, head::a_request).await {
        Ok(read) => read,
        Err(why) => {
            match why.kind() {
                ErrorKind::TooLarge => {
                    turn_away(stream, "431 Request Header Fields Too Large", "", why.message()).await;
                }
                ErrorKind::Protocol => turn_away(stream, "400 Bad Request", "", why.message()).await,
                _ => {}
            }
            return Err(why);
        }
    };
    let mut headers = [httparse::EMPTY_HEADER; head::MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let checked = match request.parse(&bytes) {
        Ok(_) => check(&request, terms),
        Err(why) => Err(bad(format!("the request is malformed: {why}"))),
    };
    let (key, subprotocol) = match checked {
        Ok(agreed) => agreed,
        Err(Refusal { status, extra, why }) => {
            turn_away(stream, status, extra, &why).await;
            return Err(Error::new(ErrorKind::Protocol, why).with("answered", status));
        }
    };
    let chosen =
        subprotocol.as_ref().map_or(String::new(), |name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n{chosen}\r\n",
        accept(&key)
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.flush().await?;
    Ok(Agreed { subprotocol, early, target: request.path.unwrap_or("/").to_owned(), facts: facts(&request) })
}

/// The value of `Sec-WebSocket-Accept` for a client's key.
pub(crate) fn accept(key: &str) -> String {
    derive_accept_key(key.as_bytes())
}

/// What the application may want to know of a request.
pub(crate) fn facts(request: &httparse::Request<'_, '_>) -> Vec<(&'static str, String)> {
    let names = [("origin", "origin"), ("user_agent", "user-agent")];
    let found = names.into_iter().filter_map(|(fact, name)| Some((fact, head::text(request.headers, name)?)));
    found.map(|(fact, text)| (fact, text.to_owned())).collect()
}

/// Answers the client's key and the subprotocol that was chosen.
pub(crate) fn check(
    request: &httparse::Request<'_, '_>,
    terms: &Terms,
) -> Result<(String, Option<String>), Refusal> {
    let headers = &*request.headers;
    if !head::has_token(headers, "upgrade", "websocket") {
        let why = "this port speaks WebSocket: ask with Upgrade: websocket".to_owned();
        return Err(Refusal { status: "426 Upgrade Required", extra: "Upgrade: websocket\r\n", why });
    }
    if request.method != Some("GET")
        || request.version != Some(1)
        || !head::has_token(headers, "connection", "upgrade")
    {
        return Err(bad("a WebSocket is asked for with GET, HTTP/1.1 and Connection: Upgrade"));
    }
    if head::text(headers, "sec-websocket-version") != Some("13") {
        let why = "only WebSocket version 13 is spoken".to_owned();
        return Err(Refusal { status: "426 Upgrade Required", extra: "Sec-WebSocket-Version: 13\r\n", why });
    }
    let key = head::text(headers, "sec-websocket-key").filter(|key| key.len() == 24);
    let key = key.ok_or_else(|| bad("Sec-WebSocket-Key is missing or not 16 bytes in base64"))?;
    let path = request.path.unwrap_or("/").split('?').next().unwrap_or("/");
    if let Some(served) = &terms.path
        && served != path
    {
        return Err(Refusal {
            status: "404 Not Found",
            extra: "",
            why: format!("nothing is served at {path}"),
        });
    }
    let chosen =
        terms.subprotocols.iter().find(|name| head::has_token(headers, "sec-websocket-protocol", name));
    if chosen.is_none() && terms.strict {
        return Err(bad(format!("offer one of these subprotocols: {}", terms.subprotocols.join(", "))));
    }
    Ok((key.to_owned(), chosen.cloned()))
}

fn bad(why: impl Into<String>) -> Refusal {
    Refusal { status: "400 Bad Request", extra: "", why: why.into() }
}

/// Tells the client why not, as far as it still listens.
pub(crate) async fn turn_away(stream: &mut (impl AsyncWrite + Unpin), status: &str, extra: &str, why: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\n{extra}Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\n\r\n{why}\n",
        why.len() + 1
    );
    // Whether it arrives or not, the client is turned away.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
