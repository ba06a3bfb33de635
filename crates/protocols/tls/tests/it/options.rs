//! Each option of the builders, and each key of the options, does what it says: with it ignored a test here fails.

use haul_core::ErrorKind;
use haul_tls::{ClientOptions, ClientTls, ServerOptions, ServerTls};
use tokio::io::AsyncReadExt;

use crate::authority::{Authority, Files, meet, shown, within};

#[tokio::test]
async fn a_pin_replaces_the_checks_of_chain_and_name() {
    let server = ServerTls::self_signed(["localhost"]).unwrap();
    let client = ClientTls::builder().pin(server.fingerprint()).build().unwrap();
    assert!(meet(&client, &server, "elsewhere.example").await.0.is_ok());
}

#[tokio::test]
async fn sni_replaces_the_name_that_is_dialed() {
    let ca = Authority::new();
    let client = ClientTls::builder().ca_pem(ca.pem()).sni("inner.example").build().unwrap();
    let (near, far) = meet(&client, &ca.issue("inner.example").server(), "127.0.0.1").await;
    near.unwrap();
    assert_eq!(far.unwrap().info().server_name.as_deref(), Some("inner.example"));
}

#[tokio::test]
async fn insecure_accepts_anyone() {
    let server = ServerTls::self_signed(["localhost"]).unwrap();
    let client = ClientTls::builder().dangerously_accept_any_certificate().build().unwrap();
    assert!(meet(&client, &server, "elsewhere.example").await.0.is_ok());
}

#[tokio::test]
async fn files_are_what_pem_text_is() {
    let (ca, files) = (Authority::new(), Files::new());
    let root = files.put("ca.pem", &ca.pem());
    let (chain, key) = files.pair("server", &ca.issue("localhost"));
    let (mine, my_key) = files.pair("client", &ca.issue("me.example"));
    let server = ServerTls::builder().identity_files(&chain, &key).unwrap();
    let server = server.client_ca_file(&root).unwrap().build().unwrap();
    let client = ClientTls::builder().ca_file(&root).unwrap();
    let client = client.identity_files(&mine, &my_key).unwrap().build().unwrap();
    let (near, far) = meet(&client, &server, "localhost").await;
    assert_eq!(near.unwrap().info().peer_certificates[0].names, ["localhost"]);
    assert_eq!(far.unwrap().info().peer_certificates[0].names, ["me.example"]);
}

#[tokio::test]
async fn each_ca_that_is_given_is_trusted_and_no_other() {
    let [one, two, three] = ["one", "two", "three"].map(Authority::named);
    let client = ClientTls::builder().ca_pem(one.pem()).ca_pem(two.pem()).build().unwrap();
    for (ca, trusted) in [(&one, true), (&two, true), (&three, false)] {
        let (near, _) = meet(&client, &ca.issue("localhost").server(), "localhost").await;
        assert_eq!(near.is_ok(), trusted);
    }
}

#[tokio::test]
async fn each_pin_that_is_given_is_trusted_and_no_other() {
    let [one, two, three] = [(); 3].map(|()| ServerTls::self_signed(["localhost"]).unwrap());
    let client = ClientTls::builder().pin(one.fingerprint()).pin(two.fingerprint()).build().unwrap();
    for (server, trusted) in [(&one, true), (&two, true), (&three, false)] {
        assert_eq!(meet(&client, server, "localhost").await.0.is_ok(), trusted);
    }
}

