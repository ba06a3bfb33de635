//! A client's request for a session, and the answer.

use haul_core::wire::PROTOCOL;
use haul_core::{Error, ErrorKind, Metadata, Result};
use http::request::Parts;
use http::{Request, StatusCode, Uri, Version};
use wtransport_proto::headers::Headers;

use crate::h3::{self, Connect};
use crate::{OFFERED, SPOKEN};

/// What a client asked for, on its CONNECT stream.
pub(crate) struct Asked(pub(crate) Connect);

impl Asked {
    /// The request as HTTP knows it. Errors: `Unsupported` for what is no WebTransport request, `NotFound` for another path
    /// than `serves`, `Protocol` for what HTTP cannot say.
    pub(crate) fn head(&self, serves: Option<&str>) -> Result<Parts> {
        let headers = &self.0.headers;
        let field = |name| headers.get(name).unwrap_or_default();
        if field(":method") != "CONNECT" || field(":protocol") != "webtransport" {
            let why = "it asks for something else than WebTransport";
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        let uri = Uri::builder().scheme(field(":scheme")).authority(field(":authority"));
        let uri = uri.path_and_query(field(":path")).build();
        let wrong = |why: http::Error| Error::new(ErrorKind::Protocol, format!("the request: {why}"));
        let mut request =
            Request::builder().method("CONNECT").version(Version::HTTP_3).uri(uri.map_err(wrong)?);
        for (name, value) in headers.as_ref().iter().filter(|(name, _)| !name.starts_with(':')) {
            request = request.header(name, value);
        }
        let (request, ()) = request.body(()).map_err(wrong)?.into_parts();
        let path = request.uri.path();
        match serves {
            Some(serves) if serves != path => {
                Err(Error::new(ErrorKind::NotFound, format!("it asks for the path {path}")))
            }
            _ => Ok(request),
        }
    }

    /// What the request says, as facts.
    pub(crate) fn describe(&self, request: &Parts, facts: &mut Metadata) {
        facts.set("path", request.uri.path().to_owned());
        if let Some(query) = request.uri.query().filter(|query| !query.is_empty()) {
            facts.set("query", query.to_owned());
        }
        if let Some(origin) = self.0.headers.get("origin") {
            facts.set("origin", origin.to_owned());
        }
        if self.offers_haul() {
            facts.set("subprotocol", PROTOCOL);
        }
    }

    /// Whether haul is among the protocols that the client offers: a list of strings (RFC 9651).
    fn offers_haul(&self) -> bool {
        let offered = self.0.headers.get(OFFERED).unwrap_or_default();
        offered.split(',').any(|name| name.trim().trim_matches('"') == PROTOCOL)
    }

    /// Says that the session stands.
    pub(crate) async fn agree(&mut self) -> Result<()> {
        let spoken = format!("\"{PROTOCOL}\"");
        let spoken = self.offers_haul().then_some((SPOKEN, spoken.as_str()));
        self.answer([(":status", "200")].into_iter().chain(spoken)).await
    }

    /// Says that there will be none, and waits until that was heard.
    pub(crate) async fn refuse(&mut self, why: &Error) -> Result<()> {
        self.answer([(":status", status(why).as_str())]).await?;
        // A peer that is gone has heard enough.
        let _ = self.0.send.finish();
        let _ = self.0.send.stopped().await;
        Ok(())
    }

    async fn answer<'a>(&mut self, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<()> {
        let headers: Headers = fields.into_iter().collect();
        self.0.send.write_all(&h3::bytes_of(&headers.generate_frame())).await.map_err(h3::broken)
    }
}

/// The status that a fact `status` says, or that of the kind.
fn status(why: &Error) -> StatusCode {
    let named = why.context().find(|(name, _)| *name == "status").map(|(_, value)| value);
    let named = named.and_then(|text| StatusCode::from_bytes(text.as_bytes()).ok());
    if let Some(named) = named.filter(|named| named.is_client_error() || named.is_server_error()) {
        return named;
    }
    match why.kind() {
        ErrorKind::Codec | ErrorKind::Protocol | ErrorKind::Rejected => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Overloaded | ErrorKind::CircuitOpen => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
