//! Which packets fail, and with what.

use haul_core::{Error, Packet};

type Verdict = Box<dyn FnMut(&Packet) -> Option<Error> + Send>;

#[derive(Default)]
pub(crate) struct Script {
    next: Option<(usize, Error)>,
    always: Option<Error>,
    when: Option<Verdict>,
}

impl Script {
    pub(crate) fn fail_next(&mut self, packets: usize, error: Error) {
        self.next = Some((packets, error));
    }

    pub(crate) fn fail_always(&mut self, error: Error) {
        self.always = Some(error);
    }

    pub(crate) fn fail_when(&mut self, verdict: Verdict) {
        self.when = Some(verdict);
    }

    /// The error of a sink that is broken altogether.
    pub(crate) fn broken(&self) -> Option<Error> {
        self.always.clone()
    }

    /// The error that the script has for this packet, if any.
    pub(crate) fn verdict(&mut self, packet: &Packet) -> Option<Error> {
        if let Some((left, error)) = &mut self.next
            && *left > 0
        {
            *left -= 1;
            return Some(error.clone());
        }
        if let Some(error) = &self.always {
            return Some(error.clone());
        }
        self.when.as_mut().and_then(|verdict| verdict(packet))
    }
}
