//! Listening.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use haul_core::{Endpoint, Error, ErrorKind, Incoming, Link, Listener, Metadata, Result};
use haul_quic::raw::{Facts, Session, failure};
use haul_quic::socket;
use http::request::Parts;
use quinn::{EndpointConfig, TokioRuntime};

use crate::certificates::{Certificates, Clock};
use crate::h3::Http3;
use crate::link::Wt;
use crate::options::ListenConfig;
use crate::request::Asked;
use crate::{OWN_STREAMS, spawn};

/// Listens on `wt://host:port/path`; port 0 takes a free one, no path serves any. Without a certificate of its own it makes
/// one that browsers pin, and its local endpoint names the pin by which to dial it: for 7 days, then it shows another one
/// ([`Server::certificate_hashes`]).
///
/// Errors: `Config`, also for certificates that cannot be used, `Io` if the address is taken or not ours.
pub async fn listen(endpoint: Endpoint) -> Result<Listener> {
    let anyone = async |_| Ok(Metadata::new());
    Server::bind(&endpoint, anyone).map(|(_, listener)| listener)
}

/// What a listener shows, for those who tell browsers of it.
#[derive(Clone)]
pub struct Server {
    certificates: Arc<Certificates>,
}

impl Server {
    /// As [`listen`], and asks `admit` for each session, before it is answered: the request is a CONNECT with the URI, `origin`
    /// and `authorization` of the client. What it answers are facts of the connection's `Info`. Its error refuses the session,
    /// with the status that stands in a fact `status`, or the one of its kind: 401 for `Unauthorized`, 429 for `RateLimited`.
    /// It has as long as the handshake has.
    ///
    /// Needs a tokio runtime. Errors: as `listen`.
    pub fn bind<A, F>(endpoint: &Endpoint, admit: A) -> Result<(Self, Listener)>
    where
        A: Fn(Parts) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Metadata>> + Send,
    {
        bind(endpoint, admit, Box::new(SystemTime::now))
            .map_err(|why| why.while_doing(format!("listen on {endpoint}")))
    }

    /// The certificates that were made here and are valid, as browsers pin them (`serverCertificateHashes`): SHA-256 of
    /// the DER in lower-case hex, at first the one that the next handshake gets. It is valid for 14 days and replaced
    /// after 7. None where the operator gave a certificate.
    pub fn certificate_hashes(&self) -> Vec<String> {
        self.certificates.fingerprints().iter().map(ToString::to_string).collect()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("certificate_hashes", &self.certificate_hashes()).finish()
    }
}

fn bind<A, F>(endpoint: &Endpoint, admit: A, clock: Clock) -> Result<(Server, Listener)>
where
    A: Fn(Parts) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Metadata>> + Send,
{
    let (config, limits) = ListenConfig::new(endpoint)?;
    let transport = config.path.transport(OWN_STREAMS)?;
    let certificates = Arc::new(Certificates::new(&config.tls, endpoint, transport, clock)?);
    let socket = socket::bind(endpoint.host(), endpoint.port().unwrap_or(443))?;
    let mut local = endpoint.with_port(socket.local_addr()?.port())?;
    if config.tls.self_signed.is_none()
        && let Some(pin) = certificates.fingerprints().first()
    {
        // The options of a dial stand in the fragment.
        let sign = if local.as_str().contains('#') { '&' } else { '#' };
        local = format!("{}{sign}pin={pin}", local.as_str()).parse()?;
    }
    let server = Some((*certificates.current()?).clone());
    let quic = quinn::Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))?;
    let server = Server { certificates: certificates.clone() };
    let incoming = WtIncoming { quic, certificates, config, admit, preface: limits.handshake_deadline };
    Ok((server, Listener::new(local, incoming, limits, spawn)))
}

struct WtIncoming<A> {
    quic: quinn::Endpoint,
    certificates: Arc<Certificates>,
    config: ListenConfig,
    admit: A,
    preface: Duration,
}

