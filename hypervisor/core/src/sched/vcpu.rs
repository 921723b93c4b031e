//! What the scheduler knows of a vCPU, and its virtual time.

use crate::id::PcpuId;

/// Weight of a vCPU whose configuration names none, as credit2's.
pub const DEFAULT_WEIGHT: u32 = 256;

/// What a vCPU is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not in use.
    Free,
    /// Switched off.
    #[default]
    Offline,
    /// Waits for its turn.
    Queued,
    /// Would wait for its turn if it were not paused, or had not had all that it may have for now.
    Held,
    /// It runs.
    Running {
        /// Where.
        pcpu: PcpuId,
        /// From which tick on what it runs is not reckoned yet.
        since: u64,
    },
    /// Waits for something to happen.
    Blocked,
    /// Never to run again.
    Retired,
}

#[derive(Debug, Default)]
pub struct Vcpu {
    pub state: State,
    weight: u32,
    // In ticks of a vCPU of the default weight.
    pub virtual_time: u64,
    pub ran: u64,
    /// Since when it can run.
    pub ready: u64,
    pub last: PcpuId,
    // What came while it ran: a wake, or its being switched on anew.
    pub woken: bool,
    pub started: bool,
    pub paused: bool,
    // Hundredths of a pCPU that it may have, if not as much as it can; the ticks of a period that these are; when the period ends, and
    // what it had run when it began.
    percent: u32,
    cap: Option<u64>,
    period_end: u64,
    ran_before: u64,
}

/// A period, in slices.
const PERIOD: u64 = 4;

impl Vcpu {
    /// One that is switched off and has not run yet.
    pub fn new(weight: u32) -> Self {
        Self { weight: weight.max(1), ..Self::default() }
    }

    /// Its weight and its cap.
    pub fn parameters(&self) -> (u32, u32) {
        (self.weight, self.percent)
    }

    /// Sets its weight and how many hundredths of a pCPU it may have at most, or as much as it can where that is 0; slices are
    /// `slice` ticks.
    pub fn set_parameters(&mut self, weight: u32, percent: u32, slice: u64) {
        (self.weight, self.percent) = (weight.max(1), percent);
        self.cap = (percent != 0).then(|| (slice * PERIOD * u64::from(percent) / 100).max(1));
    }

    /// Whether it may not have as much as it can.
    pub fn is_capped(&self) -> bool {
        self.cap.is_some()
    }

    /// Until when it has to wait at tick `now` because it had what it may have, once it is [charged](Self::charge).
    pub fn throttled(&mut self, now: u64, slice: u64) -> Option<u64> {
        let cap = self.cap?;
        if now >= self.period_end {
            (self.period_end, self.ran_before) = (now + slice * PERIOD, self.ran);
        }
        (self.ran - self.ran_before >= cap).then_some(self.period_end)
    }

    /// When it will have had what it may have, if it goes on from tick `now`.
    pub fn spent_at(&self, now: u64) -> Option<u64> {
        self.cap.map(|cap| now + cap.saturating_sub(self.ran - self.ran_before))
    }

    /// For how many ticks it has run at tick `now`.
    pub fn ran_at(&self, now: u64) -> u64 {
        let State::Running { since, .. } = self.state else { return self.ran };
        self.ran.saturating_add(now.saturating_sub(since))
    }

    /// Its virtual time at tick `now`.
    pub fn virtual_time_at(&self, now: u64) -> u64 {
        let State::Running { since, .. } = self.state else { return self.virtual_time };
        self.virtual_time.saturating_add(self.virtual_ticks(now.saturating_sub(since)))
    }

    /// Reckons its turn up to tick `now`; `false` if it does not run.
    pub fn charge(&mut self, now: u64) -> bool {
        self.virtual_time = self.virtual_time_at(now);
        self.ran = self.ran_at(now);
        let State::Running { since, .. } = &mut self.state else { return false };
        *since = now;
        true
    }

    /// By how much its virtual time advances in so many ticks.
    pub fn virtual_ticks(&self, ticks: u64) -> u64 {
        ticks.saturating_mul(u64::from(DEFAULT_WEIGHT)) / u64::from(self.weight)
    }

    /// Takes from it what credit it has beyond one slice.
    pub fn limit_credit(&mut self, floor: u64, slice: u64) {
        let least = floor.saturating_sub(self.virtual_ticks(slice));
        self.virtual_time = self.virtual_time.max(least);
    }
}
