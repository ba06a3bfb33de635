//! What a server shows: the operator's certificate, or ones that it makes and renews.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use haul_core::{Endpoint, Result};
use haul_quic::raw::tls;
use haul_tls::{Fingerprint, SelfSigned, ServerOptions, ServerTls};
use quinn::{ServerConfig, TransportConfig};

use crate::ALPN;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long a certificate made here is valid: browsers pin none that is valid for more than 14 days.
const LIFETIME: Duration = DAY.saturating_mul(14);

/// How long before its end it is replaced.
const RENEWED: Duration = DAY.saturating_mul(7);

/// How long ago it began to be valid: clocks differ.
const BEGAN: Duration = Duration::from_secs(3600);

/// Tells the time.
pub(crate) type Clock = Box<dyn Fn() -> SystemTime + Send + Sync>;

/// The certificates of a server.
pub(crate) struct Certificates {
    options: ServerOptions,
    /// Whom a certificate made here names; nobody where the operator gave one.
    names: Vec<String>,
    transport: Arc<TransportConfig>,
    clock: Clock,
    shown: Mutex<Shown>,
}

struct Shown {
    /// What new handshakes get.
    server: Arc<ServerConfig>,
    /// What was made and is still valid, the current one first.
    made: Vec<Made>,
}

struct Made {
    fingerprint: Fingerprint,
    valid: Range<SystemTime>,
}

impl Made {
    /// Also when the clock was set back to before it began.
    fn is_due(&self, now: SystemTime) -> bool {
        now < self.valid.start || now + RENEWED >= self.valid.end
    }
}

impl Certificates {
    /// What `options` say; without a certificate one is made for their names, or for `endpoint`. Errors: `Config`.
    pub(crate) fn new(
        options: &ServerOptions,
        endpoint: &Endpoint,
        transport: Arc<TransportConfig>,
        clock: Clock,
    ) -> Result<Self> {
        let given = options.cert.is_some() || options.key.is_some();
        let usual = format!("localhost,{}", endpoint.host().unwrap_or("127.0.0.1"));
        let names = options.self_signed.as_deref().unwrap_or(&usual);
        let names: Vec<_> = names.split(',').map(|name| name.trim().to_owned()).collect();
        let (shown, names) = match given {
            true => (Shown { server: server(&options.build()?, &transport)?, made: Vec::new() }, Vec::new()),
            false => {
                let (server, made) = make(&names, options, &transport, clock())?;
                (Shown { server, made: vec![made] }, names)
            }
        };
        Ok(Self { options: options.clone(), names, transport, clock, shown: shown.into() })
    }

    /// What the next handshake gets. Errors: `Config` if the clients' CA can no longer be read when it is renewed.
    pub(crate) fn current(&self) -> Result<Arc<ServerConfig>> {
        Ok(self.renewed()?.server.clone())
    }

    /// What was made here and is still valid, the current one first.
    pub(crate) fn fingerprints(&self) -> Vec<Fingerprint> {
        // Where no other can be made, the next handshake says so.
        let shown = self.renewed().unwrap_or_else(|_| self.shown());
        shown.made.iter().map(|made| made.fingerprint).collect()
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renewed(&self) -> Result<MutexGuard<'_, Shown>> {
        let (mut shown, now) = (self.shown(), (self.clock)());
        if shown.made.first().is_some_and(|current| current.is_due(now)) {
            let (server, made) = make(&self.names, &self.options, &self.transport, now)?;
            shown.server = server;
            shown.made.insert(0, made);
        }
        shown.made.retain(|made| made.valid.contains(&now));
        Ok(shown)
    }
}

fn make(
    names: &[String],
    options: &ServerOptions,
    transport: &Arc<TransportConfig>,
    now: SystemTime,
) -> Result<(Arc<ServerConfig>, Made)> {
    let valid = now - BEGAN..now - BEGAN + LIFETIME;
    let made = SelfSigned::valid_in(names, valid.clone())?;
    let mut tls = ServerTls::builder().identity_pem(made.certificate_pem, made.key_pem);
    if let Some(ca) = &options.client_ca {
        tls = tls.client_ca_file(ca)?;
    }
    if options.allow_anonymous {
        tls = tls.allow_anonymous_clients();
    }
    let made = Made { fingerprint: made.fingerprint, valid };
    Ok((server(&tls.build()?, transport)?, made))
}

fn server(own: &ServerTls, transport: &Arc<TransportConfig>) -> Result<Arc<ServerConfig>> {
    let mut server = ServerConfig::with_crypto(tls::server(own, ALPN)?);
    server.transport_config(transport.clone());
    Ok(Arc::new(server))
}
