//! A CA for the tests, and both ends of a TCP connection.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use haul_core::Result;
use haul_tls::{ClientTls, ServerTls, TlsStream};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A chain and its key, in PEM.
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("haul test CA")
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, name: &str) -> Pair {
        self.issue_valid(name, -1, 1)
    }

    /// Valid from and to so many days from now.
    pub(crate) fn issue_valid(&self, name: &str, from: i32, to: i32) -> Pair {
        let day = |days: i32| {
            let now = SystemTime::now();
            let span = Duration::from_secs(86_400) * days.unsigned_abs();
            if days < 0 { now - span } else { now + span }.into()
        };
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = day(from);
        params.not_after = day(to);
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.0).unwrap().pem();
        Pair { chain, key: key.serialize_pem() }
    }

    pub(crate) fn client(&self) -> ClientTls {
        ClientTls::builder().ca_pem(self.pem()).build().unwrap()
    }
}

impl Pair {
    pub(crate) fn server(&self) -> ServerTls {
        ServerTls::builder().identity_pem(&self.chain, &self.key).build().unwrap()
    }
}

pub(crate) type Stream = TlsStream<TcpStream>;

/// Both ends of a TCP connection.
pub(crate) async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialing = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = within("tcp", async { tokio::join!(dialing, listener.accept()) }).await;
    (near.unwrap(), far.unwrap().0)
}

/// A handshake over TCP: what each end makes of it.
pub(crate) async fn meet(
    client: &ClientTls,
    server: &ServerTls,
    name: &str,
) -> (Result<Stream>, Result<Stream>) {
    let (near, far) = sockets().await;
    within("handshake", async { tokio::join!(client.connect(near, name), server.accept(far)) }).await
}

pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), work).await {
        Ok(done) => done,
        Err(_) => panic!("waited 30 s for: {what}"),
    }
}

/// A folder with files in PEM.
pub(crate) struct Files(pub(crate) tempfile::TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn pair(&self, name: &str, pair: &Pair) -> (PathBuf, PathBuf) {
        (self.put(&format!("{name}.pem"), &pair.chain), self.put(&format!("{name}.key"), &pair.key))
    }
}

pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
