//! Many packets in one call, each with its own outcome.

use crate::service::{Input, Subject};
use crate::{Error, Packet, Receipt, Result, Sent, Status};

/// Packets to deliver in one call. The answer has one outcome per packet, in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch(Vec<Packet>);

impl Batch {
    /// A batch of `packets`, in order.
    pub fn new(packets: Vec<Packet>) -> Self {
        Self(packets)
    }

    /// The packets.
    pub fn packets(&self) -> &[Packet] {
        &self.0
    }

    /// The packets, by value.
    pub fn into_packets(self) -> Vec<Packet> {
        self.0
    }

    /// How many packets.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<Packet>> for Batch {
    fn from(packets: Vec<Packet>) -> Self {
        Self(packets)
    }
}

impl FromIterator<Packet> for Batch {
    fn from_iter<I: IntoIterator<Item = Packet>>(packets: I) -> Self {
        Self(packets.into_iter().collect())
    }
}

fn is_open(outcome: &Result<Receipt>) -> bool {
    matches!(outcome, Err(why) if why.status() == Status::Transient)
}

impl Input for Batch {
    type Out = Vec<Result<Receipt>>;

    const ROLE: &'static str = "deliver_all";

    fn subject(&self) -> Subject {
        Subject::Packets(self.len())
    }

    fn heard(out: &mut Self::Out) {
        for why in out.iter_mut().filter_map(|outcome| outcome.as_mut().err()) {
            *why = why.clone().with_sent(Sent::Maybe);
        }
    }

    fn exhausted(answer: Result<Self::Out>) -> Result<Self::Out> {
        let close = |outcome: Result<Receipt>| outcome.map_err(Error::exhausted);
        match answer {
            Ok(outcomes) => Ok(outcomes.into_iter().map(close).collect()),
            Err(why) => Err(why.exhausted()),
        }
    }

