use std::future::{pending, poll_fn};
use std::io::Write;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use ::metrics::with_local_recorder;
use haul_core::{Batch, Deliver, DeliverAll, Dial, Endpoint, ErrorKind, Level, Packet, Receipt, service_fn};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

use super::*;

/// The metrics as `name{labels} value`, sorted; of a histogram the number of its samples.
fn lines(snapshotter: &Snapshotter) -> Vec<String> {
    let mut lines: Vec<_> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let labels: Vec<_> =
                key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let value = match value {
                DebugValue::Counter(count) => count,
                DebugValue::Histogram(samples) => samples.len() as u64,
                DebugValue::Gauge(_) => panic!("a gauge"),
            };
            format!("{}{{{}}} {value}", key.key().name(), labels.join(","))
        })
        .collect();
    lines.sort();
    lines
}

/// What the metrics are after `work`.
/// What a place in the code is told of its subscribers is one for the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn measured<F: Future>(work: F) -> (F::Output, Vec<String>) {
    let _alone = alone();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let out = with_local_recorder(&recorder, || runtime.block_on(work));
    (out, lines(&snapshotter))
}

fn ok() -> Result<Receipt> {
    Ok(Receipt::new(Level::Sent, None))
}

fn failed() -> Error {
    Error::new(ErrorKind::Timeout, "no answer")
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a subscriber of this level writes during `work`.
fn written(level: tracing::Level, work: impl Future) -> String {
    let _alone = alone();
    let out = Written::default();
    let writer = out.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::CLOSE)
        .finish();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    tracing::subscriber::with_default(subscriber, || runtime.block_on(work));
    let bytes = out.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn calls_are_counted_by_service_role_and_outcome() {
    let ((), lines) = measured(async {
        let sink = TraceLayer::new("redis").layer(service_fn(|packet: Packet| async move {
            if packet.is_empty() { Err(failed()) } else { ok() }
        }));
        for text in ["a", "", "b"] {
            let _ = sink.deliver(Packet::text(text)).await;
        }
    });
    assert_eq!(
        lines,
        [
            "haul_call_seconds{service=redis,role=deliver} 3",
            "haul_calls_total{service=redis,role=deliver,outcome=ok} 2",
            "haul_calls_total{service=redis,role=deliver,outcome=timeout} 1",
        ]
    );
}

struct Both;

impl Service<Packet> for Both {
    async fn call(&self, _: Packet) -> Result<Receipt> {
        ok()
    }
}

impl Service<Batch> for Both {
    async fn call(&self, _: Batch) -> Result<Vec<Result<Receipt>>> {
        Ok(vec![ok(), Err(failed())])
    }
}

#[test]
fn roles_of_one_service_are_told_apart_and_a_failure_within_an_answer_is_one() {
    let ((), lines) = measured(async {
        let both = TraceLayer::new("both").layer(Both);
        for _ in 0..2 {
            both.deliver(Packet::text("x")).await.unwrap();
            both.deliver_all(vec![Packet::text("x"); 2]).await.unwrap();
        }
    });
    assert_eq!(
        lines[2..],
        [
            "haul_calls_total{service=both,role=deliver,outcome=ok} 2",
            "haul_calls_total{service=both,role=deliver_all,outcome=timeout} 2",
        ]
    );
}

#[test]
fn a_dropped_call_is_counted_as_cancelled() {
    let ((), lines) = measured(async {
        let never = TraceLayer::new("never").layer(service_fn(|_: Packet| pending()));
        let mut call = pin!(never.deliver(Packet::text("x")));
        poll_fn(|cx| {
            assert!(call.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    });
    assert_eq!(lines[1], "haul_calls_total{service=never,role=deliver,outcome=cancelled} 1");
}

#[test]
fn the_span_names_service_role_and_subject() {
    let text = written(tracing::Level::DEBUG, async {
        let dialer = TraceLayer::new("gateway").layer(service_fn(|_: Endpoint| async { Err(failed()) }));
        let endpoint = Endpoint::parse("tcp://user:secret@host:9").unwrap();
        dialer.dial(endpoint).await.unwrap_err();
    });
    let span = "call{service=\"gateway\" role=\"dial\" subject=tcp://user:***@host:9}";
    assert!(text.contains(span), "{text}");
}

#[test]
fn a_failure_is_an_event_that_names_everything_without_the_span() {
    let text = written(tracing::Level::WARN, async {
        let sink = TraceLayer::new("redis").layer(service_fn(|_: Packet| async { Err(failed()) }));
        sink.deliver(Packet::text("four")).await.unwrap_err();
    });
    assert_eq!(text.lines().count(), 1);
    for part in [
        "WARN",
        "service=\"redis\"",
        "role=\"deliver\"",
        "subject=4 bytes",
        "kind=\"timeout\"",
        "sent=Maybe",
        "error=no answer",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn options_come_from_toml() {
    let options: TraceOptions = toml::from_str("service = \"redis\"").unwrap();
    assert_eq!(&*TraceLayer::with_options(options).service, "redis");
    assert!(toml::from_str::<TraceOptions>("service = \"a\"\nlevel = 3").is_err());
}
