//! The conformance suite, over each way that packets are sent, to a server that keeps what it is sent.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use haul_core::{AnySink, Body, Request, Response, service_fn};
use haul_http::{HttpConfig, HttpSink, serve};
use haul_kit::sink::{self, Rig};

type Stored = Arc<Mutex<Vec<Bytes>>>;

/// The payload in an envelope.
fn payload(envelope: &serde_json::Value) -> Bytes {
    let text = envelope["event"].as_str().unwrap();
    if envelope["encoding"] == "base64" {
        STANDARD.decode(text).unwrap().into()
    } else {
        text.to_owned().into()
    }
}

/// The payloads in a request's body.
fn payloads(batch: &str, body: &Bytes) -> Vec<Bytes> {
    match batch {
        "json" => {
            let all: Vec<serde_json::Value> = serde_json::from_slice(body).unwrap();
            all.iter().map(payload).collect()
        }
        "ndjson" => {
            let lines = body.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n');
            lines.map(|line| payload(&serde_json::from_slice(line).unwrap())).collect()
        }
        _ => vec![body.clone()],
    }
}

async fn rig(batch: &'static str, more: &str) -> Rig {
    let stored = Stored::default();
    let keep = stored.clone();
    let service = service_fn(move |request: Request| {
        let keep = keep.clone();
        async move {
            let delivers = request.method() == http::Method::POST;
            let body = request.into_body().bytes(64 << 20).await?;
            if delivers {
                keep.lock().unwrap().extend(payloads(batch, &body));
            }
            Ok(Response::new(Body::empty()))
        }
    });
    let server = serve("http://127.0.0.1:0?max_body=64MiB".parse().unwrap(), service).await.unwrap();
    let url = format!(
        "http://127.0.0.1:{}/in#batch={batch}&max_packet=1MiB{more}",
        server.local_endpoint().port().unwrap()
    );
    let config = HttpConfig::from_endpoint(&url.parse().unwrap()).unwrap();
    let sink = AnySink::new(HttpSink::new(config).unwrap());
    Rig::new(sink).holds(server).reads_back(move || {
        let stored = stored.lock().unwrap().clone();
        async move { stored }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_each_packet() {
    sink::suite("haul-http", || rig("none", "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_each_packet_over_http_2() {
    sink::suite("haul-http", || rig("none", "&version=2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_an_array() {
    sink::suite("haul-http", || rig("json", "&max_batch=30")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_lines() {
    sink::suite("haul-http", || rig("ndjson", "&max_batch_bytes=2KiB")).await;
}
