//! The system's roots.

use std::path::Path;
use std::process::Command;

use haul_tls::{ClientOptions, ClientTls, ServerTls};

use crate::authority::{Authority, Files, meet, shown};

/// Tells a further process of this test where the certificates are.
const FILES: &str = "HAUL_TLS_FILES";

/// The system's roots are what `SSL_CERT_FILE` names, which only another process can be given.
#[tokio::test]
async fn the_systems_roots_are_trusted_where_no_ca_is_given_and_besides_one_if_asked_for() {
    if let Ok(folder) = std::env::var(FILES) {
        return trusting_the_systems_roots(Path::new(&folder)).await;
    }
    let files = Files::new();
    for (name, ca) in [("system", Authority::named("system")), ("own", Authority::named("own"))] {
        files.put(&format!("{name}-ca.pem"), &ca.pem());
        files.pair(name, &ca.issue("localhost"));
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    let this = "roots::the_systems_roots_are_trusted_where_no_ca_is_given_and_besides_one_if_asked_for";
    again.args(["--exact", this, "--nocapture"]).env(FILES, files.0.path());
    again.env("SSL_CERT_FILE", files.0.path().join("system-ca.pem")).env_remove("SSL_CERT_DIR");
    let ended = again.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

async fn trusting_the_systems_roots(folder: &Path) {
    let server = |name: &str| {
        let file = |end: &str| folder.join(format!("{name}.{end}"));
        ServerTls::builder().identity_files(file("pem"), file("key")).unwrap().build().unwrap()
    };
    let own = || ClientTls::builder().ca_file(folder.join("own-ca.pem")).unwrap();
    let keys = |keys: &[&str]| {
        let value = |key: &str| {
            keys.contains(&key).then(|| match key {
                "ca" => shown(&folder.join("own-ca.pem")),
                _ => "true".to_owned(),
            })
        };
        ClientOptions::from_lookup(value).unwrap().build()
    };
    for (what, client, trusted) in [
        ("nothing given", ClientTls::builder().build(), (true, false)),
        ("own CA", own().build(), (false, true)),
        ("own CA and the system's", own().with_system_roots().build(), (true, true)),
        ("no key", keys(&[]), (true, false)),
        ("key ca", keys(&["ca"]), (false, true)),
        ("keys ca and system_roots", keys(&["ca", "system_roots"]), (true, true)),
    ] {
        let client = client.unwrap();
        let system = meet(&client, &server("system"), "localhost").await.0.is_ok();
        let own = meet(&client, &server("own"), "localhost").await.0.is_ok();
        assert_eq!((system, own), trusted, "{what}");
    }
}