#[tokio::test]
async fn each_client_ca_lets_in_its_clients_and_anonymous_ones_are_let_in_only_if_allowed() {
    let [one, two, three] = ["one", "two", "three"].map(Authority::named);
    let own = one.issue("localhost");
    let builder = || {
        let builder = ServerTls::builder().identity_pem(&own.chain, &own.key);
        builder.client_ca_pem(one.pem()).client_ca_pem(two.pem())
    };
    let (closed, open) = (builder().build().unwrap(), builder().allow_anonymous_clients().build().unwrap());
    for (ca, known) in [(&one, true), (&two, true), (&three, false)] {
        let mine = ca.issue("me.example");
        let client = ClientTls::builder().ca_pem(one.pem()).identity_pem(&mine.chain, &mine.key);
        let far = meet(&client.build().unwrap(), &closed, "localhost").await.1;
        assert_eq!(far.is_ok(), known);
    }
    assert!(meet(&one.client(), &closed, "localhost").await.1.is_err());
    let far = meet(&one.client(), &open, "localhost").await.1.unwrap();
    assert_eq!(far.info().peer_certificates, []);
}

#[tokio::test]
async fn a_server_prefers_the_first_of_its_alpn_protocols_and_a_client_offers_all_of_its() {
    let ca = Authority::new();
    let own = ca.issue("localhost");
    let server = ServerTls::builder().identity_pem(&own.chain, &own.key).alpn(["a", "b"]).build().unwrap();
    for (offered, agreed) in [(&["b", "a"][..], Some("a")), (&["c", "b"], Some("b")), (&[], None)] {
        let client = ClientTls::builder().ca_pem(ca.pem()).alpn(offered).build().unwrap();
        let (near, far) = meet(&client, &server, "localhost").await;
        assert_eq!(near.unwrap().info().alpn.as_deref(), agreed);
        assert_eq!(far.unwrap().info().alpn.as_deref(), agreed);
    }
}

/// The options with these keys.
fn client(keys: &[(&str, &str)]) -> haul_core::Result<ClientTls> {
    let value = |name: &str| keys.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    ClientOptions::from_lookup(value)?.build()
}

fn server(keys: &[(&str, &str)]) -> haul_core::Result<ServerTls> {
    let value = |name: &str| keys.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    ServerOptions::from_lookup(value)?.build()
}

#[tokio::test]
async fn each_key_of_a_dialing_endpoint_does_what_it_says() {
    let (ca, files) = (Authority::new(), Files::new());
    let (root, own) = (shown(&files.put("ca.pem", &ca.pem())), ca.issue("localhost"));
    let (cert, key) = files.pair("me", &ca.issue("me.example"));
    let (cert, key) = (shown(&cert), shown(&key));
    let plain = own.server();
    let pin = plain.fingerprint().to_string();
    let strict = ServerTls::builder().identity_pem(&own.chain, &own.key).client_ca_pem(ca.pem());
    let strict = strict.alpn(["b"]).build().unwrap();
    // Keys with which a handshake succeeds, and those it fails without.
    for (server, name, keys) in [
        (&plain, "localhost", &[("ca", root.as_str())][..]),
        (&plain, "elsewhere.example", &[("pin", pin.as_str())]),
        (&plain, "elsewhere.example", &[("ca", &root), ("sni", "localhost")]),
        (&plain, "elsewhere.example", &[("insecure", "true")]),
        (&strict, "localhost", &[("pin", &pin), ("cert", &cert), ("key", &key)]),
    ] {
        let (near, far) = meet(&client(keys).unwrap(), server, name).await;
        assert!(near.is_ok() && far.is_ok(), "{keys:?}: {near:?} {far:?}");
        for left_out in 0..keys.len() {
            let mut fewer = keys.to_vec();
            let (gone, _) = fewer.remove(left_out);
            let Ok(client) = client(&fewer) else { continue };
            let (near, far) = meet(&client, server, name).await;
            assert!(near.is_err() || far.is_err(), "{keys:?} succeed without {gone}");
        }
    }
    let offering = client(&[("pin", &pin), ("cert", &cert), ("key", &key), ("alpn", "a, b")]).unwrap();
    let (near, _) = meet(&offering, &strict, "localhost").await;
    assert_eq!(near.unwrap().info().alpn.as_deref(), Some("b"));
}

