//! What a request lacks, added before it is sent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use haul_core::{Endpoint, Error, ErrorKind, Request, Result};
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION,
    RANGE, USER_AGENT,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Uri, Version};
use http_body::Body as _;

use super::config::ClientConfig;
use super::decode;
use super::proxy::Proxies;
use crate::parse;

/// How this client calls itself.
const AGENT: &str = concat!("haul/", env!("CARGO_PKG_VERSION"));

/// What every request has unless it says otherwise.
pub(super) struct Defaults {
    headers: HeaderMap,
    base: Option<Base>,
    credentials: Option<HeaderValue>,
}

struct Base {
    scheme: Scheme,
    authority: Authority,
    /// Without a slash at its end.
    path: String,
}

impl Defaults {
    pub(super) fn new(config: &ClientConfig) -> Result<Self> {
        let headers = parse::header_map(&config.headers)?;
        let (base, basic) = match &config.base_url {
            None => (None, None),
            Some(url) => base(url).map_err(|why| why.while_doing("base_url"))?,
        };
        let credentials = match (&config.bearer, basic) {
            (Some(_), Some(_)) => {
                let why = "bearer and the user of base_url exclude one another: keep one";
                return Err(Error::new(ErrorKind::Config, why));
            }
            (Some(token), None) => Some(secret(format!("Bearer {token}"))?),
            (None, basic) => basic,
        };
        Ok(Self { headers, base, credentials })
    }

    /// The names of the default headers.
    pub(super) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.keys().filter(|name| **name != USER_AGENT)
    }

    /// The request with what it lacks. Errors: `Config` for a URI that leads nowhere.
    pub(super) fn complete(&self, mut request: Request) -> Result<Request> {
        *request.version_mut() = Version::HTTP_11;
        let own = self.locate(&mut request)?;
        for (name, value) in &self.headers {
            if !request.headers().contains_key(name) {
                request.headers_mut().append(name, value.clone());
            }
        }
        let (method, empty) = (request.method().clone(), request.body().is_end_stream());
        let headers = request.headers_mut();
        if let Some(credentials) = self.credentials.as_ref().filter(|_| own)
            && !headers.contains_key(AUTHORIZATION)
        {
            headers.insert(AUTHORIZATION, credentials.clone());
        }
        if sends(&method) && empty && !headers.contains_key(CONTENT_LENGTH) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
        if !headers.contains_key(USER_AGENT) {
            headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        }
        Ok(request)
    }

    /// Makes the URI absolute, and its user and password a header. Answers whether the default credentials belong to
    /// its origin.
    fn locate(&self, request: &mut Request) -> Result<bool> {
        let uri = request.uri();
        let Some(authority) = uri.authority() else {
            let Some(base) = &self.base else {
                let why = "the URI names no host, and there is no base_url";
                return Err(Error::new(ErrorKind::Config, why));
            };
            *request.uri_mut() = base.join(uri)?;
            return Ok(true);
        };
        if let Some((user, _)) = authority.as_str().rsplit_once('@') {
            let basic = basic(&Endpoint::parse(&format!("http://{user}@host"))?)?;
            let bare = without_user(uri)?;
            *request.uri_mut() = bare;
            if let Some(basic) = basic {
                request.headers_mut().entry(AUTHORIZATION).or_insert(basic);
            }
        }
        let uri = request.uri();
        Ok(self.base.as_ref().is_none_or(|base| {
            uri.scheme() == Some(&base.scheme) && uri.authority() == Some(&base.authority)
        }))
    }
}

impl Base {
    fn join(&self, uri: &Uri) -> Result<Uri> {
        let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
        let built = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(format!("{}{path}", self.path))
            .build();
        built.map_err(|why| Error::new(ErrorKind::Config, format!("join {uri} to the base_url: {why}")))
    }
}

fn base(url: &str) -> Result<(Option<Base>, Option<HeaderValue>)> {
    let endpoint = Endpoint::parse(url)?;
    endpoint.require_host()?;
    let wrong = |why: &str| Error::new(ErrorKind::Config, format!("{endpoint}: {why}"));
    let uri: Uri = url.parse().map_err(|_| wrong("it is no URI"))?;
    if uri.query().is_some() || url.contains('#') {
        return Err(wrong("a base has neither query nor fragment"));
    }
    let basic = basic(&endpoint)?;
    let parts = without_user(&uri)?.into_parts();
    match (parts.scheme, parts.authority, parts.path_and_query) {
        (Some(scheme), Some(authority), path) if scheme == Scheme::HTTP || scheme == Scheme::HTTPS => {
            let path = path.map(|path| path.as_str().trim_end_matches('/').to_owned()).unwrap_or_default();
            Ok((Some(Base { scheme, authority, path }), basic))
        }
        _ => Err(wrong("it must begin with http:// or https://")),
    }
}

fn without_user(uri: &Uri) -> Result<Uri> {
    let mut parts = uri.clone().into_parts();
    let wrong = |why: &dyn std::fmt::Display| Error::new(ErrorKind::Config, format!("the URI's host: {why}"));
    if let Some(authority) = &parts.authority
        && let Some((_, bare)) = authority.as_str().rsplit_once('@')
    {
        parts.authority = Some(bare.parse().map_err(|why| wrong(&why))?);
    }
    Uri::from_parts(parts).map_err(|why| wrong(&why))
}

/// Whether a request with this method says how much it sends even if that is nothing (RFC 9110 section 8.6).
fn sends(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
}

/// User and password of an endpoint as basic authentication (RFC 7617).
fn basic(endpoint: &Endpoint) -> Result<Option<HeaderValue>> {
    let Some(user) = endpoint.user() else { return Ok(None) };
    let both = format!("{user}:{}", endpoint.password().unwrap_or_default());
    secret(format!("Basic {}", STANDARD.encode(both))).map(Some)
}

/// A header that is not shown.
fn secret(text: String) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| Error::new(ErrorKind::Config, "the bearer token cannot stand in an HTTP head"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A request that a proxy forwards carries the proxy's credentials.
pub(super) fn authorize(request: &mut Request, proxies: &Proxies) -> Result<()> {
    if request.uri().scheme() != Some(&Scheme::HTTP) {
        return Ok(());
    }
    if let Some(proxy) = proxies.of(request.uri())?
        && proxy.forwards(request.uri())
        && let Some(credentials) = proxy.credentials()
    {
        request.headers_mut().insert(PROXY_AUTHORIZATION, credentials.clone());
    }
    Ok(())
}

/// Asks for a compressed response, unless the request says itself what it wants. Answers whether it asked.
pub(super) fn ask_compressed(request: &mut Request) -> bool {
    let headers = request.headers_mut();
    if headers.contains_key(ACCEPT_ENCODING) || headers.contains_key(RANGE) {
        return false;
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(decode::ACCEPTED));
    true
}
