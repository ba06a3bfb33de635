use std::sync::{Mutex, PoisonError};

use haul_core::Backoff;
use tokio::time::Instant;

use crate::By;
use crate::member::Seat;

/// Says which of the candidates is next.
#[derive(Debug)]
pub(crate) struct Choice {
    by: By,
    /// Of round robin: what each seat has saved up.
    credit: Mutex<Vec<i64>>,
}

impl Choice {
    pub(crate) fn new(by: By, seats: usize) -> Self {
        Self { by, credit: Mutex::new(vec![0; seats]) }
    }

    /// One of the seats that `may` be taken; `None` if there is none.
    pub(crate) fn of<S>(&self, seats: &[Seat<S>], may: impl Fn(usize) -> bool) -> Option<usize> {
        match self.by {
            By::RoundRobin => self.in_turns(seats, may),
            By::LeastInFlight => least(seats, may, |seat| seat.load(), self.in_turns(seats, |_| true)),
            By::Latency => {
                let first = drawn(seats, &may)?;
                let Some(second) = drawn(seats, |at| at != first && may(at)) else { return Some(first) };
                let now = Instant::now();
                let sooner = seats[second].cost(now) < seats[first].cost(now);
                Some(if sooner { second } else { first })
            }
        }
    }

    fn in_turns<S>(&self, seats: &[Seat<S>], may: impl Fn(usize) -> bool) -> Option<usize> {
        let mut credit = self.credit.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut next, mut all) = (None, 0);
        for (at, seat) in seats.iter().enumerate().filter(|(at, _)| may(*at)) {
            credit[at] += seat.weight();
            all += seat.weight();
            if next.is_none_or(|next| credit[at] > credit[next]) {
                next = Some(at);
            }
        }
        credit[next?] -= all;
        next
    }
}

/// The seat with the least `cost`; of several the first from `start` on.
fn least<S>(
    seats: &[Seat<S>],
    may: impl Fn(usize) -> bool,
    cost: impl Fn(&Seat<S>) -> f64,
    start: Option<usize>,
) -> Option<usize> {
    let start = start.unwrap_or(0);
    let from_start = (start..seats.len()).chain(0..start);
    from_start.filter(|at| may(*at)).min_by(|a, b| cost(&seats[*a]).total_cmp(&cost(&seats[*b])))
}

/// A seat drawn at random, by weight.
pub(crate) fn drawn<S>(seats: &[Seat<S>], may: impl Fn(usize) -> bool) -> Option<usize> {
    let may = || seats.iter().enumerate().filter(|(at, _)| may(*at));
    let all: i64 = may().map(|(_, seat)| seat.weight()).sum();
    let all = u128::try_from(all).ok().filter(|all| *all > 0)?;
    let mut drawn = ((u128::from(Backoff::random()) * all) >> 64) as i64;
    may().find_map(|(at, seat)| {
        drawn -= seat.weight();
        (drawn < 0).then_some(at)
    })
}
