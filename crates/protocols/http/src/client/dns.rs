//! Names to addresses, kept for a while.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper_util::client::legacy::connect::dns::Name;

/// Names that are kept; then those that have expired are thrown away, or else all.
const MAX_NAMES: usize = 1024;

/// The system's resolver, with a memory.
#[derive(Clone)]
pub(super) struct Resolver {
    keep: Duration,
    known: Arc<Mutex<HashMap<String, Known>>>,
}

struct Known {
    addresses: Vec<SocketAddr>,
    until: Instant,
}

impl Resolver {
    pub(super) fn new(keep: Duration) -> Self {
        Self { keep, known: Arc::default() }
    }

    /// What is known of `host` did not help.
    pub(super) fn forget(&self, host: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
    }

    fn known(&self, name: &str) -> Option<Vec<SocketAddr>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).filter(|known| known.until > Instant::now()).map(|known| known.addresses.clone())
    }

    pub(super) fn keep(&self, name: String, addresses: &[SocketAddr]) {
        if self.keep.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_NAMES {
            known.retain(|_, known| known.until > now);
        }
        if known.len() >= MAX_NAMES {
            known.clear();
        }
        known.insert(name, Known { addresses: addresses.to_vec(), until: now + self.keep });
    }
}

type Found = Pin<Box<dyn Future<Output = std::io::Result<std::vec::IntoIter<SocketAddr>>> + Send>>;

impl tower_service::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Found;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Found {
        let this = self.clone();
        Box::pin(async move {
            if let Some(known) = this.known(name.as_str()) {
                return Ok(known.into_iter());
            }
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            this.keep(name.as_str().to_owned(), &found);
            Ok(found.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_until_it_expires_or_is_forgotten_and_never_more_than_the_bound() {
        let addresses: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap()];
        let resolver = Resolver::new(Duration::from_secs(3600));
        for number in 0..3 * MAX_NAMES {
            resolver.keep(format!("host{number}"), &addresses);
            assert!(resolver.known.lock().unwrap().len() <= MAX_NAMES);
        }
        let last = format!("host{}", 3 * MAX_NAMES - 1);
        assert!(resolver.known(&last).is_some());
        resolver.forget(&last);
        assert!(resolver.known(&last).is_none());
        let forgetful = Resolver::new(Duration::ZERO);
        forgetful.keep("host".to_owned(), &addresses);
        assert!(forgetful.known("host").is_none());
    }
}
