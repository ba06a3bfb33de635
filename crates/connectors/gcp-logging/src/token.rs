//! Who we are at Google: a token that is given, or one that is fetched when it is needed and shared by all.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use haul_core::{Error, ErrorKind, Result, Sent};
use http::{Method, Request, header};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::client::Client;
use crate::config::GcpLoggingConfig;

const SCOPE: &str = "https://www.googleapis.com/auth/logging.write";

/// How long before its end a token is renewed.
const EARLY: Duration = Duration::from_secs(60);

/// Seconds after which one is renewed, whatever was said of its end.
const LONGEST: u64 = 24 * 3600;

/// Where tokens come from.
enum Origin {
    Given(String),
    Account(Account),
    /// The machine's account, told by this host.
    Machine(String),
}

/// A service account's key, as Google gives it.
#[derive(Deserialize)]
struct Account {
    client_email: String,
    private_key: String,
    token_uri: String,
}

#[derive(Deserialize)]
struct Fetched {
    access_token: String,
    expires_in: u64,
}

/// Tokens, one at a time.
pub(crate) struct Tokens {
    origin: Origin,
    /// A token and its end, or why there is none. Held while one is fetched, so that all who need it wait for the same.
    last: Mutex<Option<Result<(String, Instant)>>>,
    /// How often one was fetched, or could not be.
    tries: AtomicU64,
}

impl Tokens {
    /// Errors: `Config` for a key that cannot be read.
    pub(crate) fn new(config: &GcpLoggingConfig) -> Result<Self> {
        let named = std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS").map(std::path::PathBuf::from);
        let origin = match (&config.token, config.credentials.clone().or(named)) {
            (Some(token), _) => Origin::Given(token.clone()),
            (None, Some(path)) => Origin::Account(Account::read(&path)?),
            (None, None) => Origin::Machine(config.metadata_host.clone()),
        };
        Ok(Self { origin, last: Mutex::default(), tries: AtomicU64::default() })
    }

    /// A token that holds. Errors: those of fetching it; nothing was sent.
    pub(crate) async fn token(&self, client: &Client) -> Result<String> {
        if let Origin::Given(token) = &self.origin {
            return Ok(token.clone());
        }
        let tries = self.tries.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        match &*last {
            Some(Ok((token, ends))) if *ends > Instant::now() + EARLY => return Ok(token.clone()),
            // It failed while we waited: who is silent is not waited for by each of us in turn.
            Some(Err(why)) if self.tries.load(Ordering::Acquire) != tries => return Err(why.clone()),
            _ => {}
        }
        let fetched = self.fetch(client).await.map_err(|why| why.with_sent(Sent::No));
        self.tries.fetch_add(1, Ordering::Release);
        let fetched = last.insert(fetched.map(|Fetched { access_token, expires_in }| {
            (access_token, Instant::now() + Duration::from_secs(expires_in.min(LONGEST)))
        }));
        fetched.as_ref().map(|(token, _)| token.clone()).map_err(Error::clone)
    }

    /// Forgets `token`, which was refused. True if another can be had.
    pub(crate) async fn forget(&self, token: &str) -> bool {
        let is_it = |last: &mut Result<(String, _)>| last.as_ref().is_ok_and(|(known, _)| known == token);
        self.last.lock().await.take_if(is_it);
        !matches!(self.origin, Origin::Given(_))
    }

    async fn fetch(&self, client: &Client) -> Result<Fetched> {
        let request = match &self.origin {
            Origin::Account(account) => Request::builder()
                .method(Method::POST)
                .uri(&account.token_uri)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(format!(
                    "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={}",
                    account.assertion()?
                )),
            Origin::Machine(host) => Request::builder()
                .uri(format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token"))
                .header("metadata-flavor", "Google")
                .body(String::new()),
            Origin::Given(_) => unreachable!("it is not fetched"),
        };
        let request =
            request.map_err(|why| Error::new(ErrorKind::Config, format!("fetch a token: {why}")))?;
        let (status, body) = client.send(request).await.map_err(|why| why.while_doing("fetch a token"))?;
        if !status.is_success() {
            let kind = if status.is_server_error() { ErrorKind::Overloaded } else { ErrorKind::Unauthorized };
            let said: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            return Err(Error::new(kind, format!("fetch a token: the server answered {status}: {said}")));
        }
        serde_json::from_slice(&body)
            .map_err(|why| Error::new(ErrorKind::Protocol, format!("fetch a token: a strange answer: {why}")))
    }
}

impl Account {
    fn read(path: &Path) -> Result<Self> {
        let wrong = |why: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Config, format!("credentials {}: {why}", path.display()))
        };
        let text = std::fs::read(path).map_err(|why| wrong(&why))?;
        let account: Self = serde_json::from_slice(&text).map_err(|why| wrong(&why))?;
        account.key().map_err(|why| wrong(&why))?;
        Ok(account)
    }

    fn key(&self) -> Result<RsaKeyPair> {
        let wrong =
            |why: &dyn std::fmt::Display| Error::new(ErrorKind::Config, format!("private_key: {why}"));
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(self.private_key.as_bytes()).map_err(|why| wrong(&why))?;
        RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|why| wrong(&why))
    }

    /// A signed statement of who we are (RFC 7523), good for an hour.
    fn assertion(&self) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = serde_json::json!({
            "iss": self.client_email, "scope": SCOPE, "aud": self.token_uri, "iat": now, "exp": now + 3600,
        });
        let head = BASE64.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
        let said = format!("{head}.{}", BASE64.encode(claims.to_string()));
        let key = self.key()?;
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), said.as_bytes(), &mut signature)
            .map_err(|_| Error::new(ErrorKind::Config, "private_key: it signs nothing"))?;
        Ok(format!("{said}.{}", BASE64.encode(signature)))
    }
}
