//! Who may come in over HTTP and WebTransport: which pages of browsers, and with which tokens.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use haul_core::{Body, BoxFuture, Endpoint, Error, ErrorKind, Metadata, Response, Result};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use percent_encoding::percent_decode_str;
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

/// A subprotocol that carries a token, for browsers, which can set no header on a WebSocket.
const SUBPROTOCOL: &str = "bearer.";

/// What pages of other origins may read of an answer: what event streams say in headers.
const EXPOSED: &str = "haul-protocol, haul-busy, retry-after";

type Check = Arc<dyn Fn(Parts) -> BoxFuture<'static, Result<Metadata>> + Send + Sync>;

/// Who may come in over `http://` and `https://`, whichever protocol they speak there.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Guard {
    /// Origins of pages that may connect, such as `https://app.example`, beside those of the gateway's own host; `*`
    /// is all of them.
    pub origins: Vec<String>,
    /// Tokens, one of which each client has to show: `Authorization: Bearer TOKEN`, `?access_token=TOKEN`, or the
    /// subprotocol `bearer.TOKEN` of a WebSocket. Without any, none is asked for.
    ///
    /// `NAME:TOKEN` says whose it is. Clients show the token alone, and two tokens of one name are one identity, so that
    /// a session goes on when its client comes back with the newer one.
    pub tokens: Vec<String>,
    check: Option<Check>,
}

impl Guard {
    /// The guard with a check of one's own, which each request passes behind origin and token. What it answers are
    /// facts of the connection ([`Info::facts`](haul_core::Info)); the fact `identity`, who the client is, goes over
    /// that of its token. Its error is the answer, with the status of its kind (`Unauthorized` 401, `RateLimited` 429,
    /// `Overloaded` 503) or of a fact named `status`.
    #[must_use]
    pub fn check<F, Fut>(mut self, check: F) -> Self
    where
        F: Fn(Parts) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Metadata>> + Send + 'static,
    {
        self.check = Some(Arc::new(move |request| Box::pin(check(request))));
        self
    }

    /// Errors: `Config` for what can let nobody in, or everybody.
    pub(crate) fn checked(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::new(ErrorKind::Config, why));
        let mut tokens: Vec<_> = self.tokens.iter().map(|token| Token::of(token).secret).collect();
        if tokens.contains(&"") {
            return wrong("a token is empty".to_owned());
        }
        if self.tokens.iter().any(|token| token.starts_with(':')) {
            return wrong("a token looks like NAME:TOKEN, and one has no name".to_owned());
        }
        tokens.sort_unstable();
        if tokens.windows(2).any(|pair| pair[0] == pair[1]) {
            return wrong("a token is there twice".to_owned());
        }
        let is_origin = |text: &str| {
            let (scheme, rest) = text.split_once("://").unwrap_or_default();
            !scheme.is_empty() && !rest.is_empty() && !rest.contains(['/', '?', '#', '*'])
        };
        match self.origins.iter().find(|origin| *origin != "*" && *origin != "null" && !is_origin(origin)) {
            Some(origin) => {
                wrong(format!("origin {origin:?}: it looks like https://host or https://host:port"))
            }
            None => Ok(()),
        }
    }

    /// Where the page comes from that sends `request`. Errors: 403 for one that may not.
    pub(crate) fn origin(&self, request: &Parts, listening: &Endpoint) -> Result<Origin> {
        let Some(origin) = request.headers.get(header::ORIGIN) else { return Ok(Origin::None) };
        let text = origin.to_str().unwrap_or_default();
        if self.origins.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(text)) {
            return Ok(Origin::Allowed(origin.clone()));
        }
        if is_own(text, request, listening) {
            return Ok(Origin::Own);
        }
        let why = format!("origin {text:?} may not connect here: add it to origins of [serve]");
        Err(Error::new(ErrorKind::Unauthorized, why).with("status", StatusCode::FORBIDDEN.as_u16()))
    }

    /// Lets `request` in; `open` asks for no token. Errors: 401, and the check's.
    pub(crate) async fn admit(&self, request: &Parts, open: bool) -> Result<Admitted> {
        let mut admitted = self.authenticate(request, open)?;
        if let Some(check) = &self.check {
            for (name, value) in check(request.clone()).await?.iter() {
                admitted.facts.set(name.to_owned(), value.to_owned());
            }
        }
        Ok(admitted)
    }

    fn authenticate(&self, request: &Parts, open: bool) -> Result<Admitted> {
        let offered = subprotocol(&request.headers);
        let mut facts = Metadata::new();
        if open || self.tokens.is_empty() {
            return Ok(Admitted { subprotocol: offered, facts });
        }
        let carried = offered.as_deref().and_then(|name| name.strip_prefix(SUBPROTOCOL));
        let shown = [header_token(&request.headers), query_token(request), carried.map(str::to_owned)];
        let known = shown.into_iter().flatten().find_map(|shown| self.known(&shown));
        let why = "show a token that is known here: Authorization: Bearer TOKEN";
        let known = known.ok_or_else(|| Error::new(ErrorKind::Unauthorized, why))?;
        facts.set("identity", known.identity());
        Ok(Admitted { subprotocol: offered, facts })
    }

    fn known(&self, shown: &str) -> Option<Token<'_>> {
        // Each is compared, whichever fits.
        self.tokens.iter().map(|token| Token::of(token)).fold(None, |known, token| {
            match bool::from(token.secret.as_bytes().ct_eq(shown.as_bytes())) {
                true => Some(token),
                false => known,
            }
        })
    }
}

