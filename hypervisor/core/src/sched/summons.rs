//! Which pCPUs hear of vCPUs that wait.

use super::Scheduler;
use crate::id::PcpuId;

impl Scheduler {
    pub(super) fn has_looked(&mut self, pcpu: PcpuId) {
        set(&mut self.armed, pcpu, !self.queue.is_empty());
        set(&mut self.summoned, pcpu, false);
        set(&mut self.summons, pcpu, false);
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
        let coming = (self.idle & self.summoned).count_ones() as usize;
        let mut left = self.queue.len().saturating_sub(coming);
        while left > 0 && self.idle & !self.summoned != 0 {
            let free = self.idle & !self.summoned;
            let lowest = PcpuId(free.trailing_zeros() as u8);
            self.summon(if free & bit(preferred) != 0 { preferred } else { lowest });
            left -= 1;
        }
        left
    }

    /// Of the busy pCPUs that do not know that somebody waits, or whose vCPU should make room at once, the one whose vCPU
    /// has come furthest.
    fn furthest_ahead(&self, now: u64) -> Option<PcpuId> {
        let unaware = (0..).zip(&self.pcpus).filter_map(|(index, cpu)| {
            let current = self.vcpus[cpu.runs?.0].virtual_time_at(now);
            let pcpu = PcpuId(index);
            let armed = self.armed & bit(pcpu) != 0;
            let knows = self.summoned & bit(pcpu) != 0 || armed && !self.is_overdue(current);
            (!knows).then_some((current, pcpu))
        });
        unaware.max().map(|(_, pcpu)| pcpu)
    }

    pub(super) fn summon(&mut self, pcpu: PcpuId) {
        self.summons |= bit(pcpu) & !self.summoned;
        self.summoned |= bit(pcpu);
    }
}

/// A pCPU's bit in a set of them.
pub(super) const fn bit(pcpu: PcpuId) -> u64 {
    1_u64.wrapping_shl(pcpu.0 as u32)
}

/// Puts a pCPU into a set or takes it out.
pub(super) const fn set(pcpus: &mut u64, pcpu: PcpuId, member: bool) {
    *pcpus = *pcpus & !bit(pcpu) | if member { bit(pcpu) } else { 0 };
}
