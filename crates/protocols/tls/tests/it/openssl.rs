//! Against the `openssl` program.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use haul_core::{Error, ErrorKind, Status};
use haul_tls::{ClientTls, ServerTls, TlsStream};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::authority::{Authority, Pair, within};

/// The program, or `None` after saying that it is missing.
fn openssl() -> Option<Command> {
    let mut command = Command::from(haul_services::openssl()?);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Some(command)
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// `openssl s_server` on a free port, which it prints.
async fn serve(mut command: Command, pair: &Pair, folder: &Path, more: &[&str]) -> (Child, String) {
    command.args(["s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-cert"]);
    command.arg(write(folder, "own.pem", &pair.chain)).arg("-key").arg(write(folder, "own.key", &pair.key));
    let mut child = command.args(more).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = within("ACCEPT line of openssl s_server", async {
        loop {
            let line = lines.next_line().await.unwrap().expect("openssl ended without ACCEPT");
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                break address.to_owned();
            }
        }
    })
    .await;
    // The pipe stays open, or a write of the program's would end it.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, address)
}

async fn dial(client: &ClientTls, address: &str, name: &str) -> Result<TlsStream<TcpStream>, Error> {
    let stream = within("tcp", TcpStream::connect(address)).await.unwrap();
    within("handshake with openssl s_server", client.connect(stream, name)).await
}

#[tokio::test]
async fn a_client_talks_with_openssl_in_either_version() {
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let Some(command) = openssl() else { return };
        let (ca, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let (_child, address) =
            serve(command, &ca.issue("localhost"), folder.path(), &["-rev", "-alpn", "haul", flag]).await;
        let client = ClientTls::builder().ca_pem(ca.pem()).alpn(["haul"]).build().unwrap();
        let stream = dial(&client, &address, "localhost").await.unwrap();
        let info = stream.info();
        assert_eq!((info.protocol_version.as_str(), info.alpn.as_deref()), (version, Some("haul")));
        assert_eq!(info.peer_certificates[0].names, ["localhost"]);
        assert_eq!(&reversed(stream).await.unwrap(), b"olleh\n");
    }
}

#[tokio::test]
async fn a_client_says_what_is_wrong_with_openssls_certificate() {
    let ca = Authority::new();
    let fine = ca.issue("right.example");
    let (expired, early) = (ca.issue_valid("localhost", -9, -3), ca.issue_valid("localhost", 3, 9));
    let stranger = Authority::named("a stranger").issue("localhost");
    for (pair, part) in [
        (&fine, "it is for right.example"),
        (&expired, "expired 3 days ago"),
        (&early, "not valid before"),
        (&stranger, "unknown issuer (CN=a stranger)"),
    ] {
        let Some(command) = openssl() else { return };
        let folder = tempfile::tempdir().unwrap();
        let (_child, address) = serve(command, pair, folder.path(), &[]).await;
        let why = dial(&ca.client(), &address, "localhost").await.unwrap_err();
        assert_eq!((why.kind(), why.status()), (ErrorKind::Tls, Status::Permanent), "{why}");
        assert!(why.message().contains(part), "{part:?} is not in: {why}");
    }
}

#[tokio::test]
async fn a_client_without_certificate_or_alpn_understands_openssls_refusal() {
    let ca = Authority::new();
    for (flags, part) in [
        (&["-tls1_3", "-Verify", "1", "-verify_return_error"][..], "`cert=` and `key=`"),
        (&["-tls1_2", "-Verify", "1", "-verify_return_error"][..], "`cert=` and `key=`"),
        (&["-alpn", "other"][..], "none of the ALPN protocols"),
    ] {
        let Some(command) = openssl() else { return };
        let folder = tempfile::tempdir().unwrap();
        let (_child, address) = serve(command, &ca.issue("localhost"), folder.path(), flags).await;
        let client = ClientTls::builder().ca_pem(ca.pem()).alpn(["haul"]).build().unwrap();
        let why = match dial(&client, &address, "localhost").await {
            Err(why) => why,
            Ok(mut stream) => within("refusal", stream.read_u8()).await.unwrap_err().into(),
        };
        assert_eq!((why.kind(), why.status()), (ErrorKind::Tls, Status::Permanent), "{why}");
        assert!(why.message().contains(part), "{part:?} is not in: {why}");
    }
}

#[tokio::test]
async fn a_pin_trusts_openssls_certificate_whatever_its_name_and_issuer_while_its_dates_hold() {
    let stranger = Authority::named("a stranger");
    let (fine, expired) = (stranger.issue("elsewhere.example"), stranger.issue_valid("localhost", -9, -3));
    let other = stranger.issue("localhost").server().fingerprint();
    for (pair, pin, part) in [
        (&fine, fine.server().fingerprint(), None),
        (&fine, other, Some("not the pinned one")),
        (&expired, expired.server().fingerprint(), Some("expired 3 days ago")),
    ] {
        let Some(command) = openssl() else { return };
        let folder = tempfile::tempdir().unwrap();
        let (_child, address) = serve(command, pair, folder.path(), &[]).await;
        let client = ClientTls::builder().pin(pin).build().unwrap();
        match (dial(&client, &address, "localhost").await, part) {
            (Ok(_), None) => {}
            (Err(why), Some(part)) => {
                assert_eq!((why.kind(), why.status()), (ErrorKind::Tls, Status::Permanent), "{why}");
                assert!(why.message().contains(part), "{part:?} is not in: {why}");
            }
            (outcome, part) => panic!("{outcome:?}, expected {part:?}"),
        }
    }
}

