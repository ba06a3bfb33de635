//! The conformance suite, read back from a subscriber.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use haul_core::AnySink;
use haul_kit::sink;
use haul_log::{Log, LogConfig};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Messages by target.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<HashMap<String, Vec<Bytes>>>>);

struct Message<'a>(&'a mut Vec<Bytes>);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.push(format!("{value:?}").into());
        }
    }
}

impl<S: Subscriber> Layer<S> for Messages {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut messages = self.0.lock().unwrap();
        let target = event.metadata().target().to_owned();
        event.record(&mut Message(messages.entry(target).or_default()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks() {
    let messages = Messages::default();
    let subscriber = tracing_subscriber::registry().with(messages.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let rigs = Arc::new(AtomicUsize::new(0));
    sink::suite("haul-log", move || {
        let target = format!("kit::{}", rigs.fetch_add(1, Ordering::Relaxed));
        let messages = messages.clone();
        async move {
            let log = Log::new(LogConfig { target: target.clone(), ..LogConfig::default() }).unwrap();
            sink::Rig::new(AnySink::new(log)).reads_back(move || {
                let logged = messages.0.lock().unwrap().get(&target).cloned().unwrap_or_default();
                async move { logged }
            })
        }
    })
    .await;
}
