use std::time::Duration;

use haul_core::{Error, ErrorKind, Request, Result};
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

/// What shows a server who asks: a header, and until when it holds. Shown nowhere.
#[derive(Clone, Debug)]
pub struct Token {
    header: HeaderName,
    value: HeaderValue,
    expires: Option<Instant>,
}

impl Token {
    /// `Authorization: Bearer <token>` (RFC 6750). Errors: `Config` for text that is no header.
    pub fn bearer(token: &str) -> Result<Self> {
        Self::in_header(AUTHORIZATION, &format!("Bearer {token}"))
    }

    /// A key in a header of its own: `x-api-key`. Errors: `Config` for a name or text that is no header.
    pub fn api_key(header: &str, key: &str) -> Result<Self> {
        let wrong = |_| Error::new(ErrorKind::Config, format!("auth: {header:?} is no name of a header"));
        Self::in_header(HeaderName::try_from(header).map_err(wrong)?, key)
    }

    fn in_header(header: HeaderName, value: &str) -> Result<Self> {
        let wrong = |_| {
            // The text itself is a secret.
            Error::new(ErrorKind::Config, format!("auth: the credential is no value of the header {header}"))
        };
        let mut value = HeaderValue::try_from(value).map_err(wrong)?;
        value.set_sensitive(true);
        Ok(Self { header, value, expires: None })
    }

    /// The token, which holds for so long from now on.
    #[must_use]
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires = Instant::now().checked_add(time);
        self
    }

    /// Whether it holds for longer than `ahead`.
    pub(crate) fn holds(&self, ahead: Duration) -> bool {
        self.expires.is_none_or(|expires| expires.saturating_duration_since(Instant::now()) > ahead)
    }

    /// Shows it with the request; `false` if that carries the header already, which stays.
    pub(crate) fn show(&self, request: &mut Request) -> bool {
        let own = request.headers().contains_key(&self.header);
        if !own {
            request.headers_mut().insert(self.header.clone(), self.value.clone());
        }
        !own
    }
}
