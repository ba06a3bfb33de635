//! Random stacks of layers around sinks that fail, drawn from a seed. Whatever happens: what was answered is there, what was
//! said not to have been sent is nowhere, nothing was invented, and only what may come twice does.
//!
//! `HAUL_SEED` is the first seed, `HAUL_FAULT_SECONDS` how long each test goes on, or else `HAUL_HISTORIES` how many it tries;
//! a failure names its own seed.

mod calls;
mod faulty;
mod outboxes;
mod redis;
mod stacks;

use std::time::Instant;

use haul_core::Packet;

/// One seed after the other: for a time where the run gives one, or else so many; one at least.
fn seeds(first: u64, usual: u64) -> impl Iterator<Item = u64> + Send {
    let (first, many) = (haul_services::seed(first), haul_services::histories(usual));
    let until = haul_services::fault_time().map(|time| Instant::now() + time);
    let goes_on = move |tried| match until {
        Some(until) => tried == 0 || Instant::now() < until,
        None => tried < many,
    };
    (0..).take_while(move |tried| goes_on(*tried)).map(move |tried| first + tried)
}

/// Packet `number`; every tenth is refused by each sink, for good.
fn text_of(number: u32) -> String {
    let kind = if number % 10 == 7 { "bad" } else { "good" };
    format!("{kind} {number}")
}

fn is_bad(packet: &Packet) -> bool {
    packet.as_text().is_some_and(|text| text.starts_with("bad"))
}
