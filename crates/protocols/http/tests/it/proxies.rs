//! Proxies: tinyproxy, and one for SOCKS5.

use std::process::Stdio;
use std::time::Duration;

use haul_core::{ErrorKind, Sent};
use haul_http::ClientConfig;
use haul_tls::ClientOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::support::{client, get, listen, port, says, soon, text, url};

/// tinyproxy that wants `me:secret`.
async fn tinyproxy(folder: &std::path::Path) -> Option<(Child, u16)> {
    let tinyproxy = haul_services::tinyproxy()?;
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let config = format!(
        "Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nBasicAuth me secret\nMaxClients 20\n\
         LogFile \"{}/log\"\n",
        folder.display()
    );
    std::fs::write(folder.join("conf"), config).unwrap();
    let mut command = Command::from(tinyproxy);
    command.args(["-d", "-c", &folder.join("conf").display().to_string()]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    soon("the proxy to listen", async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    Some((child, port))
}

/// A SOCKS5 proxy (RFC 1928) that wants `me:secret` (RFC 1929) and connects to loopback.
async fn socks() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(socks_serves(client));
        }
    });
    port
}

/// `None` if the client goes first, or is refused.
async fn socks_serves(mut client: TcpStream) -> Option<()> {
    let mut methods = [0; 2];
    client.read_exact(&mut methods).await.ok()?;
    let mut offered = vec![0; usize::from(methods[1])];
    client.read_exact(&mut offered).await.ok()?;
    if !offered.contains(&2) {
        client.write_all(&[5, 0xff]).await.ok()?;
        return None;
    }
    client.write_all(&[5, 2]).await.ok()?;
    let mut credentials = [0; 11];
    client.read_exact(&mut credentials).await.ok()?;
    assert_eq!(&credentials, b"\x01\x02me\x06secret");
    client.write_all(&[1, 0]).await.ok()?;
    let mut request = [0; 5];
    client.read_exact(&mut request).await.ok()?;
    let address = match request[3] {
        1 => 3,
        3 => usize::from(request[4]),
        kind => panic!("address of kind {kind}"),
    };
    let mut rest = vec![0; address + 2];
    client.read_exact(&mut rest).await.ok()?;
    let target = u16::from_be_bytes([rest[address], rest[address + 1]]);
    let mut server = TcpStream::connect(("127.0.0.1", target)).await.ok()?;
    client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok().map(drop)
}

fn through(proxy: &str) -> haul_http::Client {
    let tls = ClientOptions { insecure: true, ..ClientOptions::default() };
    client(ClientConfig { proxy: Some(proxy.to_owned()), tls, ..ClientConfig::default() })
}

/// Requests to a plain and a secure server, each twice, through `proxy`.
async fn leads(proxy: &str) {
    let plain = listen("", says("plain")).await;
    let at = "https://127.0.0.1:0?self_signed=localhost";
    let secure = haul_http::serve(at.parse().unwrap(), says("secure")).await.unwrap();
    let client = through(proxy);
    for _ in 0..2 {
        assert_eq!(text(&client, get(&url(&plain, "/"))).await.unwrap(), (200, "plain".into()), "{proxy}");
        let secret = format!("https://localhost:{}/", port(&secure));
        assert_eq!(text(&client, get(&secret)).await.unwrap(), (200, "secure".into()), "{proxy}");
    }
    assert_eq!(secure.stats().accepted, 1, "the tunnel is kept");
}

#[tokio::test]
async fn tinyproxy_forwards_plain_requests_and_tunnels_secure_ones() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut child, proxy)) = tinyproxy(folder.path()).await else { return };
    leads(&format!("http://me:secret@127.0.0.1:{proxy}")).await;
    let wrong = through(&format!("http://me:wrong@127.0.0.1:{proxy}"));
    let why = text(&wrong, get("https://localhost:9/")).await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Unauthorized, Sent::No), "{why}");
    assert!(text(&wrong, get("http://localhost:9/")).await.unwrap().0 >= 401);
    let right = through(&format!("http://me:secret@127.0.0.1:{proxy}"));
    let why = text(&right, get("https://localhost:9/")).await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Connect, Sent::No), "{why}");
    assert!(why.to_string().contains("it answered 5"), "{why}");
    child.kill().await.unwrap();
}

#[tokio::test]
async fn a_socks_proxy_leads_to_both() {
    let proxy = socks().await;
    for scheme in ["socks5", "socks5h"] {
        leads(&format!("{scheme}://me:secret@127.0.0.1:{proxy}")).await;
    }
    let wrong = through(&format!("socks5://127.0.0.1:{proxy}"));
    let why = text(&wrong, get("http://localhost:9/")).await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Unauthorized, Sent::No), "{why}");
}

#[tokio::test]
async fn a_proxy_that_is_not_there_sent_nothing() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for scheme in ["http", "socks5"] {
        let client = through(&format!("{scheme}://127.0.0.1:{gone}"));
        for target in ["http://localhost:9/", "https://localhost:9/"] {
            let why = text(&client, get(target)).await.unwrap_err();
            assert_eq!((why.kind(), why.sent()), (ErrorKind::Connect, Sent::No), "{why}");
            assert!(why.to_string().contains("proxy"), "{why}");
        }
    }
}
