//! What a reader does at damage: it stays there until it is told to go past.

use haul_core::{Error, Result};

use crate::damage::Damage;
use crate::scan::Why;
use crate::segment::{Meta, io_error};
use crate::seq::Seq;
use crate::walk::Walk;

/// Damage that was reported, and where reading goes on if it is to be skipped.
pub(crate) struct Stuck {
    pub(crate) damage: Damage,
    pub(crate) error: Error,
    pub(crate) then: Then,
}

pub(crate) enum Then {
    /// At the next whole record behind it.
    Find(Why),
    /// In this segment.
    Open(Meta),
    /// In the segment after this number.
    After(u64),
}

impl Walk {
    pub(crate) fn stick(
        &mut self,
        meta: &Meta,
        (offset, expected): (u64, Seq),
        what: String,
        then: Then,
    ) -> Error {
        let damage = Damage { segment: meta.name(), offset, expected, next: None, what };
        let error = damage.error(&self.catalog.disk().describe());
        self.stuck = Some(Stuck { damage, error: error.clone(), then });
        error
    }

    /// Goes past reported damage; the error is the gap, reported once.
    pub(crate) fn pass(&mut self, stuck: Stuck) -> Result<()> {
        let to = match (&stuck.then, &mut self.at) {
            (Then::Find(why), Some(at)) => {
                let extent = self.catalog.extent(at.meta.number, at.scanner.file())?;
                let found = at
                    .scanner
                    .find(*why, extent.limit, extent.most(), |_| true)
                    .map_err(|error| io_error(&error, format!("read segment {}", at.meta.name())))?;
                match (found, extent.next, extent.end) {
                    (Some(next), _, _) => {
                        at.scanner.go_to(next);
                        Some(next.1)
                    }
                    (None, Some(next), _) => {
                        let base = next.base;
                        self.open(next)?;
                        Some(base)
                    }
                    (None, None, Some(end)) => {
                        at.scanner.go_to((extent.limit, end));
                        Some(end)
                    }
                    (None, None, None) => None,
                }
            }
            (Then::Open(next), _) => {
                let next = next.clone();
                let base = next.base;
                self.open(next)?;
                Some(base)
            }
            (Then::After(number), _) => {
                let next = self.catalog.list()?.into_iter().find(|meta| meta.number > *number);
                match next {
                    Some(next) => {
                        let base = next.base;
                        self.open(next)?;
                        Some(base)
                    }
                    None => None,
                }
            }
            (Then::Find(_), None) => Some(self.want),
        };
        match to {
            Some(to) => {
                let gap = self.gap_to(to, &format!("skipped: {}", stuck.damage));
                self.want = self.want.max(to);
                Err(gap)
            }
            None => {
                let error = stuck.error.clone();
                self.stuck = Some(stuck);
                Err(error.while_doing("nothing readable is behind the damage"))
            }
        }
    }
}
