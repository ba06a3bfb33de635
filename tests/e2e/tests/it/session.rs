//! A network that cuts connections, for the tests of pages. Sessions between haul and haul are tested in `tests/faults`.

use haul_faults::{Cut, TcpFaults, TcpRelay};

/// Cuts each connection after a number of bytes drawn from a seed, or all of them at once.
pub(crate) struct Cutter {
    pub(crate) port: u16,
    relay: TcpRelay,
}

impl Cutter {
    /// Between `least` and twice as many bytes pass, either way, before each cut; `None` for no cut but
    /// [`cut_off`](Self::cut_off).
    pub(crate) async fn new(target: u16, seed: u64, least: Option<u64>) -> Self {
        let cut_after = least.map(|least| (least, Cut::End));
        let faults = TcpFaults { cut_after, ..TcpFaults::default() };
        let relay = TcpRelay::new(([127, 0, 0, 1], target).into(), seed, faults).await.unwrap();
        Self { port: relay.address().port(), relay }
    }

    /// Cuts nothing any more.
    pub(crate) fn spare(&self) {
        self.relay.set(TcpFaults::default());
    }

    /// Cuts all connections, and lets nobody come back until [`go_on`](Self::go_on).
    pub(crate) fn cut_off(&self) {
        self.relay.refuse();
        self.relay.cut(Cut::Reset);
    }

    pub(crate) fn go_on(&self) {
        self.relay.go_on();
    }
}
