//! The TLS configurations of a dialer, kept so that roots are read once and sessions are resumed.

use std::sync::{Arc, Mutex, PoisonError};

use haul_core::Result;
use haul_tls::{ClientOptions, ClientTls};

/// The last configuration that was made without files: files may change between two dials.
#[derive(Clone, Default)]
pub(crate) struct TlsCache(Arc<Mutex<Option<(ClientOptions, ClientTls)>>>);

impl TlsCache {
    pub(crate) fn get(&self, options: &ClientOptions) -> Result<ClientTls> {
        if options.ca.is_some() || options.cert.is_some() || options.key.is_some() {
            return options.build();
        }
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, tls)) = &*last
            && known == options
        {
            return Ok(tls.clone());
        }
        let tls = options.build()?;
        *last = Some((options.clone(), tls.clone()));
        Ok(tls)
    }
}

impl std::fmt::Debug for TlsCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsCache")
    }
}
