//! Which pCPUs hear of vCPUs that wait.

use super::{Pcpu, Scheduler};
use crate::id::PcpuId;

impl Scheduler {
    pub(super) fn has_looked(&mut self, pcpu: PcpuId) {
        let contested = !self.queue.is_empty();
        if let Some(cpu) = self.pcpus.get_mut(usize::from(pcpu.0)) {
            cpu.summoned = false;
            cpu.armed = contested;
            self.summons &= !bit(pcpu);
        }
    }

    /// Whether the first in the queue would have half a slice before it came to `current`.
    pub(super) fn is_overdue(&self, current: u64) -> bool {
        self.queue.first().is_some_and(|(waiting, slot)| {
            let half = self.vcpus.get(slot).map_or(0, |vcpu| vcpu.virtual_ticks(self.slice / 2));
            waiting.saturating_add(half) < current
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

    pub(super) fn idle_near(&self, preferred: PcpuId) -> Option<PcpuId> {
        let is_idle = |cpu: &Pcpu| cpu.up && cpu.runs.is_none() && !cpu.summoned;
        let first_choice = self.pcpus.get(usize::from(preferred.0)).filter(|cpu| is_idle(cpu));
        first_choice.map(|_| preferred).or_else(|| self.pcpus.iter().position(is_idle).map(|index| PcpuId(index as u8)))
    }

    /// Of the busy pCPUs that do not know that somebody waits, or whose vCPU should make room at once, the one whose vCPU
    /// has come furthest.
    pub(super) fn furthest_ahead(&self, now: u64) -> Option<PcpuId> {
        let unaware = (0..).zip(&self.pcpus).filter_map(|(index, cpu)| {
            let current = self.virtual_time_now(cpu.runs?, now);
            let knows = cpu.summoned || cpu.armed && !self.is_overdue(current);
            (!knows).then_some((current, PcpuId(index)))
        });
        unaware.max().map(|(_, pcpu)| pcpu)
    }

    pub(super) fn summon(&mut self, pcpu: PcpuId) {
        if let Some(cpu) = self.pcpus.get_mut(usize::from(pcpu.0))
            && !core::mem::replace(&mut cpu.summoned, true)
        {
            self.summons |= bit(pcpu);
        }
    }
}

/// A pCPU's bit in a set of them.
pub(super) const fn bit(pcpu: PcpuId) -> u64 {
    1_u64.wrapping_shl(pcpu.0 as u32)
}
