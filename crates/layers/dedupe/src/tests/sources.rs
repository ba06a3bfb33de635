//! Around a source.

use std::collections::VecDeque;

use haul_core::{BoxFuture, Delivery, Settle};

use super::*;

/// How the source was answered, packet by packet.
type Answers = Arc<Mutex<Vec<(String, &'static str)>>>;

struct Given {
    packets: VecDeque<Packet>,
    answers: Answers,
    closed: bool,
}

struct Answer {
    text: String,
    answers: Answers,
    closed: bool,
}

impl Settle for Answer {
    fn settle(self: Box<Self>, outcome: Result<Receipt>) -> BoxFuture<'static, Result<()>> {
        self.answers.lock().unwrap().push((self.text, if outcome.is_ok() { "ack" } else { "nack" }));
        let closed = self.closed;
        Box::pin(async move {
            match closed {
                true => Err(Error::new(ErrorKind::Closed, "the source is gone")),
                false => Ok(()),
            }
        })
    }

    fn dropped(self: Box<Self>) {
        self.answers.lock().unwrap().push((self.text, "dropped"));
    }
}

impl Source for Given {
    async fn next(&mut self) -> Result<Option<Delivery>> {
        let Some(packet) = self.packets.pop_front() else { return Ok(None) };
        let text = packet.as_text().unwrap().to_owned();
        Ok(Some(Delivery::new(packet, Answer { text, answers: self.answers.clone(), closed: self.closed })))
    }
}

fn gives(packets: impl IntoIterator<Item = Packet>) -> (Given, Answers) {
    let answers = Answers::default();
    (Given { packets: packets.into_iter().collect(), answers: answers.clone(), closed: false }, answers)
}

fn said(answers: &Answers) -> Vec<(String, &'static str)> {
    answers.lock().unwrap().clone()
}

fn told(texts: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    texts.iter().map(|(text, answer)| ((*text).to_owned(), *answer)).collect()
}

fn stored() -> Receipt {
    Receipt::new(Level::Stored, None)
}

#[tokio::test]
async fn what_was_acknowledged_is_not_given_again_and_acknowledged_at_once() {
    let (source, answers) = gives([1, 1, 2, 1].map(numbered));
    let mut once = dedupe(100).source(source);
    let first = once.next().await.unwrap().unwrap();
    first.ack(stored()).await.unwrap();
    let second = once.next().await.unwrap().unwrap();
    assert_eq!(second.packet().as_text(), Some("2"));
    assert_eq!(said(&answers), told(&[("1", "ack"), ("1", "ack")]));
    second.ack(stored()).await.unwrap();
    assert!(once.next().await.unwrap().is_none());
    assert_eq!(said(&answers).len(), 4);
}

#[tokio::test]
async fn what_was_refused_or_dropped_is_given_again() {
    let (source, answers) = gives([1, 1, 1].map(numbered));
    let mut once = dedupe(100).source(source);
    let refused = Error::new(ErrorKind::Rejected, "no");
    once.next().await.unwrap().unwrap().nack(refused).await.unwrap();
    drop(once.next().await.unwrap().unwrap());
    once.next().await.unwrap().unwrap().ack(stored()).await.unwrap();
    assert_eq!(said(&answers), told(&[("1", "nack"), ("1", "dropped"), ("1", "ack")]));
}

#[tokio::test]
async fn one_that_comes_while_the_first_is_not_settled_is_answered_as_the_first_is() {
    for (acks, answer) in [(true, "ack"), (false, "nack")] {
        let (source, answers) = gives([1, 1, 1, 2].map(numbered));
        let mut once = dedupe(100).source(source);
        let first = once.next().await.unwrap().unwrap();
        assert_eq!(once.next().await.unwrap().unwrap().packet().as_text(), Some("2"));
        assert_eq!(said(&answers), told(&[("2", "dropped")]));
        match acks {
            true => first.ack(stored()).await.unwrap(),
            false => first.nack(Error::new(ErrorKind::Rejected, "no")).await.unwrap(),
        }
        assert_eq!(said(&answers)[1..], told(&[("1", answer); 3]));
    }
    let (source, answers) = gives([1, 1].map(numbered));
    let mut once = dedupe(100).source(source);
    let first = once.next().await.unwrap().unwrap();
    assert!(once.next().await.unwrap().is_none());
    drop(first);
    assert_eq!(said(&answers), told(&[("1", "dropped"); 2]));
}

#[tokio::test]
async fn a_packet_whose_acknowledgement_did_not_reach_the_source_is_known_all_the_same() {
    let layer = dedupe(100);
    let (mut source, _) = gives([numbered(1)]);
    source.closed = true;
    let error = layer.source(source).next().await.unwrap().unwrap().ack(stored()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    let (again, answers) = gives([numbered(1)]);
    assert!(layer.source(again).next().await.unwrap().is_none());
    assert_eq!(said(&answers), told(&[("1", "ack")]));
}

#[tokio::test]
async fn packets_without_ids_are_all_given() {
    let (source, _) = gives([Packet::text("x"), Packet::text("x")]);
    let mut once = dedupe(100).source(source);
    for _ in 0..2 {
        once.next().await.unwrap().unwrap().ack(stored()).await.unwrap();
    }
    assert!(once.next().await.unwrap().is_none());
}
