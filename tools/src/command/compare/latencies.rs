//! How long answers took, of which there are many.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::command::load::PERCENTILES;
use crate::load;

/// Parts of a power of ten in which latencies are counted.
const PARTS: f64 = 10.0;
/// Parts into which the curve of all answers is cut.
const CUTS: usize = 200;

/// Times in nanoseconds, shortest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies(Vec<u64>);

/// How many times are below a bound, but not below that of the part before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Part {
    /// From here on.
    pub from_ns: f64,
    /// Below this.
    pub below_ns: f64,
    /// So many.
    pub count: usize,
}

impl Latencies {
    /// These.
    #[must_use]
    pub fn new(mut nanoseconds: Vec<u64>) -> Self {
        nanoseconds.sort_unstable();
        Self(nanoseconds)
    }

    /// These, as a clock of this machine has measured them.
    #[must_use]
    pub fn of(times: &[Duration]) -> Self {
        Self::new(times.iter().map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).collect())
    }

    /// What `per_mille` of all are not longer than.
    #[must_use]
    pub fn percentile(&self, per_mille: usize) -> Option<u64> {
        load::percentile(&self.0, per_mille)
    }

    /// How many there are of each length, where ten parts make a factor of ten. Parts without any stand between others.
    #[must_use]
    pub fn histogram(&self) -> Vec<Part> {
        let part = |nanoseconds: &u64| ((*nanoseconds).max(1) as f64).log10() * PARTS;
        let (Some(first), Some(last)) = (self.0.first().map(part), self.0.last().map(part)) else { return Vec::new() };
        let parts = first.floor() as i32..=last.floor() as i32;
        let bound = |part: i32| 10_f64.powf(f64::from(part) / PARTS);
        let count = |wanted: i32| self.0.iter().filter(|time| part(time).floor() as i32 == wanted).count();
        parts.map(|it| Part { from_ns: bound(it), below_ns: bound(it + 1), count: count(it) }).collect()
    }

    /// Which part of all, in per cent, took no longer than what.
    pub fn shares(&self) -> impl Iterator<Item = (u64, f64)> {
        (0..=CUTS).filter_map(|cut| {
            let share = cut as f64 * 100.0 / CUTS as f64;
            Some((self.percentile(cut * 1000 / CUTS)?, share))
        })
    }
}

impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Figures {
            percentiles_ns: std::collections::BTreeMap<&'static str, Option<u64>>,
            histogram: Vec<Part>,
        }
        let percentiles_ns = PERCENTILES.map(|(name, rank)| (name, self.percentile(rank))).into();
        Figures { percentiles_ns, histogram: self.histogram() }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let latencies = Latencies::new((1..=200).rev().collect());
        for (per_mille, value) in [(0, 1), (500, 100), (900, 180), (990, 198), (1000, 200)] {
            assert_eq!(latencies.percentile(per_mille), Some(value));
        }
        assert_eq!(latencies.shares().last(), Some((200, 100.0)));
        assert_eq!(Latencies::default().percentile(500), None);
    }

    #[test]
    fn a_histogram_counts_each_once() {
        let histogram = Latencies::of(&[1, 1, 2, 100].map(Duration::from_micros)).histogram();
        assert_eq!(histogram.iter().map(|part| part.count).sum::<usize>(), 4);
        assert_eq!((histogram[0].count, histogram.last().map(|part| part.count)), (2, Some(1)));
        assert_eq!(histogram.len(), 21);
        assert!(histogram.windows(2).all(|pair| pair[0].below_ns == pair[1].from_ns));
        assert_eq!(Latencies::default().histogram(), []);
        assert_eq!(Latencies::new(vec![0]).histogram()[0].count, 1);
    }
}
