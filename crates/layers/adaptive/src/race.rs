//! Who connects first.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use haul_core::{BoxFuture, Dial, Endpoint, Error, ErrorKind, Link, Result, Sent, Status};
use tokio::time::{Instant, sleep_until, timeout};

use crate::{AdaptiveOptions, Candidate};

/// The candidate that connected, and its link; or why each did not, in the order in which they failed.
pub(crate) type Outcome = Result<(usize, Link), Vec<(usize, Error)>>;

/// Dials the candidates in `order`: the next one starts when the last one had its head start, or at once when one
/// fails. Whoever has not won is dropped; nothing runs outside this future.
pub(crate) async fn race(
    candidates: &[Candidate],
    order: &[usize],
    endpoint: &Endpoint,
    options: &AdaptiveOptions,
) -> Outcome {
    let mut waiting = order.iter().copied();
    let mut running: Vec<(usize, BoxFuture<'_, Result<Link>>)> = Vec::new();
    let mut failed = Vec::new();
    let mut head_start = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| {
        loop {
            let before = failed.len();
            let mut at = 0;
            while let Some((candidate, attempt)) = running.get_mut(at) {
                match attempt.as_mut().poll(cx) {
                    Poll::Pending => at += 1,
                    Poll::Ready(Ok(link)) => return Poll::Ready(Ok((*candidate, link))),
                    Poll::Ready(Err(why)) => {
                        failed.push((*candidate, why));
                        drop(running.remove(at));
                    }
                }
            }
            let due = failed.len() > before || head_start.as_mut().poll(cx).is_ready();
            match waiting.len() {
                0 if running.is_empty() => return Poll::Ready(Err(std::mem::take(&mut failed))),
                0 => return Poll::Pending,
                _ if !due => return Poll::Pending,
                _ => {}
            }
            if let Some(next) = waiting.next() {
                let attempt = attempt(&candidates[next], endpoint, options);
                running.push((next, Box::pin(attempt)));
                head_start.as_mut().reset(Instant::now() + options.head_start);
            }
        }
    })
    .await
}

async fn attempt(candidate: &Candidate, endpoint: &Endpoint, options: &AdaptiveOptions) -> Result<Link> {
    let place = candidate.place(endpoint)?;
    let dial = async {
        // What fails on the way to the link has failed to connect.
        candidate.dialer().dial(place.clone()).await?.into_link().await
    };
    timeout(options.attempt_timeout, dial).await.unwrap_or_else(|_| {
        let limit = options.attempt_timeout;
        Err(Error::new(ErrorKind::Timeout, format!("dial {place}: no connection within {limit:?}")))
    })
}

/// The one error for all that failed: transient if any is, and sent as far as any may be.
pub(crate) fn none_connected(
    candidates: &[Candidate],
    endpoint: &Endpoint,
    failed: &[(usize, Error)],
) -> Error {
    let has = |status| failed.iter().find(|(_, why)| why.status() == status);
    let status = match (has(Status::Transient), has(Status::Exhausted)) {
        (Some(_), _) => Status::Transient,
        (None, Some(_)) => Status::Exhausted,
        (None, None) => Status::Permanent,
    };
    let kind = has(status).map_or(ErrorKind::Connect, |(_, why)| why.kind());
    let maybe = failed.iter().any(|(_, why)| why.sent() == Sent::Maybe);
    let reasons: Vec<_> =
        failed.iter().map(|(candidate, why)| format!("{}: {why}", candidates[*candidate].name())).collect();
    let message =
        format!("dial {endpoint}: none of {} transports connected: {}", failed.len(), reasons.join("; "));
    let error =
        Error::new(kind, message).with_status(status).with_sent(if maybe { Sent::Maybe } else { Sent::No });
    // When the first of them may be tried again, all may.
    let again = failed.iter().filter(|(_, why)| why.status() == status);
    match again.map(|(_, why)| why.retry_after()).min().flatten() {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}
