//! Random stacks of layers around sinks that fail, drawn from a seed. Whatever happens: what was answered is there, what was
//! said not to have been sent is nowhere, nothing was invented, and only what may come twice does.
//!
//! `HAUL_SEED` is the first seed and `HAUL_HISTORIES` how many; a failure names its own.

mod calls;
mod faulty;
mod outboxes;
mod redis;
mod stacks;

use std::ops::Range;

use haul_core::Packet;

/// The usual seeds, or those that a long run asks for.
fn seeds(first: u64, usual: u64) -> Range<u64> {
    let first = haul_services::seed(first);
    first..first + haul_services::histories(usual)
}

/// Packet `number`; every tenth is refused by each sink, for good.
fn text_of(number: u32) -> String {
    let kind = if number % 10 == 7 { "bad" } else { "good" };
    format!("{kind} {number}")
}

fn is_bad(packet: &Packet) -> bool {
    packet.as_text().is_some_and(|text| text.starts_with("bad"))
}