#[tokio::test]
async fn each_key_of_a_listening_endpoint_does_what_it_says() {
    let (ca, files) = (Authority::new(), Files::new());
    let root = shown(&files.put("ca.pem", &ca.pem()));
    let (cert, key) = files.pair("own", &ca.issue("localhost"));
    let (cert, key) = (shown(&cert), shown(&key));
    let own = [("cert", cert.as_str()), ("key", key.as_str())];
    let with = |more: &[(&'static str, &str)]| {
        let keys: Vec<(&str, &str)> = own.iter().chain(more).copied().collect();
        server(&keys).unwrap()
    };
    let (near, _) = meet(&ca.client(), &with(&[]), "localhost").await;
    assert_eq!(near.unwrap().info().peer_certificates[0].names, ["localhost"]);
    let (near, far) = meet(&ca.client(), &with(&[("client_ca", &root)]), "localhost").await;
    assert!(far.is_err(), "a client without a certificate was let in");
    within("refusal", near.unwrap().read_u8()).await.unwrap_err();
    let lenient = with(&[("client_ca", &root), ("allow_anonymous", "true")]);
    assert!(meet(&ca.client(), &lenient, "localhost").await.1.is_ok());
    let offering = ClientTls::builder().ca_pem(ca.pem()).alpn(["b"]).build().unwrap();
    let (near, _) = meet(&offering, &with(&[("alpn", "a, b")]), "localhost").await;
    assert_eq!(near.unwrap().info().alpn.as_deref(), Some("b"));
    let made = server(&[("self_signed", "one.example, 127.0.0.1")]).unwrap();
    let pinned = ClientTls::builder().pin(made.fingerprint()).build().unwrap();
    let (near, _) = meet(&pinned, &made, "anything.example").await;
    assert_eq!(near.unwrap().info().peer_certificates[0].names, ["one.example", "127.0.0.1"]);
}

#[test]
fn options_of_a_file_are_those_of_an_endpoint() {
    let read: ClientOptions = serde_json::from_value(serde_json::json!({
        "ca": "a", "system_roots": true, "pin": "b", "cert": "c", "key": "d", "sni": "e", "alpn": "f", "insecure": true
    }))
    .unwrap();
    let value = |key: &str| match key {
        "ca" => Some("a"),
        "pin" => Some("b"),
        "cert" => Some("c"),
        "key" => Some("d"),
        "sni" => Some("e"),
        "alpn" => Some("f"),
        _ => Some("true"),
    };
    assert_eq!(read, ClientOptions::from_lookup(value).unwrap());
    let read: ServerOptions = serde_json::from_value(serde_json::json!({
        "cert": "a", "key": "b", "client_ca": "c", "allow_anonymous": true, "self_signed": "d", "alpn": "e"
    }))
    .unwrap();
    let value = |key: &str| match key {
        "cert" => Some("a"),
        "key" => Some("b"),
        "client_ca" => Some("c"),
        "self_signed" => Some("d"),
        "alpn" => Some("e"),
        _ => Some("true"),
    };
    assert_eq!(read, ServerOptions::from_lookup(value).unwrap());
    assert!(serde_json::from_str::<ClientOptions>(r#"{"pins": "x"}"#).is_err());
    assert!(serde_json::from_str::<ServerOptions>(r#"{"certs": "x"}"#).is_err());
}

#[test]
fn wrong_options_are_refused() {
    let with = |key: &'static str, value: &'static str| {
        ClientOptions::from_lookup(move |name| (name == key).then_some(value)).and_then(|found| found.build())
    };
    for (key, value) in [
        ("insecure", "maybe"),
        ("pin", "beef"),
        ("cert", "only.pem"),
        ("ca", "/nowhere/ca.pem"),
        ("sni", "not a name"),
        ("alpn", "a,,b"),
    ] {
        assert_eq!(with(key, value).unwrap_err().kind(), ErrorKind::Config, "{key}");
    }
    let both = ServerOptions {
        cert: Some("a".into()),
        key: Some("b".into()),
        self_signed: Some("c".into()),
        ..Default::default()
    };
    assert_eq!(both.build().unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(ServerOptions::default().build().unwrap_err().kind(), ErrorKind::Config);
}
