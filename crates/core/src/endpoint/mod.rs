//! Where to connect to or listen on: a URL and its options, parsed once.

mod options;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use fluent_uri::Uri;
use fluent_uri::pct_enc::{EStr, Encoder};

pub use options::{Options, Place, parse_bytes, parse_duration};

use crate::service::{Input, Subject};
use crate::{Connection, Error, ErrorKind, Result};

/// A URL (RFC 3986) with options, parsed once. Cloning is cheap.
///
/// Options stand in the query (`tcp://host:9000?framing=lines`) and, where the query belongs to the server (`ws`,
/// `http`), in the fragment (`wss://host/live?token=7#ping=10s`), which never leaves this machine.
///
/// ```
/// use haul_core::Endpoint;
///
/// let endpoint: Endpoint = "tcp://[::1]:9000?framing=lines".parse()?;
/// assert_eq!((endpoint.scheme(), endpoint.host(), endpoint.port()), ("tcp", Some("::1"), Some(9000)));
/// # Ok::<(), haul_core::Error>(())
/// ```
///
/// Displayed, it hides the password; [`as_str`](Self::as_str) shows all.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(Arc<Parts>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Parts {
    text: String,
    shown: String,
    scheme: String,
    user: Option<String>,
    password: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    path: String,
    raw_path: String,
    raw_query: Option<String>,
    query: Vec<(String, String)>,
    local: Vec<(String, String)>,
}