/// Who was let in.
pub(crate) struct Admitted {
    /// The subprotocol that carried the token, if one did.
    pub(crate) subprotocol: Option<String>,
    /// What is known of the client: `identity`, and what the check says.
    pub(crate) facts: Metadata,
}

/// A token, as it is configured.
struct Token<'a> {
    name: Option<&'a str>,
    secret: &'a str,
}

impl<'a> Token<'a> {
    fn of(configured: &'a str) -> Self {
        match configured.split_once(':') {
            Some((name, secret)) => Self { name: Some(name), secret },
            None => Self { name: None, secret: configured },
        }
    }

    /// Its name, or a digest where it has none; no name has a colon.
    fn identity(&self) -> String {
        let digest = || {
            let digest = digest(&SHA256, self.secret.as_bytes());
            digest.as_ref()[..16].iter().fold("token:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
        };
        self.name.map_or_else(digest, str::to_owned)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("origins", &self.origins)
            .field("tokens", &self.tokens.len())
            .finish_non_exhaustive()
    }
}

/// The origin of a request.
pub(crate) enum Origin {
    /// No browser's page, as far as is known.
    None,
    Own,
    Allowed(HeaderValue),
}

impl Origin {
    /// Says in `answer` that the page may read it.
    pub(crate) fn mark(&self, answer: &mut Response) {
        if let Self::Allowed(origin) = self {
            answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer
                .headers_mut()
                .insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
            answer.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
        }
    }
}

/// The answer to a browser that asks before it sends (Fetch standard, CORS-preflight fetch).
pub(crate) fn preflight(request: &Parts, origin: &HeaderValue) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    if let Some(asked) = request.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    Origin::Allowed(origin.clone()).mark(&mut answer);
    answer
}

/// Whether a page of `origin` was served by the host that it asks. A name that is neither `localhost` nor the one
/// listened on proves nothing: whoever owns it can let it lead here (DNS rebinding).
fn is_own(origin: &str, request: &Parts, listening: &Endpoint) -> bool {
    let named = request.uri.authority().map(|authority| authority.as_str());
    let asked = named.or_else(|| request.headers.get(header::HOST)?.to_str().ok());
    let (Some((_, from)), Some(asked)) = (origin.split_once("://"), asked) else { return false };
    let name = match asked.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => asked.split(':').next().unwrap_or_default(),
    };
    let proves = name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || listening.host().is_some_and(|host| host.eq_ignore_ascii_case(name));
    proves && from.eq_ignore_ascii_case(asked)
}

fn header_token(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn query_token(request: &Parts) -> Option<String> {
    let mut pairs = request.uri.query()?.split('&');
    let token = pairs.find_map(|pair| pair.strip_prefix("access_token="))?;
    percent_decode_str(token).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The subprotocol that carries a token.
fn subprotocol(headers: &HeaderMap) -> Option<String> {
    let offers =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|offer| offer.to_str().ok());
    let mut names = offers.flat_map(|offer| offer.split(',')).map(str::trim);
    names.find(|name| name.starts_with(SUBPROTOCOL)).map(str::to_owned)
}
