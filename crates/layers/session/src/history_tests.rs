//! Random histories of both directions' state machines: cuts, lost acknowledgements, slow readers, crashes of one end.

use std::collections::VecDeque;

use haul_core::wire::Frame;
use haul_core::{Packet, PacketId};
use proptest::prelude::*;

use crate::outgoing::{Kept, Lost, Outgoing, Window};
use crate::settling::Settling;

#[derive(Clone, Debug)]
enum Event {
    /// The sender's application sends a packet, with an id or without.
    Send { with_id: bool },
    /// The link takes what is in the send buffer.
    Write,
    /// The link carries one frame to the receiver.
    Carry,
    /// The receiver's application settles one of those it has, not always the oldest.
    Settle(usize),
    /// The receiver says what is settled, and the sender hears it.
    Ack,
    /// The receiver says it, and it is lost.
    LoseAck,
    /// The link is cut, with all that is in it; the session resumes on another.
    Cut,
    /// The receiver's end dies, with all that was not settled; a new session takes the place.
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => any::<bool>().prop_map(|with_id| Event::Send { with_id }),
        4 => Just(Event::Write),
        8 => Just(Event::Carry),
        6 => (0usize..4).prop_map(Event::Settle),
        2 => Just(Event::Ack),
        1 => Just(Event::LoseAck),
        2 => Just(Event::Cut),
        1 => Just(Event::Crash),
    ]
}

fn window() -> Window {
    Window { bytes: 64 << 20, packets: 1 << 20 }
}

/// One direction of a session, and the truth about it.
struct World {
    outgoing: Outgoing,
    encoded: u64,
    consumed: u64,
    link: VecDeque<Frame>,
    settling: Settling,
    received: u64,
    /// What the application of the receiver has not settled: its numbers.
    unsettled: Vec<u64>,
    /// All that was sent, in order: a value that names it, and whether it has an id.
    sent: Vec<(u64, bool)>,
    /// What arrived since the last crash, and all of it.
    arrived: Vec<u64>,
    ever: Vec<u64>,
    /// The values of the packets of this epoch by number.
    numbered: Vec<u64>,
    /// Values that a gap told of.
    told: Vec<u64>,
}

fn value(frame: &Frame) -> u64 {
    match frame {
        Frame::Packet { packet, .. } => u64::from_be_bytes(packet.payload()[..].try_into().unwrap()),
        other => panic!("{other:?}"),
    }
}

fn push(outgoing: &mut Outgoing, frame: &Frame, start: u64, len: u64) {
    outgoing.push(Kept::of(frame), frame, start, len);
}

impl World {
    fn new() -> Self {
        Self {
            outgoing: Outgoing::new(window()),
            encoded: 0,
            consumed: 0,
            link: VecDeque::new(),
            settling: Settling::default(),
            received: 0,
            unsettled: Vec::new(),
            sent: Vec::new(),
            arrived: Vec::new(),
            ever: Vec::new(),
            numbered: Vec::new(),
            told: Vec::new(),
        }
    }

    fn send(&mut self, with_id: bool) {
        let value = self.sent.len() as u64;
        self.sent.push((value, with_id));
        self.numbered.push(value);
        let packet = Packet::binary(value.to_be_bytes().to_vec());
        let packet = match with_id {
            true => packet.with_id(PacketId::from_bytes(u128::from(value).to_be_bytes())),
            false => packet,
        };
        push(&mut self.outgoing, &Frame::packet(packet), self.encoded, 9);
        self.encoded += 9;
    }

    fn write(&mut self) {
        self.consumed = self.encoded;
        self.link.extend(self.outgoing.take_untouched());
    }

    fn carry(&mut self) {
        if let Some(frame) = self.link.pop_front() {
            self.arrived.push(value(&frame));
            self.ever.push(value(&frame));
            self.unsettled.push(self.received);
            self.received += 1;
        }
    }

    fn settle(&mut self, which: usize) {
        if !self.unsettled.is_empty() {
            let number = self.unsettled.remove(which % self.unsettled.len());
            self.settling.settle(number);
        }
    }

    fn resume(&mut self) {
        self.outgoing.consumed(self.consumed);
        self.link = self.outgoing.replay(self.received).unwrap().collect();
        self.consumed = self.encoded;
    }

    /// The receiver's end dies and is replaced. What it had settled and not acknowledged is not lost, but the sender
    /// cannot know; all else must be sent again or told.
    fn crash(&mut self) {
        self.outgoing.consumed(self.consumed);
        let lost = self.outgoing.start_over();
        if let Some(Lost { from, to, count }) = lost {
            assert!(from < to && count <= to - from, "{lost:?}");
            let told: Vec<u64> = (from..to)
                .map(|number| self.numbered[number as usize])
                .filter(|value| !self.sent[*value as usize].1)
                .collect();
            assert_eq!(told.len() as u64, count, "packets without an id between the bounds");
            self.told.extend(told);
        }
        self.settling = Settling::default();
        self.unsettled.clear();
        self.received = 0;
        self.arrived.clear();
        self.link = self.outgoing.replay(0).unwrap().collect();
        self.numbered = self.link.iter().map(value).collect();
        self.consumed = self.encoded;
    }

