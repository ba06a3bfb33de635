//! The realtime transports that are compiled in, as one dialer.

use std::sync::LazyLock;

use haul_adaptive::{Adaptive, AdaptiveOptions, Candidate};
use haul_core::{Connection, Dial, Endpoint, Error, ErrorKind, Registry, Result};

/// Name, and its schemes with and without encryption, the preferred one first.
const TRANSPORTS: [(&str, &str, Option<&str>); 3] =
    [("webtransport", "wt", None), ("websocket", "wss", Some("ws")), ("sse", "sses", Some("sse"))];

/// The names of URLs whose scheme one before them has, by their places.
const URLS: [&str; haul_adaptive::MAX_CANDIDATES] = [
    "url 1", "url 2", "url 3", "url 4", "url 5", "url 6", "url 7", "url 8", "url 9", "url 10", "url 11",
    "url 12", "url 13", "url 14", "url 15", "url 16",
];

static ALL: LazyLock<Result<Adaptive>> = LazyLock::new(|| realtime(AdaptiveOptions::default()));

/// Connects to `url` (`wss://host/live`, `ws://host/live`) over the best of WebTransport, WebSocket and SSE with POST
/// that gets through, and remembers for the whole process which did.
///
/// Errors: as [`realtime`] and its dialer. Cancelled, it has not connected.
pub async fn connect_realtime(url: &str) -> Result<Connection> {
    let endpoint = Endpoint::parse(url)?;
    ALL.clone()?.dial(endpoint).await
}

/// A dialer that races WebTransport, WebSocket and SSE with POST, those of them that are compiled in: the same host, port,
/// path and query, `wss` for the encrypted ones and `ws` for the others, where there is no WebTransport.
///
/// Options in the fragment are for all: one that a transport does not know is its reason not to connect.
///
/// Errors: `Unsupported` if none is compiled in, `Config` for an option out of its range.
pub fn realtime(options: AdaptiveOptions) -> Result<Adaptive> {
    every(&crate::registry(), options)
}

/// [`realtime`] by the protocols of `registry`, for `endpoint`.
pub(crate) fn at(registry: &Registry, endpoint: &Endpoint, options: AdaptiveOptions) -> Result<Adaptive> {
    match endpoint.scheme() {
        "wss" | "ws" => every(registry, options),
        scheme => {
            let what = format!("{scheme} is one transport; all of them are dialed where it says wss or ws");
            Err(Error::new(ErrorKind::Config, format!("adaptive {endpoint}: {what}")))
        }
    }
}

/// A race of `endpoint` and `others`, named by their schemes where these differ.
pub(crate) fn either(
    registry: &Registry,
    endpoint: &Endpoint,
    others: &[String],
    options: AdaptiveOptions,
) -> Result<Adaptive> {
    let others = others.iter().map(|url| Endpoint::parse(url));
    let endpoints = std::iter::once(Ok(endpoint.clone())).chain(others).collect::<Result<Vec<_>>>()?;
    if endpoints.len() > URLS.len() {
        let what = format!("{} URLs are more than {}", endpoints.len(), URLS.len());
        return Err(Error::new(ErrorKind::Config, format!("connect to {endpoint}: {what}")));
    }
    let dialed = registry.schemes().dial;
    let candidates = endpoints.iter().enumerate().map(|(at, endpoint)| {
        let dialer = registry.dialer_of(endpoint)?;
        let scheme = dialed.iter().find(|known| **known == endpoint.scheme());
        let before = endpoints[..at].iter().any(|other| other.scheme() == endpoint.scheme());
        let name = *scheme.filter(|_| !before).unwrap_or(&URLS[at]);
        Ok(Candidate::new(name, dialer).always_at(endpoint.clone()))
    });
    Adaptive::new(options, candidates.collect::<Result<Vec<_>>>()?)
}

fn every(registry: &Registry, options: AdaptiveOptions) -> Result<Adaptive> {
    let there = registry.schemes().dial;
    let there = TRANSPORTS.into_iter().filter(|(_, encrypted, _)| there.contains(encrypted));
    let candidates = there.map(|(name, encrypted, plain)| {
        let dialer = registry.dialer_of(&Endpoint::parse(&format!("{encrypted}://host"))?)?;
        Ok(Candidate::new(name, dialer).at(move |endpoint| place(endpoint, encrypted, plain)))
    });
    let candidates = candidates.collect::<Result<Vec<_>>>()?;
    if candidates.is_empty() {
        let message = "realtime: no such transport is compiled in; the features wt, ws and sse add them";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Adaptive::new(options, candidates)
}

/// The endpoint with the transport's scheme.
fn place(endpoint: &Endpoint, encrypted: &str, plain: Option<&str>) -> Result<Endpoint> {
    let wrong = |kind, what: String| Err(Error::new(kind, format!("endpoint {endpoint}: {what}")));
    let scheme = match (endpoint.scheme(), plain) {
        ("wss", _) => encrypted,
        ("ws", Some(plain)) => plain,
        ("ws", None) => {
            return wrong(ErrorKind::Unsupported, format!("{encrypted} is always encrypted; use wss"));
        }
        (other, _) => return wrong(ErrorKind::Config, format!("the scheme is {other}; use wss or ws")),
    };
    let text = endpoint.as_str();
    if Endpoint::parse(text)? != *endpoint {
        let what = "options set by with_option are not carried over; put them into the fragment of its URL";
        return wrong(ErrorKind::Unsupported, what.to_owned());
    }
    let rest = text.find(':').map_or("", |at| &text[at..]);
    Endpoint::parse(&format!("{scheme}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(url: &Endpoint) -> Vec<String> {
        let place = |(_, encrypted, plain)| match place(url, encrypted, plain) {
            Ok(endpoint) => endpoint.as_str().to_owned(),
            Err(why) => why.kind().to_string(),
        };
        TRANSPORTS.into_iter().map(place).collect()
    }

    #[test]
    fn each_transport_dials_the_same_place_by_its_own_scheme() {
        let url = |text| Endpoint::parse(text).unwrap();
        assert_eq!(
            places(&url("WSS://host:8443/live?token=7#ping=10s")),
            ["wt", "wss", "sses"].map(|scheme| format!("{scheme}://host:8443/live?token=7#ping=10s"))
        );
        assert_eq!(places(&url("ws://host/live")), ["unsupported", "ws://host/live", "sse://host/live"]);
        assert_eq!(places(&url("tcp://host:1")), ["config"; 3]);
        assert_eq!(places(&url("wss://host/").with_option("ping", "1s")), ["unsupported"; 3]);
    }

    #[tokio::test]
    async fn the_transports_compiled_in_are_dialed_and_none_is_an_error() {
        let any = cfg!(any(feature = "wt", feature = "ws", feature = "sse"));
        let error = connect_realtime("tcp://127.0.0.1:1").await.unwrap_err();
        assert_eq!(error.kind(), if any { ErrorKind::Config } else { ErrorKind::Unsupported }, "{error}");
        for (name, feature) in [
            ("webtransport: ", cfg!(feature = "wt")),
            ("websocket: ", cfg!(feature = "ws")),
            ("sse: ", cfg!(feature = "sse")),
        ] {
            assert_eq!(error.to_string().contains(name), feature, "{error}");
        }
    }
}