impl Endpoint {
    /// Parses a URL; the braces and bars of a [`Template`](crate::Template) may stand in it as they are.
    ///
    /// Errors: `Config`, with the position and the part that is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        if text.contains(['{', '}', '|']) {
            return Self::parse_template(text);
        }
        let uri = Uri::parse(text).map_err(|why| syntax(text, why.index(), &why.to_string()))?;
        let scheme = uri.scheme().as_str().to_ascii_lowercase();
        let authority = uri.authority();
        let port = match authority.and_then(|authority| authority.port()).map(EStr::as_str) {
            None | Some("") => None,
            Some(port) => Some(port.parse().map_err(|_| {
                let at = text.rfind(&format!(":{port}")).map_or(0, |at| at + 1);
                syntax(text, at, &format!("port {port} is not between 0 and 65535"))
            })?),
        };
        let host = authority.map(|authority| authority.host()).filter(|host| !host.is_empty());
        let host = host.map(|host| host.trim_start_matches('[').trim_end_matches(']').to_owned());
        let userinfo = authority.and_then(|authority| authority.userinfo());
        let (user, password) =
            match userinfo.map(|info| info.split_once(':').map_or((info, None), |(u, p)| (u, Some(p)))) {
                None => (None, None),
                Some((user, password)) => {
                    (Some(decode(text, user)?), password.map(|password| decode(text, password)).transpose()?)
                }
            };
        let shown = match userinfo.and_then(|info| info.split_once(':')) {
            Some((_, password)) => {
                let at = password.as_str().as_ptr() as usize - text.as_ptr() as usize;
                format!("{}***{}", &text[..at], &text[at + password.as_str().len()..])
            }
            None => text.to_owned(),
        };
        Ok(Self(Arc::new(Parts {
            scheme,
            user,
            password,
            host,
            port,
            path: decode(text, uri.path())?,
            raw_path: uri.path().as_str().to_owned(),
            raw_query: uri.query().map(|query| query.as_str().to_owned()),
            query: uri.query().map_or(Ok(Vec::new()), |query| pairs(text, query))?,
            local: uri.fragment().map_or(Ok(Vec::new()), |fragment| pairs(text, fragment))?,
            text: text.to_owned(),
            shown,
        })))
    }

    /// Parses a URL with characters that no URL has (RFC 3986 section 2).
    fn parse_template(text: &str) -> Result<Self> {
        const WRITTEN: [(&str, &str); 3] = [("{", "%7B"), ("}", "%7D"), ("|", "%7C")];
        let url = WRITTEN.iter().fold(text.to_owned(), |url, (plain, written)| url.replace(plain, written));
        let mut endpoint = Self::parse(&url)?;
        let parts = Arc::make_mut(&mut endpoint.0);
        parts.shown =
            WRITTEN.iter().fold(parts.shown.clone(), |shown, (plain, written)| shown.replace(written, plain));
        text.clone_into(&mut parts.text);
        Ok(endpoint)
    }

    /// The same endpoint with an option set, as if it stood in the fragment.
    #[must_use]
    pub fn with_option(mut self, name: &str, value: impl fmt::Display) -> Self {
        let parts = Arc::make_mut(&mut self.0);
        parts.local.retain(|(known, _)| known != name);
        parts.local.push((name.to_owned(), value.to_string()));
        self
    }

    /// The same endpoint with another port: what a listener on port 0 was given.
    pub fn with_port(&self, port: u16) -> Result<Self> {
        let host = self.host().unwrap_or_default();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let rest = &self.0.text[self.0.text.find("://").map_or(0, |at| at + 3)..];
        let tail = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
        let user = rest[..rest.len() - tail.len()].rfind('@').map_or("", |at| &rest[..=at]);
        let mut other = Self::parse(&format!("{}://{user}{host}:{port}{tail}", self.scheme()))?;
        Arc::make_mut(&mut other.0).local.clone_from(&self.0.local);
        Ok(other)
    }

    /// The URL as it was given, password included.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        &self.0.scheme
    }

    /// The user name, percent-decoded.
    pub fn user(&self) -> Option<&str> {
        self.0.user.as_deref()
    }

    /// The password, percent-decoded.
    pub fn password(&self) -> Option<&str> {
        self.0.password.as_deref()
    }

    /// The host without brackets; `None` if it is empty.
    pub fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }

    /// The host, or a `Config` error that says that one is needed.
    pub fn require_host(&self) -> Result<&str> {
        self.host().ok_or_else(|| Error::new(ErrorKind::Config, format!("endpoint {self}: it needs a host")))
    }

    /// The port, if one is given.
    pub fn port(&self) -> Option<u16> {
        self.0.port
    }

    /// The port, or a `Config` error that says that one is needed.
    pub fn require_port(&self) -> Result<u16> {
        self.port().ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                format!("endpoint {self}: it needs a port, as in {}://host:9000", self.scheme()),
            )
        })
    }

    /// The path, percent-decoded; empty or beginning with a slash where there is a host.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Path and query as they go onto the wire, at least `/`.
    pub fn path_and_query(&self) -> String {
        let path = if self.0.raw_path.is_empty() { "/" } else { &self.0.raw_path };
        match &self.0.raw_query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }
    }

    /// The names and values of the query, percent-decoded.
    pub fn query(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.query.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The options found in `place`, all of which must be among `known`.
    ///
    /// Errors: `Config` for an unknown name, with the nearest known one, and for a name given twice.
    pub fn options<'a>(&'a self, place: Place, known: &[&'static str]) -> Result<Options<'a>> {
        let query = if place == Place::Query { self.0.query.as_slice() } else { &[] };
        Options::new(self, query.iter().chain(&self.0.local), known)
    }
}

fn syntax(text: &str, at: usize, why: &str) -> Error {
    let hint = if text.contains("://") { "" } else { "; an endpoint looks like tcp://host:9000" };
    let shown = without_password(text);
    Error::new(ErrorKind::Config, format!("endpoint {shown:?} is wrong at byte {at}: {why}{hint}"))
}

/// What may be shown of a URL that is wrong somewhere: whatever could be a password is not.
fn without_password(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    let colon = text[start..].find(':').map(|at| start + at + 1);
    match (colon, text.rfind('@')) {
        (Some(colon), Some(end)) if colon <= end => format!("{}***{}", &text[..colon], &text[end..]),
        _ => text.to_owned(),
    }
}

fn decode<E: Encoder>(text: &str, part: &EStr<E>) -> Result<String> {
    let decoded = part.decode().to_string().map(|part| part.into_owned());
    decoded.map_err(|_| {
        let at = part.as_str().as_ptr() as usize - text.as_ptr() as usize;
        syntax(text, at, "the percent-encoded part is not UTF-8")
    })
}

fn pairs<E: Encoder>(text: &str, part: &EStr<E>) -> Result<Vec<(String, String)>> {
    let pairs = part.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, EStr::EMPTY));
            Ok((decode(text, name)?, decode(text, value)?))
        })
        .collect()
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.shown)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

impl Input for Endpoint {
    type Out = Connection;

    const ROLE: &'static str = "dial";

    fn subject(&self) -> Subject {
        Subject::Endpoint(self.clone())
    }

    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }

    /// Dialing twice makes two connections, of which the first is gone.
    fn idempotent(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
