//! The loads: the same code for every peer.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use haul_core::{Connection, Packet};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot};

use crate::measure::{Sample, cpu_seconds, median};
use crate::peers::End;

/// A runtime of two workers, as the machine has two cores.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads")
}

/// Runs the two ends as tasks; `client` answers (packets, value) when `length` is over.
fn run<A, B, S, C>(
    pair: impl Future<Output = (A, B)>,
    server: impl FnOnce(B) -> S,
    client: impl FnOnce(A) -> C,
) -> Sample
where
    A: Send,
    B: Send,
    S: Future<Output = ()> + Send + 'static,
    C: Future<Output = (u64, f64)> + Send + 'static,
{
    let runtime = runtime();
    let sample = runtime.block_on(async {
        let (a, b) = pair.await;
        let server = tokio::spawn(server(b));
        let cpu = cpu_seconds();
        let (packets, value) = tokio::spawn(client(a)).await.expect("the client's end");
        let cpu = (cpu_seconds() - cpu) / packets.max(1) as f64;
        server.abort();
        Sample { value, cpu }
    });
    runtime.shutdown_background();
    sample
}

async fn echo_each<E: End>(mut end: E, payload: Bytes) {
    while end.recv().await.is_some() && end.send(payload.clone()).await.is_some() {}
}

/// Round trips one at a time: the median in seconds.
pub(crate) fn ping_pong<E: End, F: Future<Output = (E, E)>>(
    size: usize,
    length: Duration,
    pair: F,
) -> Sample {
    let payload = Bytes::from(vec![7; size]);
    let echo = payload.clone();
    run(
        pair,
        |end| echo_each(end, echo),
        move |mut end| async move {
            let mut times = Vec::with_capacity(1 << 20);
            let start = Instant::now();
            while start.elapsed() < length {
                let sent = Instant::now();
                end.send(payload.clone()).await;
                end.recv().await;
                times.push(sent.elapsed().as_secs_f64());
            }
            (times.len() as u64, median(&times))
        },
    )
}

/// 256 packets under way, one `send` each: packets per second.
pub(crate) fn echo_window<E: End, F: Future<Output = (E, E)>>(
    size: usize,
    length: Duration,
    pair: F,
) -> Sample {
    let payload = Bytes::from(vec![7; size]);
    let echo = payload.clone();
    run(
        pair,
        |end| echo_each(end, echo),
        move |mut end| async move {
            let start = Instant::now();
            let mut count = 0u64;
            for _ in 0..256 {
                end.send(payload.clone()).await;
            }
            while start.elapsed() < length {
                for _ in 0..64 {
                    end.recv().await;
                    end.send(payload.clone()).await;
                }
                count += 64;
            }
            (count, count as f64 / start.elapsed().as_secs_f64())
        },
    )
}

/// 256 packets under way, sent with one flush for all that is ready: packets per second.
pub(crate) fn echo_batch<E: End, F: Future<Output = (E, E)>>(
    size: usize,
    length: Duration,
    pair: F,
) -> Sample {
    let payload = Bytes::from(vec![7; size]);
    let echo = payload.clone();
    let server = |mut end: E| async move {
        while let Some(ready) = end.recv_ready(256).await {
            end.send_all(echo.clone(), ready).await;
        }
    };
    run(pair, server, move |mut end| async move {
        let start = Instant::now();
        let mut count = 0u64;
        end.send_all(payload.clone(), 256).await;
        while start.elapsed() < length {
            let ready = end.recv_ready(256).await.expect("the server is there");
            end.send_all(payload.clone(), ready).await;
            count += ready as u64;
        }
        (count, count as f64 / start.elapsed().as_secs_f64())
    })
}