    fn step(&mut self, event: &Event) {
        match event {
            Event::Send { with_id } => self.send(*with_id),
            Event::Write => self.write(),
            Event::Carry => self.carry(),
            Event::Settle(which) => self.settle(*which),
            Event::Ack => {
                let settled = self.settling.told();
                self.outgoing.settle(settled).unwrap();
            }
            Event::LoseAck => drop(self.settling.told()),
            Event::Cut => self.resume(),
            Event::Crash => self.crash(),
        }
        assert_eq!(self.arrived, self.numbered[..self.received as usize], "once, in order, within an epoch");
    }

    fn finish(&mut self) {
        self.resume();
        while !self.link.is_empty() {
            self.carry();
        }
        assert_eq!(self.arrived, self.numbered, "all of the epoch arrives");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_packet_arrives_once_and_in_order_however_often_the_link_is_cut(
        events in proptest::collection::vec(event(), 0..200),
    ) {
        let mut world = World::new();
        for event in events.iter().filter(|event| !matches!(event, Event::Crash)) {
            world.step(event);
        }
        world.finish();
        let all: Vec<u64> = world.sent.iter().map(|(value, _)| *value).collect();
        prop_assert_eq!(world.ever, all);
        prop_assert!(world.told.is_empty());
    }

    #[test]
    fn after_a_crash_every_packet_arrived_is_sent_again_or_told_and_only_ids_come_twice(
        events in proptest::collection::vec(event(), 0..200),
    ) {
        let mut world = World::new();
        for event in &events {
            world.step(event);
        }
        world.finish();
        for (value, with_id) in &world.sent {
            let times = world.ever.iter().filter(|arrived| *arrived == value).count();
            let told = world.told.contains(value);
            prop_assert!(times > 0 || told, "packet {} vanished in silence", value);
            prop_assert!(times <= 1 || *with_id, "packet {} has no id and came {} times", value, times);
        }
        let mut told = world.told.clone();
        told.dedup();
        prop_assert_eq!(told, world.told, "each is told once");
    }

    #[test]
    fn nonsense_of_the_peer_is_refused_and_changes_nothing(
        sent in 0u64..20, settled in 0u64..20, claim in any::<u64>(),
    ) {
        let mut world = World::new();
        (0..sent).for_each(|_| world.send(false));
        world.write();
        world.outgoing.settle(settled.min(sent)).unwrap();
        if claim > sent {
            prop_assert!(world.outgoing.settle(claim).is_err());
        }
        if claim > sent || claim < settled.min(sent) {
            prop_assert!(world.outgoing.replay(claim).is_err());
        }
        prop_assert_eq!(world.outgoing.replay(settled.min(sent)).unwrap().count() as u64, sent - settled.min(sent));
    }
}

#[test]
fn what_no_link_was_given_is_not_lost_with_the_session() {
    let mut world = World::new();
    (0..3).for_each(|_| world.send(false));
    world.write();
    (0..2).for_each(|_| world.send(false));
    assert_eq!(world.outgoing.start_over(), Some(Lost { from: 0, to: 3, count: 3 }));
    let again: Vec<u64> = world.outgoing.replay(0).unwrap().map(|frame| value(&frame)).collect();
    assert_eq!(again, [3, 4]);
}

#[test]
fn a_delivery_is_sent_again_until_its_receipt_came_even_if_it_was_settled() {
    let mut outgoing = Outgoing::new(window());
    let ids: Vec<_> = (0..3u8).map(|id| PacketId::from_bytes([id; 16])).collect();
    for id in &ids {
        let packet = Packet::binary(id.as_bytes().to_vec()).with_id(*id);
        push(&mut outgoing, &Frame::Packet { packet, receipt: true }, 0, 10);
    }
    assert_eq!(outgoing.replay(0).unwrap().count(), 3);
    outgoing.settle(2).unwrap();
    outgoing.answered(ids[0]);
    assert_eq!(outgoing.start_over(), None);
    let again: Vec<_> = outgoing
        .replay(0)
        .unwrap()
        .map(|frame| match frame {
            Frame::Packet { packet, .. } => packet.id().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(again, ids[1..]);
}

#[test]
fn a_full_window_holds_the_link_back_until_the_peer_settles() {
    let mut outgoing = Outgoing::new(Window { bytes: 100, packets: 1000 });
    for _ in 0..10 {
        push(&mut outgoing, &Frame::packet(Packet::binary(vec![0; 9])), 0, 10);
    }
    assert!(!outgoing.is_full(100), "nothing is on its way");
    assert!(!outgoing.is_full(10));
    assert!(outgoing.is_full(0));
    outgoing.settle(1).unwrap();
    assert!(!outgoing.is_full(0));
}

#[test]
fn what_is_kept_comes_back_as_it_was() {
    let mut outgoing = Outgoing::new(window());
    let frames = [
        Frame::packet(Packet::text("text")),
        Frame::packet(Packet::binary(vec![0xff])),
        Frame::packet(Packet::text("maybe").unreliable()),
        Frame::packet(Packet::text("with").with("name", "value")),
        Frame::packet(Packet::binary(vec![1]).identified()),
        Frame::Packet { packet: Packet::text("wanted").identified(), receipt: true },
        Frame::Finish,
    ];
    for frame in &frames {
        push(&mut outgoing, frame, 0, 1);
    }
    let again: Vec<_> = outgoing.replay(0).unwrap().map(|frame| format!("{frame:?}")).collect();
    assert_eq!(again, frames.map(|frame| format!("{frame:?}")));
}
