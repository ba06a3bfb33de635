//! What is remembered of each host: who won, who stalled, and when to look again.

use std::collections::HashMap;
use std::time::Duration;

use haul_core::Endpoint;
use tokio::time::Instant;

use crate::AdaptiveOptions;

/// How many times `demote` a demotion lasts at most.
const LONGEST: u32 = 16;

pub(crate) struct Memory {
    hosts: HashMap<String, Host>,
    candidates: usize,
    options: AdaptiveOptions,
    /// Counts notes.
    clock: u64,
}

struct Host {
    /// The last note.
    noted: u64,
    winner: Option<Winner>,
    stalls: Vec<Stalls>,
}

#[derive(Clone, Copy)]
struct Winner {
    candidate: usize,
    at: Instant,
    probe_at: Instant,
}

#[derive(Clone, Copy, Default)]
struct Stalls {
    in_a_row: u32,
    until: Option<Instant>,
}

impl Stalls {
    fn left(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until - now).filter(|left| !left.is_zero())
    }
}

/// What is known of a host at one moment.
pub(crate) struct Known {
    pub(crate) order: Vec<usize>,
    pub(crate) winner: Option<usize>,
    /// The preferred ones get their head start again although another one won last.
    pub(crate) probes: bool,
    pub(crate) probe_in: Option<Duration>,
    /// Candidate, stalls in a row, and how long it still starts last.
    pub(crate) demoted: Vec<(usize, u32, Duration)>,
}

/// What hosts are told apart by: host and port, or the whole endpoint where there is no host.
pub(crate) fn key(endpoint: &Endpoint) -> String {
    match (endpoint.host(), endpoint.port()) {
        (Some(host), Some(port)) => format!("{}:{port}", host.to_ascii_lowercase()),
        (Some(host), None) => host.to_ascii_lowercase(),
        (None, _) => endpoint.to_string(),
    }
}

impl Memory {
    pub(crate) fn new(candidates: usize, options: AdaptiveOptions) -> Self {
        Self { hosts: HashMap::new(), candidates, options, clock: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// In which order to start now. One dial probes; those beside it go with the winner.
    pub(crate) fn plan(&mut self, key: &str, now: Instant) -> Known {
        let known = self.look(key, now);
        if known.probes
            && let Some(winner) = self.hosts.get_mut(key).and_then(|host| host.winner.as_mut())
        {
            winner.probe_at = now + self.options.probe;
        }
        known
    }

    /// What is known now.
    pub(crate) fn look(&self, key: &str, now: Instant) -> Known {
        let host = self.hosts.get(key);
        let demoted = |candidate: usize| host.and_then(|host| host.stalls[candidate].left(now));
        let winner = host.and_then(|host| host.winner);
        let winner = winner.filter(|winner| now - winner.at < self.options.remember);
        let better = winner.is_some_and(|winner| (0..winner.candidate).any(|other| demoted(other).is_none()));
        let probes = better && winner.is_some_and(|winner| now >= winner.probe_at);
        let mut order: Vec<usize> = (0..self.candidates).collect();
        if let Some(winner) = winner
            && !probes
        {
            order[..=winner.candidate].rotate_right(1);
        }
        // Stable: those that stalled go last, in the order in which they were.
        order.sort_by_key(|&candidate| demoted(candidate).is_some());
        let stalls = |candidate: usize| host.map_or(0, |host| host.stalls[candidate].in_a_row);
        Known {
            order,
            winner: winner.map(|winner| winner.candidate),
            probes,
            probe_in: winner.filter(|_| better).map(|winner| winner.probe_at - now),
            demoted: (0..self.candidates)
                .filter_map(|candidate| Some((candidate, stalls(candidate), demoted(candidate)?)))
                .collect(),
        }
    }

    /// `candidate` connected first.
    pub(crate) fn won(&mut self, key: &str, candidate: usize, now: Instant) {
        let probe_at = now + self.options.probe;
        let host = self.host(key);
        let before = host.winner.filter(|before| before.candidate == candidate);
        let probe_at = before.map_or(probe_at, |before| before.probe_at);
        host.winner = Some(Winner { candidate, at: now, probe_at });
    }

    /// `candidate` connected, and nothing came. Answers for how long it starts last.
    pub(crate) fn stalled(&mut self, key: &str, candidate: usize, now: Instant) -> Duration {
        let demote = self.options.demote;
        let host = self.host(key);
        let stalls = &mut host.stalls[candidate];
        let wait = demote * 2_u32.saturating_pow(stalls.in_a_row).min(LONGEST);
        stalls.in_a_row = stalls.in_a_row.saturating_add(1);
        stalls.until = Some(now + wait);
        host.winner = host.winner.filter(|winner| winner.candidate != candidate);
        wait
    }

    /// Something came over `candidate`.
    pub(crate) fn delivered(&mut self, key: &str, candidate: usize) {
        if let Some(host) = self.hosts.get_mut(key) {
            host.stalls[candidate] = Stalls::default();
        }
    }

    /// The host, which is remembered from now on; the one that nothing was noted of for longest makes room.
    fn host(&mut self, key: &str) -> &mut Host {
        self.clock += 1;
        if !self.hosts.contains_key(key) {
            if self.hosts.len() >= self.options.max_hosts
                && let Some(oldest) = self.hosts.iter().min_by_key(|(_, host)| host.noted)
            {
                let oldest = oldest.0.clone();
                self.hosts.remove(&oldest);
            }
            let stalls = vec![Stalls::default(); self.candidates];
            self.hosts.insert(key.to_owned(), Host { noted: 0, winner: None, stalls });
        }
        let host = self.hosts.get_mut(key).expect("it was there or was put there");
        host.noted = self.clock;
        host
    }
}
