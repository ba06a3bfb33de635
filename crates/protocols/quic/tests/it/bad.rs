use haul_core::{ErrorKind, Packet, StreamOptions};
use quinn::ConnectionError;
use tokio::net::UdpSocket;

use crate::{dial, listen, pair, port, soon, stranger};

#[tokio::test]
async fn a_peer_of_another_protocol_is_refused_in_the_handshake() {
    let listener = listen("").await;
    let error = stranger(port(&listener), "h3").await.unwrap_err();
    assert!(error.to_string().contains("120"), "the alert no_application_protocol: {error}");
    soon("the count", async {
        while listener.stats().failed == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let failure = listener.stats().last_failure.unwrap();
    assert_eq!(failure.kind(), ErrorKind::Tls, "{failure}");
    assert!(failure.to_string().contains("no ALPN protocol in common"), "{failure}");
}

#[tokio::test]
async fn garbage_at_the_port_disturbs_nobody() {
    let listener = listen("").await;
    let noise = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut byte = 7_u8;
    for len in (0..1500).step_by(7) {
        let garbage: Vec<u8> = (0..len)
            .map(|_| {
                byte = byte.wrapping_mul(73).wrapping_add(41);
                byte
            })
            .collect();
        noise.send_to(&garbage, ("127.0.0.1", port(&listener))).await.unwrap();
        // Also as if it were the first packet of a handshake.
        let initial = [&[0xC3, 0, 0, 0, 1, 8][..], &garbage].concat();
        noise.send_to(&initial, ("127.0.0.1", port(&listener))).await.unwrap();
    }
    let client = dial(listener.local_endpoint().as_str()).await.unwrap();
    let mut server = soon("the client", listener.accept()).await.unwrap().unwrap();
    client.send(Packet::text("through")).await.unwrap();
    assert_eq!(soon("the packet", server.recv()).await.unwrap().unwrap().as_text(), Some("through"));
    assert_eq!(listener.stats().accepted, 1);
}

#[tokio::test]
async fn a_stranger_on_the_first_stream_is_told_and_cut() {
    let listener = listen("").await;
    let (_endpoint, quic) = stranger(port(&listener), "haul/1").await.unwrap();
    let (mut send, _recv) = quic.open_bi().await.unwrap();
    send.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut server = soon("the stranger", listener.accept()).await.unwrap().unwrap();
    let error = soon("the refusal", server.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.to_string().contains("GET / HT"), "{error}");
    match soon("the close", quic.closed()).await {
        ConnectionError::ApplicationClosed(close) => {
            assert_eq!(u64::from(close.error_code), 1002);
            assert!(String::from_utf8_lossy(&close.reason).contains("does not speak haul.v1"), "{close}");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_is_malformed_ends_the_connection_with_the_reason() {
    for (bytes, kind, code) in [
        (&b"\0\0\0\x01\x80"[..], ErrorKind::Protocol, 1002),
        (b"\0\0\0\x02\x01\xff", ErrorKind::Codec, 1007),
        (b"\xff\xff\xff\xff", ErrorKind::TooLarge, 1009),
    ] {
        let listener = listen("").await;
        let (_endpoint, quic) = stranger(port(&listener), "haul/1").await.unwrap();
        let (mut send, mut recv) = quic.open_bi().await.unwrap();
        send.write_all(&[b"haul.v1\n", bytes].concat()).await.unwrap();
        let mut server = soon("the stranger", listener.accept()).await.unwrap().unwrap();
        let error = soon("the refusal", server.recv()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let mut told = [0; 16];
        soon("the close frame", recv.read_exact(&mut told)).await.unwrap();
        // Preface, length, control, close, code.
        assert_eq!(u16::from_be_bytes([told[14], told[15]]), code);
    }
}

#[tokio::test]
async fn a_malformed_datagram_ends_the_connection_and_one_for_nobody_does_not() {
    let listener = listen("").await;
    let (_endpoint, quic) = stranger(port(&listener), "haul/1").await.unwrap();
    let (mut send, _recv) = quic.open_bi().await.unwrap();
    send.write_all(b"haul.v1\n").await.unwrap();
    let mut server = soon("the stranger", listener.accept()).await.unwrap().unwrap();
    quic.send_datagram(b"".as_slice().into()).unwrap();
    quic.send_datagram(b"\x41".as_slice().into()).unwrap();
    quic.send_datagram(b"\x3F\x01for nobody".as_slice().into()).unwrap();
    quic.send_datagram(b"\0\x01for you".as_slice().into()).unwrap();
    let packet = soon("the datagram", server.recv()).await.unwrap().unwrap();
    assert_eq!(packet.as_text(), Some("for you"));
    quic.send_datagram(b"\0\x80".as_slice().into()).unwrap();
    let error = soon("the refusal", server.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}

#[tokio::test]
async fn a_stream_that_is_reset_in_the_middle_of_a_packet_is_an_error() {
    let listener = listen("").await;
    let (_endpoint, quic) = stranger(port(&listener), "haul/1").await.unwrap();
    let (mut send, _recv) = quic.open_bi().await.unwrap();
    send.write_all(b"haul.v1\n\0\0\0\x03\x01hi\0\0\0\x64\x01half of it").await.unwrap();
    let mut server = soon("the stranger", listener.accept()).await.unwrap().unwrap();
    assert_eq!(soon("the packet", server.recv()).await.unwrap().unwrap().as_text(), Some("hi"));
    send.reset(4007_u32.into()).unwrap();
    let error = soon("the cut", server.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(error.to_string().contains("4007"), "{error}");
    assert_eq!(server.state().name(), "failed");
}

#[tokio::test]
async fn a_session_that_is_closed_under_a_stream_is_no_clean_end() {
    let listener = listen("").await;
    let (_endpoint, quic) = stranger(port(&listener), "haul/1").await.unwrap();
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    send.write_all(b"haul.v1\n").await.unwrap();
    let mut server = soon("the stranger", listener.accept()).await.unwrap().unwrap();
    soon("the preface", recv.read_exact(&mut [0; 8])).await.unwrap();
    quic.close(1000_u32.into(), b"as if all were well");
    let error = soon("the end", server.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(error.to_string().contains("as if all were well"), "{error}");
    assert!(soon("accept", server.accept()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_further_stream_without_its_preface_harms_no_other() {
    let listener = listen("?handshake=1s").await;
    let (_endpoint, quic) = stranger(port(&listener), "haul/1").await.unwrap();
    let (mut send, _recv) = quic.open_bi().await.unwrap();
    send.write_all(b"haul.v1\n\0\0\0\x03\x01hi").await.unwrap();
    let (mut silent, _silent_recv) = quic.open_bi().await.unwrap();
    silent.write_all(b"haul").await.unwrap();
    let (mut other, _other_recv) = quic.open_bi().await.unwrap();
    other.write_all(b"haul.v1\n\0\0\0\x06\x01hello").await.unwrap();
    let mut server = soon("the stranger", listener.accept()).await.unwrap().unwrap();
    assert_eq!(soon("the packet", server.recv()).await.unwrap().unwrap().as_text(), Some("hi"));
    let mut further = soon("the stream", server.accept()).await.unwrap().unwrap();
    assert_eq!(soon("the packet", further.recv()).await.unwrap().unwrap().as_text(), Some("hello"));
    let stopped = soon("the silent stream to be stopped", silent.stopped()).await.unwrap();
    assert_eq!(stopped, Some(1002_u32.into()));
}

#[tokio::test]
async fn an_abort_says_its_code_and_text() {
    let (client, mut server) = pair("").await;
    client.abort(haul_core::CloseReason::new(4009, "the roof is on fire"));
    let error = soon("the abort", server.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(
        error.to_string().contains("4009") && error.to_string().contains("the roof is on fire"),
        "{error}"
    );
}

#[tokio::test]
async fn an_unordered_stream_that_is_aborted_is_an_error_and_its_session_goes_on() {
    let (client, mut server) = pair("").await;
    let near = client.open(StreamOptions::unordered()).await.unwrap();
    near.send(Packet::text("one")).await.unwrap();
    let mut far = soon("the stream", server.accept()).await.unwrap().unwrap();
    assert_eq!(soon("one", far.recv()).await.unwrap().unwrap().as_text(), Some("one"));
    near.abort(haul_core::CloseReason::INTERNAL);
    soon("the abort", far.recv()).await.unwrap_err();
    client.send(Packet::text("still here")).await.unwrap();
    assert_eq!(soon("the packet", server.recv()).await.unwrap().unwrap().as_text(), Some("still here"));
}
