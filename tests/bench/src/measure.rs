//! Interleaved pairs, medians, bootstrap intervals.

use std::time::Duration;

/// Slices of a run that is cut.
const SLICES: usize = 10;

/// How long and how often.
pub(crate) struct Run {
    pub(crate) pairs: usize,
    pub(crate) length: Duration,
}

/// What one run of one side gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Packets per second, or seconds per round trip.
    pub(crate) value: f64,
    /// CPU seconds of the whole process per packet.
    pub(crate) cpu: f64,
}

/// What both sides gave, haul first, in each pair.
pub(crate) struct Pairs(Vec<(Sample, Sample)>);

/// A ratio of haul to a peer.
#[derive(Clone, Debug)]
pub(crate) struct Ratio {
    pub(crate) haul: f64,
    pub(crate) peer: f64,
    pub(crate) haul_cpu: f64,
    pub(crate) peer_cpu: f64,
    pub(crate) ratios: Vec<f64>,
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Run {
    /// Runs both sides in turn, after one run of each that is not counted.
    pub(crate) fn compare(
        &self,
        mut haul: impl FnMut(Duration) -> Sample,
        mut peer: impl FnMut(Duration) -> Sample,
    ) -> Pairs {
        haul(self.length / 4);
        peer(self.length / 4);
        self.pairs(haul, peer)
    }

    /// As [`compare`](Self::compare), with every run cut into slices by turns: for what swings within seconds, such as a disk
    /// that others use.
    pub(crate) fn compare_in_slices(
        &self,
        mut haul: impl FnMut(Duration) -> Sample,
        mut peer: impl FnMut(Duration) -> Sample,
    ) -> Pairs {
        let slice = Self { pairs: SLICES, length: self.length / SLICES as u32 };
        haul(slice.length);
        peer(slice.length);
        Pairs((0..self.pairs).map(|_| slice.pairs(&mut haul, &mut peer).mean()).collect())
    }

    fn pairs(
        &self,
        mut haul: impl FnMut(Duration) -> Sample,
        mut peer: impl FnMut(Duration) -> Sample,
    ) -> Pairs {
        let pairs = (0..self.pairs).map(|pair| match pair % 2 {
            0 => (haul(self.length), peer(self.length)),
            _ => {
                let peer = peer(self.length);
                (haul(self.length), peer)
            }
        });
        Pairs(pairs.collect())
    }
}

impl Pairs {
    /// What both sides gave over all of the pairs, which were equally long.
    fn mean(&self) -> (Sample, Sample) {
        let mean = |side: fn(&(Sample, Sample)) -> Sample| {
            let total: f64 = self.0.iter().map(|pair| side(pair).value).sum();
            let cpu: f64 = self.0.iter().map(side).map(|one| one.cpu * one.value).sum();
            Sample { value: total / self.0.len() as f64, cpu: cpu / total }
        };
        (mean(|pair| pair.0), mean(|pair| pair.1))
    }

    /// The ratio of what was measured.
    pub(crate) fn ratio(&self) -> Ratio {
        self.ratio_of(|sample| sample.value)
    }

    /// The ratio of CPU seconds per packet.
    pub(crate) fn cpu_ratio(&self) -> Ratio {
        self.ratio_of(|sample| sample.cpu)
    }

    fn ratio_of(&self, value: fn(&Sample) -> f64) -> Ratio {
        let ratios: Vec<f64> = self.0.iter().map(|(haul, peer)| value(haul) / value(peer)).collect();
        let (low, high) = interval(&ratios);
        let haul =
            |value: fn(&Sample) -> f64| median(&self.0.iter().map(|pair| value(&pair.0)).collect::<Vec<_>>());
        let peer =
            |value: fn(&Sample) -> f64| median(&self.0.iter().map(|pair| value(&pair.1)).collect::<Vec<_>>());
        Ratio {
            haul: haul(value),
            peer: peer(value),
            haul_cpu: haul(|sample| sample.cpu),
            peer_cpu: peer(|sample| sample.cpu),
            median: median(&ratios),
            ratios,
            low,
            high,
        }
    }
}

/// The middle value.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The 90 % bootstrap interval of the median, from resamples chosen by a fixed sequence.
fn interval(values: &[f64]) -> (f64, f64) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize
    };
    let mut medians: Vec<f64> = (0..2000)
        .map(|_| median(&values.iter().map(|_| values[next() % values.len()]).collect::<Vec<_>>()))
        .collect();
    medians.sort_by(f64::total_cmp);
    (medians[100], medians[1899])
}

/// CPU seconds that the process has used.
pub(crate) fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
