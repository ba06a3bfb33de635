//! What the bars of servers that store packets have in common: packets of 200 bytes, counted once they are stored.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use haul_core::{DeliverAll as _, Packet, Result, Sink};

use crate::measure::{Sample, cpu_seconds};

/// Packets on their way before the first of them is answered.
pub(crate) const WINDOW: usize = 1000;

pub(crate) const PAYLOAD: [u8; 200] = [b'7'; 200];

/// A server of our own, until it is dropped.
pub(crate) struct Program(Child);

impl Program {
    /// Starts it, and waits until it listens on `port`.
    pub(crate) fn start(mut command: Command, port: u16) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let program = Self(command.spawn().expect("the server starts"));
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{command:?} does not listen after 60 s");
            std::thread::sleep(Duration::from_millis(10));
        }
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    free.expect("a free port").port()
}

/// Batches of a sink, so many calls at once: stored packets per second.
pub(crate) async fn batches(sink: impl Sink, calls: usize, packets: usize, length: Duration) -> Sample {
    let sink = Arc::new(sink);
    let packet = Packet::text_from_utf8(Bytes::from_static(&PAYLOAD)).expect("digits");
    let deliver = |batch| {
        let sink = sink.clone();
        async move {
            let outcomes: Result<Vec<_>> =
                sink.deliver_all(batch).await.expect("the server takes them").into_iter().collect();
            outcomes.expect("each is stored").len() as u64
        }
    };
    deliver(vec![packet.clone()]).await;
    let (cpu, begun) = (cpu_seconds(), Instant::now());
    let callers = (0..calls).map(|_| async {
        let mut stored = 0;
        while begun.elapsed() < length {
            stored += deliver(vec![packet.clone(); packets]).await;
        }
        stored
    });
    let stored = futures_util::future::join_all(callers).await.into_iter().sum();
    sample(stored, begun, cpu)
}

/// What `store` stores, again and again: it answers how many.
pub(crate) async fn again(length: Duration, mut store: impl AsyncFnMut() -> u64) -> Sample {
    store().await;
    let (cpu, begun, mut stored) = (cpu_seconds(), Instant::now(), 0);
    while begun.elapsed() < length {
        stored += store().await;
    }
    sample(stored, begun, cpu)
}

pub(crate) fn sample(stored: u64, begun: Instant, cpu: f64) -> Sample {
    let seconds = begun.elapsed().as_secs_f64();
    Sample { value: stored as f64 / seconds, cpu: (cpu_seconds() - cpu) / stored.max(1) as f64 }
}
