#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! A request that was answered 401 is sent once more, with a new token, whatever its method: the server says that it was not
//! applied (RFC 9110 section 15.5.2). Order: inside a retry, so that each try has a token that holds; a timeout outside
//! bounds the wait for a token too. Cancel: a token that others wait for is fetched all the same.

mod credentials;
mod oauth2;
mod options;
mod token;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use haul_core::{Input, Request, Response, Result, Service, Shared};
use http::StatusCode;
use tower_layer::Layer;

use credentials::Credentials;
use oauth2::OAuth2;
pub use oauth2::OAuth2Options;
pub use options::{ApiKeyOptions, AuthOptions, BearerOptions};
pub use token::Token;

/// Puts [`Auth`] around services that answer requests. All services of one layer share its token.
#[derive(Clone, Debug)]
pub struct AuthLayer(Arc<Credentials>);

impl AuthLayer {
    /// Shows `token` with each request, for ever.
    pub fn fixed(token: Token) -> Self {
        Self(Arc::new(Credentials::fixed(token)))
    }

    /// Shows tokens of OAuth 2, asked for through `client`: a service of its own, without this layer.
    ///
    /// Errors: `Config` for options that make no sense, or send secrets in the clear.
    pub fn oauth2(options: OAuth2Options, client: impl Service<Request>) -> Result<Self> {
        let early = options.early;
        let server = Arc::new(OAuth2::new(options, Shared::new(client))?);
        Ok(Self(Arc::new(Credentials::fetched(early, move || {
            let server = server.clone();
            Box::pin(async move { server.fetch().await })
        }))))
    }

    /// Shows tokens that `fetch` brings: when there is none, when one ends, and when a server refuses one.
    pub fn custom<F, Fut>(fetch: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Token>> + Send + 'static,
    {
        Self(Arc::new(Credentials::fetched(Duration::ZERO, move || Box::pin(fetch()))))
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth { inner, credentials: self.0.clone() }
    }
}

/// Shows a token with each request.
#[derive(Clone)]
pub struct Auth<S> {
    inner: S,
    credentials: Arc<Credentials>,
}

impl<S: Service<Request>> Service<Request> for Auth<S> {
    async fn call(&self, mut request: Request) -> Result<Response> {
        let spare = if self.credentials.is_renewable() { request.replay() } else { None };
        let token = self.credentials.token().await?;
        let shown = token.show(&mut request);
        let answer = self.inner.call(request).await?;
        match spare {
            Some(mut again) if shown && answer.status() == StatusCode::UNAUTHORIZED => {
                self.credentials.renewed(&token).await?.show(&mut again);
                self.inner.call(again).await
            }
            _ => Ok(answer),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Auth<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("inner", &self.inner).field("credentials", &self.credentials).finish()
    }
}

#[cfg(test)]
mod tests;
