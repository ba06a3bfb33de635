//! Every bar.

use std::path::Path;
use std::time::Duration;

use super::journal::Disk;
use super::{Bar, Outcome, Row, load};
use crate::measure::{Pairs, Ratio, Run, Sample};
use crate::peers::{codec, fastws, haul, tungstenite};
use crate::{allocations, parts};

const WS: &str = "ws://127.0.0.1:0";
const TCP: &str = "tcp://127.0.0.1:0";

pub(crate) struct Bars<'a> {
    run: &'a Run,
    filter: &'a str,
    rows: Vec<Row>,
}

impl<'a> Bars<'a> {
    pub(crate) fn new(run: &'a Run, filter: &'a str) -> Self {
        Self { run, filter, rows: Vec::new() }
    }

    pub(crate) fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// Whether the bar of this name is asked for.
    pub(super) fn wants(&self, name: &str) -> bool {
        name.contains(self.filter)
    }

    /// A ratio; the pairs, if it is measured at all.
    pub(super) fn ratio(
        &mut self,
        name: &str,
        what: (&'static str, &'static str, Bar),
        haul: impl FnMut(Duration) -> Sample,
        other: impl FnMut(Duration) -> Sample,
    ) -> Option<Pairs> {
        let run = self.run;
        self.measured(name, what, || run.compare(haul, other))
    }

    /// A ratio of what waits for a disk.
    pub(super) fn disk_ratio(
        &mut self,
        name: &str,
        what: (&'static str, &'static str, Bar),
        haul: impl FnMut(Duration) -> Sample,
        other: impl FnMut(Duration) -> Sample,
    ) {
        let run = self.run;
        self.measured(name, what, || run.compare_in_slices(haul, other));
    }

    fn measured(
        &mut self,
        name: &str,
        (unit, peer, bar): (&'static str, &'static str, Bar),
        measure: impl FnOnce() -> Pairs,
    ) -> Option<Pairs> {
        let name = format!("{name} vs {peer}");
        if !self.wants(&name) {
            return None;
        }
        eprintln!("measuring {name}");
        let pairs = measure();
        self.against(name, unit, bar, pairs.ratio());
        Some(pairs)
    }

    fn against(&mut self, name: String, unit: &'static str, bar: Bar, ratio: Ratio) {
        self.rows.push(Row { name, unit, bar, result: Outcome::Against(ratio), note: String::new() });
    }

