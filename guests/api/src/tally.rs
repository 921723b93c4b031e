//! Clones that ended, counted for their template.

use crate::model::Machines;

/// A clone's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Whether it ended because it had failed, or did more than it may.
    pub crashed: bool,
    /// For how many nanoseconds it was there.
    pub life_ns: u64,
    /// For how many of these it ran.
    pub cpu_ns: u64,
    /// KiB of memory that it had of its own.
    pub memory_kib: u64,
}

/// Of a template's clones those that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    vanished: u64,
    crashed: u64,
    life: Spread,
    cpu: Spread,
    memory: Spread,
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, end: End) {
        let count = if end.crashed { &mut self.crashed } else { &mut self.vanished };
        *count += 1;
        self.life.add(end.life_ns);
        self.cpu.add(end.cpu_ns);
        self.memory.add(end.memory_kib);
    }

    /// What there is to say of a template that has `live` clones now.
    #[must_use]
    pub fn machines(&self, live: u64) -> Machines {
        let Self { vanished, crashed, life, cpu, memory } = self;
        let ended = vanished + crashed;
        let microseconds = |nanoseconds: u64| nanoseconds / 1000;
        Machines {
            launched: live.saturating_add(ended),
            live,
            vanished: *vanished,
            crashed: *crashed,
            life_us_min: microseconds(life.least),
            life_us_mean: microseconds(life.mean(ended)),
            life_us_max: microseconds(life.most),
            life_ns_total: life.sum,
            cpu_us_mean: microseconds(cpu.mean(ended)),
            cpu_ns_total: cpu.sum,
            memory_kib_min: memory.least,
            memory_kib_mean: memory.mean(ended),
            memory_kib_max: memory.most,
            ..Machines::default()
        }
    }
}

/// Sum and ends of numbers; zeroes if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Spread {
    sum: u64,
    least: u64,
    most: u64,
    is_some: bool,
}

impl Spread {
    fn add(&mut self, value: u64) {
        self.sum = self.sum.saturating_add(value);
        self.least = if self.is_some { self.least.min(value) } else { value };
        self.most = self.most.max(value);
        self.is_some = true;
    }

    /// The mean of so many.
    fn mean(&self, count: u64) -> u64 {
        self.sum.checked_div(count).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_ended_is_counted_and_whoever_lives_was_launched() {
        let mut tally = Tally::default();
        assert_eq!(tally.machines(3), Machines { launched: 3, live: 3, ..Machines::default() });
        tally.add(End { crashed: false, life_ns: 500_000, cpu_ns: 100_000, memory_kib: 60 });
        tally.add(End { crashed: true, life_ns: 100_000, cpu_ns: 20_999, memory_kib: 64 });
        let machines = tally.machines(2);
        assert_eq!((machines.launched, machines.live, machines.vanished, machines.crashed), (4, 2, 1, 1));
        assert_eq!((machines.life_us_min, machines.life_us_mean, machines.life_us_max), (100, 300, 500));
        assert_eq!((machines.memory_kib_min, machines.memory_kib_mean, machines.memory_kib_max), (60, 62, 64));
        assert_eq!((machines.cpu_us_mean, machines.life_ns_total, machines.cpu_ns_total), (60, 600_000, 120_999));
    }

    #[test]
    fn sums_do_not_run_over() {
        let mut tally = Tally::default();
        for _ in 0..3 {
            tally.add(End { crashed: false, life_ns: u64::MAX, cpu_ns: 0, memory_kib: 0 });
        }
        assert_eq!(tally.machines(u64::MAX).launched, u64::MAX);
        assert_eq!(tally.machines(0).life_us_mean, u64::MAX / 3 / 1000);
    }
}
