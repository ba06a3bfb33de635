//! What is shown, as a configuration says it.

use std::fmt;

use haul_core::{Request, Result, Service};
use serde::{Deserialize, Deserializer, de::Error};

use crate::{AuthLayer, OAuth2Options, Token};

/// What is shown with each request. In TOML one of
///
/// - `{ type = "bearer", token = "..." }`,
/// - `{ type = "api-key", key = "...", header = "x-api-key" }`, whose header may be left out,
/// - `{ type = "oauth2", token_url = "https://login.example/token", client_id = "haul", client_secret = "..." }` with the other
///   keys of [`OAuth2Options`].
///
/// Its `Debug` shows no secrets.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AuthOptions {
    /// `Authorization: Bearer`, with a token that is never renewed.
    Bearer(BearerOptions),
    /// A key in a header.
    ApiKey(ApiKeyOptions),
    /// Tokens of OAuth 2.
    #[serde(rename = "oauth2")]
    OAuth2(OAuth2Options),
}

/// A token that is never renewed.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BearerOptions {
    /// The token.
    #[serde(deserialize_with = "token")]
    pub token: String,
}

/// A key in a header.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyOptions {
    /// The header. Default `x-api-key`.
    #[serde(default = "header", deserialize_with = "name")]
    pub header: String,
    /// The key.
    #[serde(deserialize_with = "key")]
    pub key: String,
}

fn header() -> String {
    "x-api-key".to_owned()
}

fn token<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let token = String::deserialize(from)?;
    Token::bearer(&token).map_err(D::Error::custom)?;
    filled(token, "token")
}

fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    Token::api_key(&name, "").map_err(D::Error::custom)?;
    Ok(name)
}

fn key<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let key = String::deserialize(from)?;
    Token::api_key("key", &key).map_err(D::Error::custom)?;
    filled(key, "key")
}

/// A variable that is set to nothing is most often a mistake.
fn filled<E: Error>(secret: String, name: &str) -> Result<String, E> {
    match secret.is_empty() {
        true => Err(E::custom(format_args!("auth: {name} is empty"))),
        false => Ok(secret),
    }
}

impl AuthOptions {
    /// What it is called: `bearer`, `api-key` or `oauth2`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Bearer(_) => "bearer",
            Self::ApiKey(_) => "api-key",
            Self::OAuth2(_) => "oauth2",
        }
    }

    /// Whether it is shown in the header `Authorization`.
    pub fn is_authorization(&self) -> bool {
        match self {
            Self::Bearer(_) | Self::OAuth2(_) => true,
            Self::ApiKey(ApiKeyOptions { header, .. }) => header.eq_ignore_ascii_case("authorization"),
        }
    }
}

impl AuthLayer {
    /// Shows what `options` say; tokens of OAuth 2 are asked for through `client`: a service of its own, without this layer.
    ///
    /// Errors: `Config` for options that make no sense, or send secrets in the clear.
    pub fn new(options: AuthOptions, client: impl Service<Request>) -> Result<Self> {
        match options {
            AuthOptions::Bearer(BearerOptions { token }) => Ok(Self::fixed(Token::bearer(&token)?)),
            AuthOptions::ApiKey(ApiKeyOptions { header, key }) => {
                Ok(Self::fixed(Token::api_key(&header, &key)?))
            }
            AuthOptions::OAuth2(options) => Self::oauth2(options, client),
        }
    }
}

impl fmt::Debug for AuthOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer(bearer) => bearer.fmt(f),
            Self::ApiKey(key) => key.fmt(f),
            Self::OAuth2(options) => options.fmt(f),
        }
    }
}

impl fmt::Debug for BearerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerOptions").finish_non_exhaustive()
    }
}

impl fmt::Debug for ApiKeyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyOptions").field("header", &self.header).finish_non_exhaustive()
    }
}