#[tokio::test]
async fn openssl_lets_in_the_client_whose_certificate_it_trusts_and_no_other() {
    let (ca, stranger) = (Authority::new(), Authority::new());
    for flag in ["-tls1_2", "-tls1_3"] {
        for (issuer, known) in [(&ca, true), (&stranger, false)] {
            let Some(command) = openssl() else { return };
            let (mine, folder) = (issuer.issue("me.example"), tempfile::tempdir().unwrap());
            let roots = write(folder.path(), "ca.pem", &ca.pem()).display().to_string();
            let flags = ["-rev", flag, "-Verify", "1", "-verify_return_error", "-CAfile", &roots];
            let (_child, address) = serve(command, &ca.issue("localhost"), folder.path(), &flags).await;
            let client = ClientTls::builder().ca_pem(ca.pem()).identity_pem(&mine.chain, &mine.key);
            let talked = match dial(&client.build().unwrap(), &address, "localhost").await {
                Err(why) => Err(why),
                Ok(stream) => reversed(stream).await,
            };
            match talked {
                Ok(answer) => assert!(known && answer == *b"olleh\n", "{flag}: a stranger was let in"),
                Err(why) => {
                    assert!(!known, "{flag}: {why}");
                    assert_eq!((why.kind(), why.status()), (ErrorKind::Tls, Status::Permanent), "{why}");
                    // Both CAs have one name: rustls shows its certificate only to servers that name its issuer.
                    assert!(why.message().contains("another CA of the same name"), "{why}");
                }
            }
        }
    }
}

/// Sends a line, which `openssl s_server -rev` sends back reversed.
async fn reversed(mut stream: TlsStream<TcpStream>) -> Result<[u8; 6], Error> {
    stream.write_all(b"hello\n").await?;
    stream.flush().await?;
    let mut answer = [0; 6];
    within("the line reversed", stream.read_exact(&mut answer)).await?;
    Ok(answer)
}

/// `openssl s_client` dials `server`; what the server makes of it.
async fn dialed(
    server: &ServerTls,
    mut command: Command,
    more: &[&str],
) -> (Child, Result<TlsStream<TcpStream>, Error>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let child = command
        .args([
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-servername",
            "localhost",
            "-connect",
            &address,
        ])
        .args(more)
        .spawn()
        .unwrap();
    let (stream, _) = within("tcp from openssl s_client", listener.accept()).await.unwrap();
    (child, within("handshake with openssl s_client", server.accept(stream)).await)
}

#[tokio::test]
async fn a_server_talks_with_openssl_and_knows_its_certificate() {
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let Some(command) = openssl() else { return };
        let (ca, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let (own, theirs) = (ca.issue("localhost"), ca.issue("me.example"));
        let path = |name: &str, text: &str| write(folder.path(), name, text).display().to_string();
        let (roots, cert, key) =
            (path("ca.pem", &ca.pem()), path("me.pem", &theirs.chain), path("me.key", &theirs.key));
        let server =
            ServerTls::builder().identity_pem(&own.chain, &own.key).client_ca_pem(ca.pem()).build().unwrap();
        let flags = [flag, "-CAfile", &roots, "-cert", &cert, "-key", &key];
        let (mut child, stream) = dialed(&server, command, &flags).await;
        let mut stream = stream.unwrap();
        let info = stream.info();
        assert_eq!(
            (info.protocol_version.as_str(), info.server_name.as_deref()),
            (version, Some("localhost"))
        );
        assert_eq!(info.peer_certificates[0].names, ["me.example"]);
        child.stdin.as_mut().unwrap().write_all(b"hello\n").await.unwrap();
        let mut line = [0; 6];
        within("a line from openssl", stream.read_exact(&mut line)).await.unwrap();
        assert_eq!(&line, b"hello\n");
    }
}

#[tokio::test]
async fn a_server_says_why_openssl_or_it_refused() {
    let ca = Authority::new();
    let own = ca.issue("localhost");
    let folder = tempfile::tempdir().unwrap();
    let roots = write(folder.path(), "ca.pem", &ca.pem()).display().to_string();
    let closed =
        ServerTls::builder().identity_pem(&own.chain, &own.key).client_ca_pem(ca.pem()).build().unwrap();
    let spoken = ServerTls::builder().identity_pem(&own.chain, &own.key).alpn(["haul"]).build().unwrap();
    let expired = ca.issue_valid("localhost", -9, -3).server();
    for (server, flags, part) in [
        (&own.server(), &["-no-CAfile", "-no-CApath"][..], "the peer refused this end's certificate"),
        (&own.server(), &["-CAfile", &roots, "-verify_hostname", "other"][..], "the peer refused this end's"),
        (&expired, &["-CAfile", &roots][..], "(certificate_expired): renew it"),
        (&closed, &["-CAfile", &roots][..], "the client sent no certificate"),
        (&spoken, &["-CAfile", &roots, "-alpn", "other"][..], "no ALPN protocol"),
    ] {
        let Some(command) = openssl() else { return };
        let (_child, outcome) = dialed(server, command, flags).await;
        let why = outcome.unwrap_err();
        assert_eq!((why.kind(), why.status()), (ErrorKind::Tls, Status::Permanent), "{why}");
        assert!(why.message().contains(part), "{part:?} is not in: {why}");
    }
}
