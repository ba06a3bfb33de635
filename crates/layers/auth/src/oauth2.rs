//! Tokens of OAuth 2: client credentials (RFC 6749 section 4.4) and refresh (section 6).

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use haul_core::{Body, Error, ErrorKind, Input, Request, Response, Result, Service, Shared, duration_text};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::Token;

/// Bytes of an answer with a token.
const MAX_ANSWER: usize = 64 << 10;

/// `application/x-www-form-urlencoded`, without its plus for a blank.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where tokens come from, and who asks for them.
///
/// In TOML: `token_url = "https://login.example/token"`, `client_id = "haul"`, `client_secret = "..."`,
/// `scope = "write"`, `refresh_token = "..."`, `in_body = true`, `early = "30s"`; all but the first two may be left out.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2Options {
    /// The token endpoint: `https`, except on a loopback address.
    pub token_url: String,
    /// The client's name at the server.
    pub client_id: String,
    /// The client's secret; a public client has none.
    #[serde(default)]
    pub client_secret: Option<String>,
    /// The scopes to ask for, with blanks between. Default what the server gives.
    #[serde(default)]
    pub scope: Option<String>,
    /// With it tokens are refreshed by it, and by those that the server gives in its place; without, the client asks with
    /// its own credentials.
    #[serde(default)]
    pub refresh_token: Option<String>,
    /// Whether name and secret stand in the body, for servers that take no `Authorization: Basic`. Default no.
    #[serde(default)]
    pub in_body: bool,
    /// How long before its end a token is renewed. Default 30 s.
    #[serde(default = "early", with = "duration_text")]
    pub early: Duration,
}

fn early() -> Duration {
    Duration::from_secs(30)
}

impl OAuth2Options {
    /// Options with defaults, for the client `client_id` at `token_url`.
    pub fn new(token_url: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            token_url: token_url.into(),
            client_id: client_id.into(),
            client_secret: None,
            scope: None,
            refresh_token: None,
            in_body: false,
            early: early(),
        }
    }
}

/// Asks a token endpoint.
pub(crate) struct OAuth2 {
    options: OAuth2Options,
    url: Uri,
    client: Shared<Request>,
    /// The refresh token that the server gave last.
    refresh_token: Mutex<Option<String>>,
}

/// What the endpoint answers (section 5.1).
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: String,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    refresh_token: Option<String>,
}

/// What it answers when it refuses (section 5.2).
#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: Option<String>,
}

impl OAuth2 {
    pub(crate) fn new(options: OAuth2Options, client: Shared<Request>) -> Result<Self> {
        let OAuth2Options { token_url, client_id, client_secret, refresh_token, .. } = &options;
        let wrong = |what: &str| Error::new(ErrorKind::Config, format!("auth: {what}"));
        let url: Uri = token_url.parse().map_err(|_| wrong(&format!("token_url {token_url:?} is no URL")))?;
        let loopback = matches!(url.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
        match url.scheme_str() {
            Some("https") => {}
            Some("http") if loopback => {}
            _ => return Err(wrong(&format!("token_url {token_url} must be https: secrets go there"))),
        }
        if client_id.is_empty() {
            return Err(wrong("client_id is empty"));
        }
        if client_secret.is_none() && refresh_token.is_none() {
            return Err(wrong("a client asks with its client_secret, or with a refresh_token"));
        }
        let refresh_token = Mutex::new(refresh_token.clone());
        Ok(Self { options, url, client, refresh_token })
    }

    /// Asks for a token. Errors: `Unauthorized` if the server refuses, `Protocol` for an answer that makes no sense, and
    /// those of the client; all of them say where.
    pub(crate) async fn fetch(&self) -> Result<Token> {
        let asked = async { self.granted(self.client.call(self.request()?).await?).await };
        let granted =
            asked.await.map_err(|why| why.while_doing(format_args!("fetch a token from {}", self.url)))?;
        if let Some(token) = granted.refresh_token.filter(|_| self.options.refresh_token.is_some()) {
            *self.refresh_token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        }
        let token = Token::bearer(&granted.access_token)?;
        Ok(match granted.expires_in {
            Some(seconds) => token.expires_in(Duration::from_secs(seconds)),
            None => token,
        })
    }

    fn request(&self) -> Result<Request> {
        let OAuth2Options { client_id, client_secret, scope, in_body, .. } = &self.options;
        let refresh = self.refresh_token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut form =
            vec![("grant_type", if refresh.is_some() { "refresh_token" } else { "client_credentials" })];
        form.extend(refresh.as_deref().map(|token| ("refresh_token", token)));
        form.extend(scope.as_deref().map(|scope| ("scope", scope)));
        let mut request = http::Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
        match client_secret {
            Some(secret) if !in_body => request = request.header(AUTHORIZATION, basic(client_id, secret)?),
            secret => {
                form.push(("client_id", client_id));
                form.extend(secret.as_deref().map(|secret| ("client_secret", secret)));
            }
        }
        let pairs: Vec<_> =
            form.into_iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let built = request.body(Body::from(pairs.join("&")));
        built.map_err(|why| Error::new(ErrorKind::Internal, "build the request").with_source(why))
    }

    async fn granted(&self, response: Response) -> Result<Granted> {
        let (status, failure) = (response.status(), Request::failure(&response));
        let body = response.into_body().bytes(MAX_ANSWER).await?;
        if let (StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED, Ok(refused)) =
            (status, serde_json::from_slice(&body))
        {
            let Refused { error, error_description } = refused;
            let why = error_description.map(|text| format!(": {text}")).unwrap_or_default();
            return Err(Error::new(ErrorKind::Unauthorized, format!("the server refused: {error}{why}")));
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        let granted: Granted = serde_json::from_slice(&body).map_err(|why| {
            // What it says of the place is no secret; the text is.
            let place = format!("line {}, column {}", why.line(), why.column());
            Error::new(ErrorKind::Protocol, format!("the answer is no token: {place}"))
        })?;
        match granted.token_type.eq_ignore_ascii_case("bearer") {
            true => Ok(granted),
            false => {
                let message = format!("the token is of type {:?}, not bearer", granted.token_type);
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }
}

fn encoded(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, FORM)
}

/// Name and secret are encoded as in a form first (section 2.3.1).
fn basic(id: &str, secret: &str) -> Result<HeaderValue> {
    let pair = BASE64_STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
    let value = HeaderValue::try_from(format!("Basic {pair}"));
    let mut value =
        value.map_err(|why| Error::new(ErrorKind::Internal, "write the header").with_source(why))?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Debug for OAuth2Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth2Options")
            .field("token_url", &self.token_url)
            .field("client_id", &self.client_id)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
