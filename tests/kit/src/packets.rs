//! Packets to send, and what to make of those that arrive.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use haul_core::{Connection, Packet, Receiver, Result};
use tokio::time::timeout;

use crate::expect::Alphabet;
use crate::run::patience;

/// The answer of `work`, which must come within the check's patience (20 s). Panics with `what` it waited for.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let patience = patience();
    let began = Instant::now();
    match timeout(patience, work).await {
        // The timer asks once more: what is there only then was not announced.
        Ok(_) if began.elapsed() >= patience => {
            panic!("{what} was there only when asked for after {patience:?}: nobody was woken for it")
        }
        Ok(answer) => answer,
        Err(_) => panic!("waited {patience:?} for {what}"),
    }
}

/// Polls `work` at most `times` times and then drops it: `None` if it was not done by then.
pub async fn polled<T>(times: usize, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut count = 0;
    poll_fn(|cx| {
        if count == times {
            return Poll::Ready(None);
        }
        count += 1;
        match work.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if count == times => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Waits until `holds`, asking again after every millisecond.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Bytes of that length that differ from one `seed` to the next.
pub(crate) fn payload(alphabet: Alphabet, seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    if alphabet == Alphabet::Lines {
        bytes.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b'.');
    }
    bytes.into()
}

/// A binary packet that begins with its number, in seven digits, and is at least that long.
pub(crate) fn numbered(alphabet: Alphabet, number: u64, len: usize) -> Packet {
    let mut bytes = format!("{number:07}").into_bytes();
    bytes.extend_from_slice(&payload(alphabet, number, len.saturating_sub(bytes.len())));
    Packet::binary(bytes)
}

/// The number that a packet begins with.
pub(crate) fn number_of(packet: &Packet) -> Option<u64> {
    number_at(packet.payload())
}

/// The number that these bytes begin with.
pub(crate) fn number_at(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes.get(..7)?).ok()?.parse().ok()
}

/// The payloads of `packets` one after another.
pub(crate) fn joined(packets: &[Packet]) -> Vec<u8> {
    packets.iter().flat_map(|packet| packet.payload().to_vec()).collect()
}

/// Numbers that rise: nothing came twice, and nothing was overtaken.
pub(crate) fn in_order(numbers: &[u64]) {
    let wrong = numbers.windows(2).find(|pair| pair[0] >= pair[1]);
    assert_eq!(wrong, None, "a packet came twice, or after a later one");
}

/// Letters of that length.
pub(crate) fn letters(seed: u64, len: usize) -> String {
    let bytes = payload(Alphabet::Any, seed, len);
    bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

/// An end that receives.
pub(crate) trait Receives: Send {
    fn receive(&mut self) -> impl Future<Output = Result<Option<Packet>>> + Send;
}

impl Receives for Connection {
    fn receive(&mut self) -> impl Future<Output = Result<Option<Packet>>> + Send {
        self.recv()
    }
}

impl Receives for Receiver {
    fn receive(&mut self) -> impl Future<Output = Result<Option<Packet>>> + Send {
        self.recv()
    }
}

/// The next packet, which must come.
pub(crate) async fn next(what: &str, end: &mut impl Receives) -> Packet {
    match soon(what, end.receive()).await {
        Ok(Some(packet)) => packet,
        Ok(None) => panic!("the stream ended before {what}"),
        Err(why) => panic!("instead of {what} came the error {why}"),
    }
}

/// The clean end, which must come.
pub(crate) async fn ends(end: &mut impl Receives) {
    match soon("the end of the stream", end.receive()).await {
        Ok(None) => {}
        Ok(Some(packet)) => panic!("a packet of {} bytes came after the last one", packet.len()),
        Err(why) => panic!("instead of the end came the error {why}"),
    }
}

/// Says where two payloads differ.
pub(crate) fn same_bytes(what: &str, sent: &[u8], received: &[u8]) {
    if sent == received {
        return;
    }
    let at = sent.iter().zip(received).take_while(|(a, b)| a == b).count();
    panic!(
        "{what}: {} bytes were sent and {} received; they differ from byte {at} on",
        sent.len(),
        received.len()
    );
}
