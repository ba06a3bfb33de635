//! How many requests are under way at once, in all and to one host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use haul_core::{Error, ErrorKind, Result};
use http::Uri;
use http::uri::{Authority, Scheme};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hosts that are remembered while nothing goes to them.
const IDLE_HOSTS: usize = 256;

type Hosts = HashMap<(Scheme, Authority), Arc<Semaphore>>;

#[derive(Debug)]
pub(super) struct Gate {
    all: Arc<Semaphore>,
    per_host: usize,
    hosts: Mutex<Hosts>,
}

/// The right to have a request under way.
#[derive(Debug)]
pub(super) struct Permit {
    _all: OwnedSemaphorePermit,
    _host: OwnedSemaphorePermit,
}

impl Gate {
    pub(super) fn new(all: usize, per_host: usize) -> Self {
        let most = Semaphore::MAX_PERMITS;
        let all = Arc::new(Semaphore::new(all.min(most)));
        Self { all, per_host: per_host.min(most), hosts: Mutex::default() }
    }

    /// Waits until one more request to the host of `uri` may go. Cancel-safe.
    pub(super) async fn enter(&self, uri: &Uri) -> Result<Permit> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(Error::new(ErrorKind::Config, "the URI names no host, and there is no base_url"));
        };
        let host = self.host((scheme.clone(), authority.clone()));
        let closed = |_| Error::new(ErrorKind::Internal, "a semaphore that is never closed was closed");
        // The host first: who waits for it takes no place from the others.
        let host = host.acquire_owned().await.map_err(closed)?;
        let all = self.all.clone().acquire_owned().await.map_err(closed)?;
        Ok(Permit { _all: all, _host: host })
    }

    fn host(&self, key: (Scheme, Authority)) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.get(&key) {
            return known.clone();
        }
        if hosts.len() >= IDLE_HOSTS {
            // Whoever waits or has a permit holds another reference.
            hosts.retain(|_, host| Arc::strong_count(host) > 1);
        }
        hosts.entry(key).or_insert_with(|| Arc::new(Semaphore::new(self.per_host))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hosts_that_nothing_goes_to_are_forgotten_and_the_others_keep_their_count() {
        let gate = Gate::new(1 << 20, 1);
        let busy: Uri = "http://busy.example/".parse().unwrap();
        let permit = gate.enter(&busy).await.unwrap();
        for number in 0..4 * IDLE_HOSTS {
            gate.enter(&format!("http://h{number}.example/").parse().unwrap()).await.unwrap();
            assert!(gate.hosts.lock().unwrap().len() <= IDLE_HOSTS + 1);
        }
        let key = (busy.scheme().unwrap().clone(), busy.authority().unwrap().clone());
        assert_eq!(gate.host(key.clone()).available_permits(), 0);
        drop(permit);
        assert_eq!(gate.host(key).available_permits(), 1);
    }
}
