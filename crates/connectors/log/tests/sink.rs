//! What comes out of a real subscriber.

#![allow(clippy::unwrap_used)]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use haul_core::{DeliverAll, Endpoint, ErrorKind, Level, Packet, PacketId, Sink};
use haul_log::{BinaryAs, Log, LogConfig, Severity};
use tracing_subscriber::EnvFilter;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a subscriber with `filter` wrote for `packets`, and the levels of their receipts.
fn logged(filter: &str, config: LogConfig, packets: Vec<Packet>) -> (String, Vec<Level>) {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let log = Log::new(config).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcomes =
        tracing::subscriber::with_default(subscriber, || runtime.block_on(log.deliver_all(packets)).unwrap());
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    (text, outcomes.into_iter().map(|outcome| outcome.unwrap().level).collect())
}

fn config(target: &str, level: Severity) -> LogConfig {
    LogConfig { target: target.to_owned(), level, ..LogConfig::default() }
}

#[test]
fn text_comes_out_with_target_level_id_and_metadata_in_order() {
    let id = PacketId::random();
    let packets = vec![Packet::text("order 7").with("session", "4").with_id(id), Packet::text("order 8")];
    let (text, levels) = logged("shop=warn", config("shop::orders", Severity::Warn), packets);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("WARN shop::orders: order 7 bytes=7"), "{text}");
    assert!(lines[0].contains(&format!("id={id}")) && lines[0].contains(r#""session": "4""#), "{text}");
    assert!(lines[1].contains("order 8") && !lines[1].contains("metadata"), "{text}");
    assert_eq!(levels, [Level::Sent; 2]);
}

#[test]
fn what_the_subscriber_does_not_want_is_answered_as_discarded() {
    let packets = || vec![Packet::text("a")];
    let quiet = logged("shop=info", config("shop", Severity::Debug), packets());
    assert_eq!(quiet, (String::new(), vec![Level::Discarded]));
    let elsewhere = logged("shop=info", config("other", Severity::Error), packets());
    assert_eq!(elsewhere, (String::new(), vec![Level::Discarded]));
    let (text, levels) = logged("shop=debug", config("shop", Severity::Debug), packets());
    assert!(text.contains("DEBUG shop: a"), "{text}");
    assert_eq!(levels, [Level::Sent]);
}

#[test]
fn metadata_is_left_out_when_asked_and_binary_is_shown_as_asked() {
    for (binary, shown) in
        [(BinaryAs::Base64, ": AP8Q "), (BinaryAs::Hex, ": 00ff10 "), (BinaryAs::Length, ": 3 bytes ")]
    {
        let config = LogConfig { binary, metadata: false, ..config("bin", Severity::Info) };
        let (text, _) = logged("bin=info", config, vec![Packet::binary(vec![0, 255, 16]).with("a", "b")]);
        assert!(text.contains(shown) && text.contains("bytes=3"), "{text}");
        assert!(!text.contains("metadata"), "{text}");
    }
}

#[test]
fn a_url_and_a_table_say_the_same() {
    let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
    let expected = LogConfig {
        target: "shop::orders".to_owned(),
        level: Severity::Debug,
        metadata: false,
        binary: BinaryAs::Hex,
    };
    let url = endpoint("log:///shop::orders?level=debug&metadata=false&binary=hex");
    assert_eq!(LogConfig::from_endpoint(&url).unwrap(), expected);
    let table = "target = 'shop::orders'\nlevel = 'debug'\nmetadata = false\nbinary = 'hex'";
    assert_eq!(toml::from_str::<LogConfig>(table).unwrap(), expected);
    assert_eq!(LogConfig::from_endpoint(&endpoint("log://")).unwrap(), LogConfig::default());
    assert_eq!(LogConfig::from_endpoint(&endpoint("log://shop")).unwrap().target, "shop");
    for wrong in ["log://a?levle=info", "log://a?level=loud", "log://a?metadata=maybe", "log://a/b"] {
        let error = LogConfig::from_endpoint(&endpoint(wrong)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{wrong}: {error}");
    }
    assert!(toml::from_str::<LogConfig>("levle = 'debug'").is_err());
}

#[tokio::test]
async fn a_closed_sink_logs_nothing() {
    let log = Log::new(LogConfig::default()).unwrap();
    log.close().await.unwrap();
    let error = log.deliver_all(vec![Packet::text("a")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}