    fn reopen(out: &mut Self::Out) {
        for why in out.iter_mut().filter_map(|outcome| outcome.as_mut().err()) {
            if why.status() == Status::Exhausted {
                *why = why.clone().with_status(Status::Transient);
            }
        }
    }

    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }

    /// A batch may be applied twice if each of its packets may.
    fn idempotent(&self) -> bool {
        self.0.iter().all(|packet| packet.id().is_some())
    }

    /// The first transient failure, or else the first failure.
    fn failure(out: &Self::Out) -> Option<Error> {
        let failed = || out.iter().filter_map(|outcome| outcome.as_ref().err());
        failed().find(|why| why.status() == Status::Transient).or_else(|| failed().next()).cloned()
    }

    fn rest(self, out: &mut Self::Out) -> Option<Self> {
        let mut rest = Vec::new();
        for (packet, outcome) in self.0.into_iter().zip(out) {
            match outcome {
                Err(why) if why.status() == Status::Transient => {
                    if why.sent() == Sent::No || packet.id().is_some() {
                        rest.push(packet);
                    } else {
                        *why = why.clone().exhausted();
                    }
                }
                _ => {}
            }
        }
        (!rest.is_empty()).then_some(Self(rest))
    }

    /// What may have been sent once stays so, whatever became of later tries.
    fn join(mut first: Self::Out, later: Result<Self::Out>) -> Result<Self::Out> {
        let fill = |slot: &mut Result<Receipt>, outcome: Result<Receipt>| {
            let seen = matches!(slot, Err(before) if before.sent() == Sent::Maybe);
            *slot = outcome.map_err(|why| if seen { why.with_sent(Sent::Maybe) } else { why });
        };
        let open = first.iter_mut().filter(|outcome| is_open(outcome));
        match later {
            Ok(outcomes) => open.zip(outcomes).for_each(|(slot, outcome)| fill(slot, outcome)),
            Err(why) => open.for_each(|slot| fill(slot, Err(why.clone()))),
        }
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, Level, PacketId};

    fn receipt() -> Result<Receipt> {
        Ok(Receipt::new(Level::Stored, None))
    }

    #[test]
    fn what_may_have_been_sent_by_one_try_may_have_been_sent_after_the_next() {
        let first = || {
            vec![
                Err(Error::new(ErrorKind::Timeout, "no answer")),
                Err(Error::new(ErrorKind::Overloaded, "full")),
            ]
        };
        let refused = || Err(Error::new(ErrorKind::Connect, "refused"));
        for later in [Ok(vec![refused(), refused()]), Err(Error::new(ErrorKind::Connect, "refused"))] {
            let joined = Batch::join(first(), later).unwrap();
            let sent: Vec<_> = joined.iter().map(|outcome| outcome.as_ref().unwrap_err().sent()).collect();
            assert_eq!(sent, [Sent::Maybe, Sent::No]);
        }
    }

    #[test]
    fn what_one_peer_was_tried_for_often_enough_is_left_for_another_if_that_is_safe() {
        let packets = ["stored", "maybe", "maybe with id", "refused", "never"].map(Packet::text);
        let mut packets = Vec::from(packets);
        packets[2] = packets[2].clone().with_id(PacketId::random());
        let failed = |kind| Err(Error::new(kind, "tried three times").exhausted());
        let mut answer = Ok(vec![
            receipt(),
            failed(ErrorKind::Timeout),
            failed(ErrorKind::Timeout),
            failed(ErrorKind::Overloaded),
            failed(ErrorKind::Rejected),
        ]);
        assert!(Batch::new(packets.clone()).unfinished(&mut answer).is_none());
        let (rest, why) = Batch::new(packets.clone()).elsewhere(&mut answer).unwrap();
        let texts: Vec<_> = rest.packets().iter().filter_map(Packet::as_text).collect();
        assert_eq!((texts, why.kind()), (vec!["maybe with id", "refused"], ErrorKind::Timeout));
        let statuses = |answer: &[Result<Receipt>]| -> Vec<_> {
            answer.iter().filter_map(|outcome| outcome.as_ref().err().map(Error::status)).collect()
        };
        let joined = Batch::join(answer.unwrap(), Ok(vec![receipt(), receipt()])).unwrap();
        assert_eq!(statuses(&joined), [Status::Exhausted, Status::Permanent]);
        let whole = || Err(Error::new(ErrorKind::Connect, "refused").exhausted());
        assert!(Batch::new(packets.clone()).elsewhere(&mut whole()).is_some());
        let maybe = || Err(Error::new(ErrorKind::Timeout, "no answer").exhausted());
        assert!(Batch::new(packets).elsewhere(&mut maybe()).is_none());
    }

    #[test]
    fn only_what_is_undone_and_safe_is_left_and_its_answer_fills_the_open_positions() {
        let batch: Batch =
            ["stored", "maybe", "maybe with id", "refused", "unsent"].map(Packet::text).into_iter().collect();
        let mut packets = batch.into_packets();
        packets[2] = packets[2].clone().with_id(PacketId::random());
        let maybe = || Err(Error::new(ErrorKind::Timeout, "no answer"));
        let mut out = vec![
            receipt(),
            maybe(),
            maybe(),
            Err(Error::new(ErrorKind::Rejected, "no")),
            Err(Error::new(ErrorKind::Overloaded, "full")),
        ];
        let rest = Batch::new(packets).rest(&mut out).unwrap();
        let texts: Vec<_> = rest.packets().iter().filter_map(Packet::as_text).collect();
        assert_eq!(texts, ["maybe with id", "unsent"]);
        let joined = Batch::join(out, Ok(vec![receipt(), maybe()])).unwrap();
        assert!(joined[0].is_ok() && joined[2].is_ok());
        assert_eq!(joined[1].as_ref().unwrap_err().status(), Status::Exhausted);
        assert_eq!(joined[3].as_ref().unwrap_err().kind(), ErrorKind::Rejected);
        assert_eq!(joined[4].as_ref().unwrap_err().kind(), ErrorKind::Timeout);
    }
}
