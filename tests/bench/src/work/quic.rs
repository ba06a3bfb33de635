//! QUIC and WebTransport: streams, datagrams and crowds against quinn and wtransport.

use std::time::Duration;

use super::bars::Bars;
use super::{Bar, load};
use crate::measure::Sample;
use crate::parts;
use crate::peers::{End, haul, quinn, wtransport};

const QUIC: &str = "quic://127.0.0.1:0";
const WT: &str = "wt://127.0.0.1:0";

impl Bars<'_> {
    pub(crate) fn quic(&mut self) {
        self.streams("quic", "quinn", QUIC, quinn::pair);
        self.ratio(
            "quic datagrams sent, 64 B",
            ("packets/s", "quinn", Bar::AtLeast(1.0)),
            |length| load::sent(64, length, haul::datagrams(QUIC)),
            |length| load::sent(64, length, quinn::datagrams()),
        );
        self.ratio(
            "quic datagrams received, none lost, 64 B",
            ("packets/s", "quinn, which loses some", Bar::AtLeast(0.6)),
            |length| load::received_all(64, length, haul::datagrams(QUIC)),
            |length| load::one_way(64, length, quinn::datagrams()),
        );
        self.crowd("quic", "quinn", QUIC);
    }

    pub(crate) fn wt(&mut self) {
        self.streams("wt", "wtransport", WT, wtransport::pair);
        self.ratio(
            "wt datagrams received, none lost, 64 B",
            ("packets/s", "wtransport, which loses most", Bar::AtLeast(5.0)),
            |length| load::received_all(64, length, haul::datagrams(WT)),
            |length| load::one_way(64, length, wtransport::datagrams()),
        );
        self.ratio(
            "wt datagrams, echo, window 256, 64 B",
            ("packets/s", "wtransport", Bar::AtLeast(5.0)),
            |length| load::echo_window(64, length, haul::datagrams(WT)),
            |length| load::echo_window(64, length, wtransport::datagrams()),
        );
        self.crowd("wt", "wtransport", WT);
    }

    fn streams<E: End, F: Future<Output = (E, E)>>(
        &mut self,
        name: &str,
        peer: &'static str,
        url: &'static str,
        raw: fn() -> F,
    ) {
        self.ratio(
            &format!("{name} ping-pong 64 B"),
            ("s", peer, Bar::AtMost(1.1)),
            |length| load::ping_pong(64, length, haul::pair(url)),
            |length| load::ping_pong(64, length, raw()),
        );
        self.ratio(
            &format!("{name} echo, window 256, send each, 64 B"),
            ("packets/s", peer, Bar::AtLeast(1.6)),
            |length| load::echo_window(64, length, haul::pair(url)),
            |length| load::echo_window(64, length, raw()),
        );
        for size in [64, 1024] {
            self.ratio(
                &format!("{name} echo, send_all, {size} B"),
                ("packets/s", peer, Bar::AtLeast(0.95)),
                |length| load::echo_batch(size, length, haul::pair(url)),
                |length| load::echo_batch(size, length, raw()),
            );
        }
        self.ratio(
            &format!("{name} one-way 64 KiB"),
            ("packets/s", peer, Bar::AtLeast(0.95)),
            |length| load::one_way(64 << 10, length, haul::pair(url)),
            |length| load::one_way(64 << 10, length, raw()),
        );
    }

    fn crowd(&mut self, name: &str, peer: &'static str, url: &str) {
        let crowd = format!("1,000 {name} connections");
        let opened = |url: &str| parts::figures::<2>(&["connections", url, "1000"]);
        let memory = |url: &str| Sample { value: opened(url)[1], cpu: 0.0 };
        self.figures([(&format!("{crowd}, one echo each: failures"), "failures", Bar::AtMost(0.0))], || {
            let [failures, _] = opened(url);
            [failures]
        });
        self.ratio(
            &format!("{crowd}: memory per connection, both ends"),
            ("KiB", peer, Bar::AtMost(1.0)),
            |_: Duration| memory(url),
            |_: Duration| memory(peer),
        );
    }
}
