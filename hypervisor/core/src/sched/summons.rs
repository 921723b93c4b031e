//! Which pCPUs hear of vCPUs that wait.

use super::Scheduler;
use crate::id::PcpuId;

impl Scheduler {
    pub(super) fn has_looked(&mut self, pcpu: PcpuId) {
        let contested = !self.queue.is_empty();
        let cpu = self.cpu(pcpu);
        (cpu.summoned, cpu.armed) = (false, contested);
        self.summons &= !bit(pcpu);
    }

    /// Whether the first in the queue would have half a slice before it came to `current`.
    pub(super) fn is_overdue(&self, current: u64) -> bool {
        self.queue.first().is_some_and(|(waiting, slot)| {
            waiting.saturating_add(self.vcpus[slot].virtual_ticks(self.slice / 2)) < current
        })
    }

    /// Tells as many idle pCPUs as vCPUs wait, and if these are too few, for each of `came` that just came to the queue a busy
    /// one.
    pub(super) fn tell(&mut self, came: usize, preferred: PcpuId, now: u64) {
        for _ in 0..self.call_idle(preferred).min(came) {
            let Some(pcpu) = self.furthest_ahead(now) else { return };
            self.summon(pcpu);
        }
    }

    /// Tells as many idle pCPUs as vCPUs wait, `preferred` before others; returns how many wait for a busy one.
    pub(super) fn call_idle(&mut self, preferred: PcpuId) -> usize {
        if self.queue.is_empty() {
            return 0;
        }
        let coming = self.pcpus.iter().filter(|cpu| cpu.runs.is_none() && cpu.summoned).count();
        let mut left = self.queue.len().saturating_sub(coming);
        while left > 0
            && let Some(idle) = self.idle_near(preferred)
        {
            self.summon(idle);
            left -= 1;
        }
        left
    }

    fn idle_near(&self, preferred: PcpuId) -> Option<PcpuId> {
        let is_idle = |pcpu: &PcpuId| {
            let cpu = &self.pcpus[usize::from(pcpu.0)];
            cpu.up && cpu.runs.is_none() && !cpu.summoned
        };
        let all = (0..self.pcpus.len()).map(|index| PcpuId(index as u8));
        [preferred].into_iter().chain(all).find(is_idle)
    }

    /// Of the busy pCPUs that do not know that somebody waits, or whose vCPU should make room at once, the one whose vCPU
    /// has come furthest.
    fn furthest_ahead(&self, now: u64) -> Option<PcpuId> {
        let unaware = (0..).zip(&self.pcpus).filter_map(|(index, cpu)| {
            let current = self.vcpus[cpu.runs?.0].virtual_time_at(now);
            let knows = cpu.summoned || cpu.armed && !self.is_overdue(current);
            (!knows).then_some((current, PcpuId(index)))
        });
        unaware.max().map(|(_, pcpu)| pcpu)
    }

    pub(super) fn summon(&mut self, pcpu: PcpuId) {
        if !core::mem::replace(&mut self.cpu(pcpu).summoned, true) {
            self.summons |= bit(pcpu);
        }
    }
}

/// A pCPU's bit in a set of them.
pub(super) const fn bit(pcpu: PcpuId) -> u64 {
    1_u64.wrapping_shl(pcpu.0 as u32)
}
