//! Following redirects (RFC 9110 section 15.4), where that is asked for.

use fluent_uri::{Uri as Url, UriRef};
use haul_core::{Body, Error, ErrorKind, Input, Request, Response, Result, Sent};
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderName, LOCATION,
    PROXY_AUTHORIZATION, TRANSFER_ENCODING,
};
use http::{Method, StatusCode, Uri};

/// Headers that only the origin they were meant for may see.
static SECRETS: [HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];

/// What is needed of a request to send it elsewhere, taken before it is sent.
pub(super) struct Hop {
    /// Without its body if that can be read only once.
    request: Request,
    whole: bool,
}

impl Hop {
    pub(super) fn of(request: &Request) -> Self {
        if let Some(copy) = request.replay() {
            return Self { request: copy, whole: true };
        }
        let mut copy = Request::new(Body::empty());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        *copy.extensions_mut() = request.extensions().clone();
        Self { request: copy, whole: false }
    }

    /// The request that `answer` asks for; `None` if it is no redirect, or the body cannot be sent again.
    ///
    /// `private` are names of headers that only the first origin may see.
    /// Errors: `Rejected` for a place that is not http or https, or that would leave https.
    pub(super) fn next<'a>(
        self,
        answer: &Response,
        private: impl Iterator<Item = &'a HeaderName>,
    ) -> Result<Option<Request>> {
        let Some(place) = answer.headers().get(LOCATION) else { return Ok(None) };
        let mut request = self.request;
        let rewritten = match answer.status() {
            StatusCode::SEE_OTHER => request.method() != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => request.method() == Method::POST,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
            _ => return Ok(None),
        };
        if !rewritten && !self.whole {
            return Ok(None);
        }
        let target = resolve(request.uri(), place.to_str().unwrap_or_default())?;
        if rewritten {
            *request.method_mut() = Method::GET;
            *request.body_mut() = Body::empty();
            for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING] {
                request.headers_mut().remove(name);
            }
        }
        if origin(request.uri()) != origin(&target) {
            for name in SECRETS.iter().chain(private) {
                request.headers_mut().remove(name);
            }
        }
        request.headers_mut().remove(http::header::HOST);
        *request.uri_mut() = target;
        Ok(Some(request))
    }
}

fn origin(uri: &Uri) -> (Option<&str>, Option<&str>, Option<u16>) {
    let port = uri.port_u16().or(match uri.scheme_str() {
        Some("https") => Some(443),
        _ => Some(80),
    });
    (uri.scheme_str(), uri.host(), port)
}

fn resolve(from: &Uri, place: &str) -> Result<Uri> {
    let refused = |why: &str| {
        let message = format!("the peer redirects to {place:?}: {why}");
        Error::new(ErrorKind::Rejected, message).with_sent(Sent::Maybe)
    };
    let base = from.to_string();
    let base = Url::parse(base.as_str()).map_err(|_| refused("it cannot be resolved"))?;
    let to = UriRef::parse(place).map_err(|_| refused("it is no URI"))?;
    let to = to.with_fragment(None).resolve_against(&base).map_err(|_| refused("it cannot be resolved"))?;
    let to: Uri = to.as_str().parse().map_err(|_| refused("it is no URI"))?;
    match (from.scheme_str(), to.scheme_str()) {
        (Some("https"), Some("http")) => Err(refused("that would leave TLS")),
        (_, Some("http" | "https")) if to.host().is_some() => Ok(to),
        _ => Err(refused("only http and https are followed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_resolved_against_where_the_answer_came_from() {
        let from: Uri = "https://a.example/b/c?d=1".parse().unwrap();
        for (place, to) in [
            ("e", "https://a.example/b/e"),
            ("/e?f#g", "https://a.example/e?f"),
            ("//b.example/", "https://b.example/"),
            ("https://c.example:8443/x", "https://c.example:8443/x"),
        ] {
            assert_eq!(resolve(&from, place).unwrap(), to);
        }
        for place in ["http://a.example/", "ftp://a.example/", "mailto:me@a.example", "ht tp"] {
            assert_eq!(resolve(&from, place).unwrap_err().kind(), ErrorKind::Rejected, "{place}");
        }
    }
}
