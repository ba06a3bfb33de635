//! The conformance suite, for both kinds of closures.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use haul_callback::Callback;
use haul_core::{AnySink, Error};
use haul_kit::sink;

type Taken = Arc<Mutex<Vec<Bytes>>>;

fn rig(closure: impl FnOnce(Taken) -> Callback) -> sink::Rig {
    let taken = Taken::default();
    let sink = AnySink::new(closure(taken.clone()));
    sink::Rig::new(sink).reads_back(move || {
        let taken = taken.lock().unwrap().clone();
        async move { taken }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn asynchronous_closures() {
    sink::suite("haul-callback", async || {
        rig(|taken| {
            Callback::new(move |packet| {
                let taken = taken.clone();
                async move {
                    tokio::task::yield_now().await;
                    taken.lock().unwrap().push(packet.into_payload());
                    Ok::<(), Error>(())
                }
            })
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn synchronous_closures() {
    sink::suite("haul-callback", async || {
        rig(|taken| {
            Callback::sync(move |packet| {
                taken.lock().unwrap().push(packet.into_payload());
                Ok::<(), Error>(())
            })
        })
    })
    .await;
}
