//! The sink of a route that shows credentials with its requests.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use haul_auth::{AuthLayer, AuthOptions};
use haul_core::{AnySink, Endpoint, Error, ErrorKind, Result};
use haul_http::{Client, HttpConfig, HttpSink};
use tower_layer::Layer as _;

use crate::Stack;

/// The sink at `endpoint`, whose requests show what `auth` says. Tokens are asked for by the same client as the sink's.
pub(super) fn sink(endpoint: &Endpoint, auth: &AuthOptions, connect: &Stack) -> Result<AnySink> {
    let wrong = |why: String| Err(Error::new(ErrorKind::Config, format!("auth: {why}")));
    if !haul_http::SCHEMES.contains(&endpoint.scheme()) {
        return wrong(format!(
            "{endpoint} is not http:// or https://, which have requests to show something with"
        ));
    }
    if *connect != Stack::default() {
        return wrong(format!("{endpoint} is no connection that connect could go around: leave connect out"));
    }
    let config = HttpConfig::from_endpoint(endpoint)?;
    if auth.is_authorization() && (endpoint.user().is_some() || config.client.bearer.is_some()) {
        let kind = auth.as_str();
        return wrong(format!(
            "type {kind} and the user or bearer of {endpoint} exclude one another: keep one"
        ));
    }
    let client = Client::new(config.client.clone())?;
    let shown = AuthLayer::new(auth.clone(), client.clone())?.layer(client);
    Ok(AnySink::new(HttpSink::through(config, shown)?))
}

/// A number that is another for other credentials.
pub(super) fn digest(auth: Option<&AuthOptions>) -> u64 {
    let mut hasher = DefaultHasher::new();
    auth.hash(&mut hasher);
    hasher.finish()
}

#[cfg(all(test, feature = "tcp", feature = "redis"))]
#[path = "auth_tests.rs"]
mod tests;