/// One direction only: packets per second as received.
pub(crate) fn one_way<E: End, F: Future<Output = (E, E)>>(size: usize, length: Duration, pair: F) -> Sample {
    let payload = Bytes::from(vec![7; size]);
    let server = |mut end: E| async move { while end.send_all(payload.clone(), 16).await.is_some() {} };
    run(pair, server, move |mut end| async move {
        let start = Instant::now();
        let mut count = 0u64;
        while start.elapsed() < length {
            for _ in 0..16 {
                end.recv().await;
            }
            count += 16;
        }
        (count, count as f64 / start.elapsed().as_secs_f64())
    })
}

/// One direction only, received by a task that does nothing else: packets per second as sent.
pub(crate) fn sent<E: End, F: Future<Output = (E, E)>>(size: usize, length: Duration, pair: F) -> Sample {
    let payload = Bytes::from(vec![7; size]);
    let server = |mut end: E| async move { while end.recv_ready(256).await.is_some() {} };
    run(pair, server, move |mut end| async move {
        let start = Instant::now();
        let mut count = 0u64;
        while start.elapsed() < length {
            for _ in 0..64 {
                end.send(payload.clone()).await.expect("the server is there");
            }
            count += 64;
        }
        (count, count as f64 / start.elapsed().as_secs_f64())
    })
}

/// One direction only, with 1,024 packets under way, so that none need be lost: packets per second as received. It fails
/// if one is lost.
pub(crate) fn received_all<E: End, F: Future<Output = (E, E)>>(
    size: usize,
    length: Duration,
    pair: F,
) -> Sample {
    let payload = Bytes::from(vec![7; size]);
    let window = Arc::new(Semaphore::new(1024));
    let permits = window.clone();
    let (told, total) = oneshot::channel();
    let server = |mut end: E| async move {
        let mut sent = 0;
        while let Ok(permit) = permits.acquire_many(64).await {
            permit.forget();
            end.send_all(payload.clone(), 64).await.expect("the client is there");
            sent += 64;
        }
        told.send(sent).expect("the client asks");
        // What is under way still needs its connection.
        std::future::pending().await
    };
    run(pair, server, move |mut end| async move {
        let start = Instant::now();
        let (mut count, mut open) = (0, 0);
        while start.elapsed() < length {
            let ready = end.recv_ready(256).await.expect("the server is there");
            count += ready;
            open += ready;
            window.add_permits(open / 64 * 64);
            open %= 64;
        }
        let value = count as f64 / start.elapsed().as_secs_f64();
        window.close();
        let total: usize = total.await.expect("the server says so");
        for received in count..total {
            let came = tokio::time::timeout(Duration::from_secs(2), end.recv()).await;
            assert!(came.is_ok(), "{} of {total} packets were lost", total - received);
        }
        (total as u64, value)
    })
}

/// 256 packets under way, sent by eight tasks that share one sender: packets per second.
pub(crate) fn echo_shared(
    size: usize,
    length: Duration,
    pair: impl Future<Output = (Connection, Connection)>,
) -> Sample {
    let payload = Bytes::from(vec![7; size]);
    let echo = payload.clone();
    run(
        pair,
        |end| echo_each(end, echo),
        move |end| async move {
            let window = Arc::new(Semaphore::new(256));
            let (sender, mut receiver) = end.split();
            let senders: Vec<_> = (0..8)
                .map(|_| {
                    let (sender, window, payload) = (sender.clone(), window.clone(), payload.clone());
                    tokio::spawn(async move {
                        while let Ok(permit) = window.acquire().await {
                            permit.forget();
                            if sender.send(Packet::binary(payload.clone())).await.is_err() {
                                return;
                            }
                        }
                    })
                })
                .collect();
            let start = Instant::now();
            let mut count = 0u64;
            while start.elapsed() < length {
                for _ in 0..64 {
                    receiver.recv().await.expect("the bench's peer is there");
                    window.add_permits(1);
                }
                count += 64;
            }
            let rate = count as f64 / start.elapsed().as_secs_f64();
            senders.iter().for_each(tokio::task::JoinHandle::abort);
            (count, rate)
        },
    )
}