    /// Figures that one measurement gives.
    pub(super) fn figures<const N: usize>(
        &mut self,
        rows: [(&str, &'static str, Bar); N],
        measure: impl FnOnce() -> [f64; N],
    ) {
        let wanted = rows.map(|(name, ..)| name.contains(self.filter));
        if !wanted.contains(&true) {
            return;
        }
        eprintln!("measuring {}", rows[0].0);
        let figures = measure();
        for (((name, unit, bar), figure), _) in
            rows.into_iter().zip(figures).zip(wanted).filter(|(_, wanted)| *wanted)
        {
            let result = Outcome::Alone(figure);
            self.rows.push(Row { name: name.to_owned(), unit, bar, result, note: String::new() });
        }
    }

    pub(crate) fn ws(&mut self) {
        let ping = |length| load::ping_pong(64, length, haul::pair(WS));
        let default = "tokio-tungstenite";
        self.ratio("ws ping-pong 64 B", ("s", default, Bar::AtMost(0.65)), ping, |length| {
            load::ping_pong(64, length, tungstenite::pair(None))
        });
        self.ratio(
            "ws ping-pong 64 B",
            ("s", "tokio-tungstenite, 16 KiB reads", Bar::AtMost(1.1)),
            ping,
            |length| load::ping_pong(64, length, tungstenite::pair(Some(16 << 10))),
        );
        self.ratio("ws ping-pong 64 B", ("s", "fastwebsockets", Bar::AtMost(1.3)), ping, |length| {
            load::ping_pong(64, length, fastws::pair())
        });
        for (size, bar) in [(64, 5.0), (1024, 3.5)] {
            let name = format!("ws echo, window 256, send each, {size} B");
            self.ratio(
                &name,
                ("packets/s", default, Bar::AtLeast(bar)),
                |length| load::echo_window(size, length, haul::pair(WS)),
                |length| load::echo_window(size, length, tungstenite::pair(None)),
            );
        }
        self.ratio(
            "ws echo, window 256, eight tasks on one sender, 64 B",
            ("packets/s", default, Bar::AtLeast(3.5)),
            |length| load::echo_shared(64, length, haul::pair(WS)),
            |length| load::echo_window(64, length, tungstenite::pair(None)),
        );
        for (size, bar) in [(64, 1.4), (1024, 1.0)] {
            let name = format!("ws echo, send_all, {size} B");
            let pairs = self.ratio(
                &name,
                ("packets/s", default, Bar::AtLeast(bar)),
                |length| load::echo_batch(size, length, haul::pair(WS)),
                |length| load::echo_batch(size, length, tungstenite::pair(None)),
            );
            if let Some(pairs) = pairs {
                let name = format!("{name}: CPU per packet vs {default}");
                self.against(name, "s", Bar::AtMost(1.0), pairs.cpu_ratio());
            }
        }
        self.ratio(
            "ws ping-pong 64 KiB",
            ("s", default, Bar::AtMost(0.95)),
            |length| load::ping_pong(64 << 10, length, haul::pair(WS)),
            |length| load::ping_pong(64 << 10, length, tungstenite::pair(None)),
        );
        self.ratio(
            "ws one-way 64 KiB",
            ("packets/s", default, Bar::AtLeast(0.8)),
            |length| load::one_way(64 << 10, length, haul::pair(WS)),
            |length| load::one_way(64 << 10, length, tungstenite::pair(None)),
        );
    }

    pub(crate) fn tcp(&mut self) {
        let peer = "LengthDelimitedCodec";
        self.ratio(
            "tcp ping-pong 64 B",
            ("s", peer, Bar::AtMost(1.15)),
            |length| load::ping_pong(64, length, haul::pair(TCP)),
            |length| load::ping_pong(64, length, codec::pair()),
        );
        for (size, bar) in [(64, 10.0), (1024, 6.0)] {
            let name = format!("tcp echo, window 256, send each, {size} B");
            self.ratio(
                &name,
                ("packets/s", peer, Bar::AtLeast(bar)),
                |length| load::echo_window(size, length, haul::pair(TCP)),
                |length| load::echo_window(size, length, codec::pair()),
            );
        }
        for (size, bar) in [(64, 0.95), (1024, 1.4)] {
            let name = format!("tcp echo, send_all, {size} B");
            self.ratio(
                &name,
                ("packets/s", peer, Bar::AtLeast(bar)),
                |length| load::echo_batch(size, length, haul::pair(TCP)),
                |length| load::echo_batch(size, length, codec::pair()),
            );
        }
    }

    pub(crate) fn session(&mut self) {
        let peer = "bare ws";
        self.ratio(
            "session over ws, ping-pong 64 B",
            ("s", peer, Bar::AtMost(1.2)),
            |length| load::ping_pong(64, length, haul::session(WS)),
            |length| load::ping_pong(64, length, haul::pair(WS)),
        );
        self.ratio(
            "session over ws, window 256, send each, 64 B",
            ("packets/s", peer, Bar::AtLeast(0.8)),
            |length| load::echo_window(64, length, haul::session(WS)),
            |length| load::echo_window(64, length, haul::pair(WS)),
        );
    }

    pub(crate) fn journal(&mut self, folder: &Path) {
        let disk = Disk::new(folder);
        let before = self.rows.len();
        self.ratio(
            "journal, 64 producers, 200 B, durable",
            ("records/s", "64 records per fdatasync", Bar::AtLeast(0.5)),
            |length| disk.group_commit(length),
            |length| disk.plain_loop(length),
        );
        if let Some(row) = self.rows.get_mut(before) {
            row.note = disk.note();
        }
    }

    pub(crate) fn alone(&mut self) {
        let (zero, memory) = (Bar::AtMost(0.0), "memory per connection");
        let crowd = "1,000 ws connections, one echo each";
        self.figures(
            [
                (&format!("{crowd}: failures"), "failures", zero),
                (&format!("{crowd}: {memory}, both ends"), "KiB", Bar::AtMost(40.0)),
            ],
            || parts::figures(&["connections", WS, "1000"]),
        );
        let crowd = "10,000 ws connections from a second process, two echoes each";
        self.figures(
            [
                (&format!("{crowd}: until all have echoed"), "s", Bar::AtMost(30.0)),
                (&format!("{crowd}: failures"), "failures", zero),
                (&format!("{crowd}: {memory}, server"), "KiB", Bar::Reported),
            ],
            || parts::figures(&["crowd", WS, "10000"]),
        );
        for (name, url) in [("ws", WS), ("tcp", TCP)] {
            let name = format!("{name}: allocations per 64 B packet, sent and received");
            self.figures([(&name, "allocations", Bar::AtMost(0.01))], || [allocations::per_packet(url)]);
        }
        for (layers, filter, time, allocations) in [
            (3, "info", Bar::AtMost(1000.0), Bar::AtMost(3.0)),
            (3, "debug", Bar::Reported, Bar::Reported),
            (5, "info", Bar::AtMost(1500.0), Bar::AtMost(4.0)),
        ] {
            let names = if layers == 3 {
                "trace, timeout and retry"
            } else {
                "trace, timeout, retry, breaker and limit"
            };
            let stack = format!("{names} around a ready sink, log filter {filter}");
            self.figures(
                [
                    (&format!("{stack}: time per packet"), "ns", time),
                    (&format!("{stack}: allocations per packet"), "allocations", allocations),
                ],
                || parts::figures(&["stack", &layers.to_string(), filter]),
            );
        }
    }
}
