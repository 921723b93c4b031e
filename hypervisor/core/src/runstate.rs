//! How long a vCPU ran, waited for a pCPU and slept (`struct vcpu_runstate_info`): from this a guest sees what time was stolen.

use xen_abi::vcpu::{RunstateInfo, runstate};

use crate::sched::Leaving;

/// A vCPU's record. Times are nanoseconds of the machine's counter.
#[derive(Clone, Copy, Debug)]
pub struct Runstate {
    /// As the guest sees it.
    pub info: RunstateInfo,
}

impl Runstate {
    /// A vCPU that is switched off since `now`.
    pub const fn new(now: u64) -> Self {
        let state = runstate::OFFLINE;
        Self { info: RunstateInfo { state, pad: 0, state_entry_time: now, time: [0; 4] } }
    }

    /// It runs from `now` on, and could have from `ready` on.
    pub fn enter(&mut self, ready: u64, now: u64) {
        self.change(runstate::RUNNABLE, ready.min(now));
        self.change(runstate::RUNNING, now);
    }

    /// It has left its pCPU.
    pub fn leave(&mut self, why: Leaving, now: u64) {
        let state = match why {
            Leaving::Preempted | Leaving::Yielded => runstate::RUNNABLE,
            Leaving::Blocked { .. } => runstate::BLOCKED,
            Leaving::Offline => runstate::OFFLINE,
        };
        self.change(state, now);
    }

    fn change(&mut self, state: u32, now: u64) {
        let now = now.max(self.info.state_entry_time);
        if let Some(time) = self.info.time.get_mut(self.info.state as usize) {
            *time += now - self.info.state_entry_time;
        }
        self.info.state_entry_time = now;
        self.info.state = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nanosecond_is_counted_once() {
        let mut record = Runstate::new(100);
        record.enter(150, 170);
        record.leave(Leaving::Preempted, 270);
        record.enter(270, 300);
        record.leave(Leaving::Blocked { deadline: None }, 310);
        // Woken at 500, had its turn at 540.
        record.enter(500, 540);
        record.leave(Leaving::Offline, 600);
        assert_eq!(record.info.time, [100 + 10 + 60, 20 + 30 + 40, 190, 50]);
        assert_eq!((record.info.state, record.info.state_entry_time), (3, 600));
        assert_eq!(record.info.time.iter().sum::<u64>(), 500);
    }

    #[test]
    fn a_clock_that_seems_to_go_back_does_not() {
        let mut record = Runstate::new(100);
        record.enter(500, 400);
        record.leave(Leaving::Yielded, 300);
        assert_eq!(record.info.time, [0, 0, 0, 300]);
    }
}
