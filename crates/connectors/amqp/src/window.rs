//! A window of publishings: all go out before the first confirm is waited for.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{MaybeDone, maybe_done};
use haul_core::{Error, ErrorKind, Result, Sent, Status};
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation};
use tokio::time::timeout;

use crate::broker::Link;
use crate::failure::failed;
use crate::letter::Letter;

/// How long the client may take to hear that its socket was cut.
const CUT: Duration = Duration::from_secs(5);

/// Publishes `letters` on a channel that confirms and that nobody else uses; answers what became of each. Where the server does
/// not answer within `patience`, the connection is cut: what was not written then, never will be.
pub(crate) async fn publish(
    link: &Link,
    channel: &Channel,
    letters: &[&Letter],
    mandatory: bool,
    patience: Duration,
) -> Vec<Result<()>> {
    let written: Vec<_> = letters.iter().map(|_| AtomicBool::new(false)).collect();
    let options = BasicPublishOptions { mandatory, immediate: false };
    let confirms = letters.iter().zip(&written);
    let mut confirms: Vec<_> = confirms
        .map(|(letter, written)| maybe_done(Box::pin(confirm(channel, letter, options, written))))
        .collect();
    // The first poll puts a message into the client's queue: this one after the other is their order.
    poll_fn(|cx| {
        for confirm in &mut confirms {
            let _ = Pin::new(confirm).poll(cx);
        }
        Poll::Ready(())
    })
    .await;
    let late = match timeout(patience, all(&mut confirms)).await {
        Ok(()) => None,
        Err(_) => {
            let late = late(link, patience);
            link.cut();
            // Now each is either written or given up.
            let _ = timeout(CUT, all(&mut confirms)).await;
            Some(late)
        }
    };
    let mut returned = Vec::new();
    let answers = confirms.iter_mut().zip(letters).zip(&written).map(|((confirm, letter), written)| {
        let sent = if written.load(Ordering::Relaxed) { Sent::Maybe } else { Sent::No };
        match Pin::new(confirm).take_output() {
            Some(Ok(Confirmation::Ack(back))) => {
                returned.extend(back);
                Ok(())
            }
            Some(Ok(Confirmation::Nack(back))) => {
                returned.extend(back);
                Err(refused())
            }
            Some(Ok(Confirmation::NotRequested)) => {
                Err(Error::new(ErrorKind::Internal, "no confirm was asked for"))
            }
            Some(Err(why)) => {
                Err(late.clone().unwrap_or_else(|| of_one(failed(&why), letter)).with_sent(sent))
            }
            None => Err(late.clone().unwrap_or_else(unheard).with_sent(Sent::Maybe)),
        }
    });
    let mut answers: Vec<_> = answers.collect();
    match_returned(letters, &mut answers, returned);
    answers
}

async fn confirm(
    channel: &Channel,
    letter: &Letter,
    options: BasicPublishOptions,
    written: &AtomicBool,
) -> lapin::Result<Confirmation> {
    let Letter { exchange, routing_key, properties, payload, .. } = letter;
    let publishing =
        channel.basic_publish(exchange.clone(), routing_key.clone(), options, payload, properties.clone());
    let confirm = publishing.await?;
    written.store(true, Ordering::Relaxed);
    confirm.await
}

async fn all<F: Future + Unpin>(confirms: &mut [MaybeDone<F>]) {
    for confirm in confirms {
        confirm.await;
    }
}

fn late(link: &Link, patience: Duration) -> Error {
    match link.blocked() {
        true => Error::new(
            ErrorKind::Overloaded,
            format!("the server is short of memory or disk, and took nothing for {patience:?}"),
        ),
        false => Error::new(ErrorKind::Timeout, format!("no confirm within {patience:?}")),
    }
}

fn unheard() -> Error {
    Error::new(ErrorKind::Closed, "the connection was lost before the confirm")
}

/// One of the queues that it went to did not take it; another may have.
fn refused() -> Error {
    let why = "the server did not take it (basic.nack): a queue is full or failed";
    Error::new(ErrorKind::Rejected, why).with_status(Status::Transient).with_sent(Sent::Maybe)
}

/// The server closes a channel because of one packet: what that means for this one.
fn of_one(why: Error, letter: &Letter) -> Error {
    let says = |text: String| why.message().contains(&text);
    match why.kind() {
        ErrorKind::Unauthorized if says(format!("exchange '{}'", letter.exchange)) => why,
        ErrorKind::Rejected if says(format!("message size {} ", letter.payload.len())) => {
            Error::new(ErrorKind::TooLarge, why.message().to_owned())
        }
        // An exchange that is gone is asked for next time; what was right may go then.
        ErrorKind::NotFound | ErrorKind::Unauthorized | ErrorKind::Rejected => {
            why.with_status(Status::Transient)
        }
        _ => why,
    }
}

/// A message that no queue takes comes back before its confirm, but the client hands it out with any confirm.
fn match_returned(letters: &[&Letter], answers: &mut [Result<()>], returned: Vec<BasicReturnMessage>) {
    let mut back = vec![false; letters.len()];
    for message in returned {
        let first = |same: fn(&Letter, &BasicReturnMessage) -> bool| {
            letters.iter().zip(&back).position(|(letter, back)| !back && same(letter, &message))
        };
        let Some(at) = first(Letter::is).or_else(|| first(Letter::looks_like)) else {
            let why = Error::new(ErrorKind::Protocol, "a message came back that is none of those sent");
            let why = why.with_status(Status::Transient).with_sent(Sent::Maybe);
            answers.iter_mut().filter(|answer| answer.is_ok()).for_each(|answer| *answer = Err(why.clone()));
            return;
        };
        back[at] = true;
        let why = format!("no queue takes it: {} {}", message.reply_code, message.reply_text);
        let to = format!(
            "exchange {:?}, routing key {:?}",
            letters[at].exchange.as_str(),
            letters[at].routing_key.as_str()
        );
        answers[at] = Err(Error::new(ErrorKind::NotFound, why).with("to", to).with_sent(Sent::No));
    }
}
