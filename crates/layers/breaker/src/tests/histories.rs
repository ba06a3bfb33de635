//! Random histories, against what a breaker promises whatever happens.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    Begins,
    /// One of the calls under way.
    Succeeds(usize),
    Fails(usize),
    Dropped(usize),
    Passes(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Begins),
        2 => any::<usize>().prop_map(Event::Succeeds),
        3 => any::<usize>().prop_map(Event::Fails),
        1 => any::<usize>().prop_map(Event::Dropped),
        1 => (1..9000_u64).prop_map(Event::Passes),
    ]
}

proptest! {
    #[test]
    fn probes_have_a_bound_places_come_back_and_open_refuses_for_its_time(
        events in vec(event(), 1..300),
        consecutive in 1..4_u32,
        probes in 1..4_u32,
    ) {
        let open = Duration::from_secs(5);
        let options = BreakerOptions { consecutive, probes, open, window: 8, least: 4, ..BreakerOptions::default() };
        let mut circuit = Circuit::new();
        let mut now = Instant::now();
        // The calls under way, each with the number of changes that were seen when it began.
        let (mut under_way, mut changes, mut opened_at) = (Vec::new(), 0, None);
        for event in events {
            let before = circuit.state();
            let pick = |len: usize, at: usize| (len > 0).then(|| at % len);
            match event {
                Event::Begins => {
                    let due = opened_at.is_some_and(|at| now >= at + open);
                    let probing = under_way.iter().filter(|(_, began)| *began == changes).count();
                    match circuit.admit(&options, now) {
                        Ok(pass) => {
                            prop_assert!(before != BreakerState::Open || due, "let through before its time");
                            let half = circuit.state() == BreakerState::HalfOpen;
                            let before = if before == BreakerState::HalfOpen { probing } else { 0 };
                            prop_assert!(!half || before < probes as usize, "more probes than allowed");
                            changes += usize::from(half && opened_at.take().is_some());
                            under_way.push((pass, changes));
                        }
                        Err(_) => {
                            prop_assert!(before != BreakerState::Closed, "refused while closed");
                            prop_assert!(before != BreakerState::Open || !due, "refused after its time");
                            let idle = before == BreakerState::HalfOpen && probing == 0;
                            prop_assert!(!idle, "half open, nothing under way, and refused");
                        }
                    }
                }
                Event::Succeeds(at) | Event::Fails(at) => {
                    let Some(at) = pick(under_way.len(), at) else { continue };
                    let (pass, began) = under_way.swap_remove(at);
                    let failure = matches!(event, Event::Fails(_)).then(down);
                    circuit.settle(pass, failure, &options, now);
                    let changed = circuit.state() != before;
                    prop_assert!(!changed || began == changes, "a call of another time changed the state");
                    changes += usize::from(changed);
                    if changed && circuit.state() == BreakerState::Open {
                        opened_at = Some(now);
                    }
                }
                Event::Dropped(at) => {
                    let Some(at) = pick(under_way.len(), at) else { continue };
                    circuit.forget(under_way.swap_remove(at).0);
                    prop_assert_eq!(circuit.state(), before, "a dropped call says nothing");
                }
                Event::Passes(millis) => now += Duration::from_millis(millis),
            }
        }
    }
}
