//! Where calls wait until a test lets them go.

use tokio::sync::watch;

#[derive(Debug, Clone, Copy, Default)]
struct Turnstile {
    held: bool,
    waiting: usize,
}

#[derive(Debug)]
pub(crate) struct Gate(watch::Sender<Turnstile>);

impl Gate {
    pub(crate) fn open() -> Self {
        Self(watch::Sender::new(Turnstile::default()))
    }

    pub(crate) fn hold(&self, held: bool) {
        self.0.send_modify(|gate| gate.held = held);
    }

    /// Waits while the gate is held.
    pub(crate) async fn pass(&self) {
        let mut watch = self.0.subscribe();
        if !watch.borrow().held {
            return;
        }
        let _waiting = Waiting::new(&self.0);
        // The sender lives as long as `self`, so this ends only when the gate opens.
        let _ = watch.wait_for(|gate| !gate.held).await;
    }

    pub(crate) async fn wait_until_waiting(&self, calls: usize) {
        let _ = self.0.subscribe().wait_for(|gate| gate.waiting >= calls).await;
    }
}

/// Counts a waiting call for as long as it waits, also if it is dropped.
struct Waiting<'a>(&'a watch::Sender<Turnstile>);

impl<'a> Waiting<'a> {
    fn new(gate: &'a watch::Sender<Turnstile>) -> Self {
        gate.send_modify(|gate| gate.waiting += 1);
        Self(gate)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|gate| gate.waiting -= 1);
    }
}