impl<A, F> WtIncoming<A>
where
    A: Fn(Parts) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Metadata>> + Send,
{
    async fn agree(&self, quic: quinn::Connection) -> Result<Link> {
        let http3 = Http3::start(quic.clone(), self.preface).await?;
        let mut asked = Asked(http3.request().await?);
        // A request comes when the handshake is done.
        let mut facts = Facts::new("wt", &quic, self.quic.local_addr()?, &self.config.path, self.preface);
        let agreed = async {
            let request = asked.head(self.config.serves.as_deref())?;
            asked.describe(&request, &mut facts.facts);
            (self.admit)(request).await
        };
        match agreed.await {
            Ok(admitted) => {
                for (name, value) in admitted.iter() {
                    facts.facts.set(name.to_owned(), value.to_owned());
                }
                asked.agree().await?;
                Ok(Session::accepted(Wt::new(http3, asked.0, None), facts))
            }
            Err(why) => {
                asked.refuse(&why).await?;
                Err(why)
            }
        }
    }
}

impl<A, F> Incoming for WtIncoming<A>
where
    A: Fn(Parts) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Metadata>> + Send,
{
    type Raw = quinn::Incoming;

    async fn accept(&self) -> Result<quinn::Incoming> {
        let next = self.quic.accept().await;
        next.ok_or_else(|| Error::new(ErrorKind::Closed, "the socket is closed"))
    }

    async fn handshake(&self, raw: quinn::Incoming) -> Result<Link> {
        let peer = raw.remote_address();
        let agreed = async {
            let shown = self.certificates.current()?;
            // Our settings go out before the client's last word has come, a round trip sooner (RFC 9001 section 4.1.1): they
            // are no secret, and nothing is taken from it until then.
            let shaken = async {
                let mut connecting = raw.accept_with(shown)?;
                // A stream that is opened before all of a hello of several packets has come would wait for ever.
                connecting.handshake_data().await?;
                match connecting.into_0rtt() {
                    Ok((quic, _)) => Ok(quic),
                    Err(connecting) => connecting.await,
                }
            };
            self.agree(shaken.await.map_err(|why| failure::lost(&why))?).await
        };
        agreed.await.map_err(|why| why.while_doing(format!("accept a session of {peer}")))
    }

    async fn refuse(&self, raw: quinn::Incoming) {
        raw.refuse();
    }
}

impl<A> Drop for WtIncoming<A> {
    fn drop(&mut self) {
        socket::refuse_others(self.quic.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use haul_core::{Dial, Packet};

    use super::*;
    use crate::Dialer;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[tokio::test]
    async fn a_certificate_made_here_is_renewed_well_before_its_end() {
        let (began, day) = (SystemTime::now() - 8 * DAY, Arc::new(AtomicU32::new(0)));
        let clock = {
            let day = day.clone();
            move || began + day.load(Ordering::Relaxed) * DAY
        };
        let anyone = async |_| Ok(Metadata::new());
        let endpoint = "wt://127.0.0.1:0".parse().unwrap();
        let (server, listener) = bind(&endpoint, anyone, Box::new(clock)).unwrap();
        let port = listener.local_endpoint().port().unwrap();
        let dial = async |pin: &str| {
            Dialer::default().dial(format!("wt://127.0.0.1:{port}/#pin={pin}").parse().unwrap()).await
        };

        let first = server.certificate_hashes();
        assert_eq!(first.len(), 1);
        let early = dial(&first[0]).await.unwrap();
        day.store(8, Ordering::Relaxed);
        let both = server.certificate_hashes();
        assert_eq!(both.len(), 2);
        assert_eq!(both[1], first[0]);
        assert_eq!(server.certificate_hashes(), both);
        dial(&both[0]).await.unwrap();
        assert_eq!(dial(&both[1]).await.unwrap_err().kind(), ErrorKind::Tls);

        // What stands goes on.
        early.send(Packet::text("still here")).await.unwrap();
        let mut served = listener.accept().await.unwrap().unwrap();
        assert_eq!(served.recv().await.unwrap().unwrap().as_text(), Some("still here"));

        day.store(14, Ordering::Relaxed);
        assert_eq!(server.certificate_hashes(), both[..1]);
        // A clock that was set back makes it one that is not valid yet.
        day.store(0, Ordering::Relaxed);
        let again = server.certificate_hashes();
        assert!(again.len() == 1 && !both.contains(&again[0]), "{again:?}");
    }
}
