//! Physical interrupts while a guest runs, what reaches it of them, and its waiting for them.

use alloc::sync::Arc;

use mote_core::id::VcpuId;
use mote_core::sched::Leaving;
use mote_core::timer::{earliest, virtual_deadline};
use mote_core::vgic::{ListRegisters, VGic, VcpuSet};
use mote_platform::guest::After;
use mote_platform::{cpu, syndrome, timer};

use super::Session;
use crate::domain::Domain;
use crate::interface::Live;
use crate::machine::machine;
use crate::passthrough;
use crate::pcpu::{Cause, PHYSICAL_TIMER, VIRTUAL_TIMER};
use crate::stats::ExitReason;

impl Session<'_> {
    /// Before the vCPU goes on after it was away: what came for it meanwhile.
    pub fn settle(&mut self) {
        self.domain.events.lock().end_poll(self.vcpu.id);
        self.update_timer_line(timer::now());
        self.with_vgic(|_, _| VcpuSet::EMPTY);
    }

    /// Serves one interrupt: seldom is another one pending, and that one comes by itself.
    pub(super) fn physical_interrupt(&mut self) -> After {
        match self.pcpu.acknowledge() {
            Some(Cause::VirtualTimer) => {
                let physical = self.pcpu.wiring.virtual_timer;
                self.with_vgic(|vgic, vcpu| vgic.raise_hw(vcpu, VIRTUAL_TIMER, physical));
            }
            Some(Cause::Device(intid)) => passthrough::deliver(intid, |domain, set| {
                if Arc::ptr_eq(domain, self.domain) { self.notify(set) } else { self.wake(domain, set) }
            }),
            Some(Cause::Maintenance) => self.with_vgic(|vgic, vcpu| vgic.sync(vcpu, &mut Live)),
            Some(Cause::Console) => machine().read_console(),
            Some(Cause::Kick | Cause::Alarm) => return self.look(),
            None => {}
        }
        After::Resume
    }

    /// Something may have come for this vCPU, or another one wants its pCPU.
    fn look(&mut self) -> After {
        if self.domain.has_ended() || self.domain.check_watchdog() {
            return self.leave(Leaving::Offline);
        }
        match machine().review(self.pcpu.id) {
            Err(leaving) => self.leave(leaving),
            Ok(alarm) => {
                self.pcpu.set_alarm(alarm);
                self.update_timer_line(timer::now());
                self.with_vgic(|_, _| VcpuSet::EMPTY);
                After::Resume
            }
        }
    }

    /// Does something to the virtual GIC. What is due to this vCPU then goes into its list registers; the others that must look
    /// are woken.
    pub(super) fn with_vgic(&mut self, change: impl FnOnce(&mut VGic, VcpuId) -> VcpuSet) {
        let mut vgic = self.domain.vgic.lock();
        let mut others = change(&mut vgic, self.vcpu.id);
        if vgic.needs_flush(self.vcpu.id) {
            others = others.without(self.itself).union(self.flush(&mut vgic));
        }
        drop(vgic);
        self.wake(self.domain, others);
    }

    // Not inlined: it is long, and many change something.
    #[inline(never)]
    fn flush(&mut self, vgic: &mut VGic) -> VcpuSet {
        vgic.flush(self.vcpu.id, &mut Live, |intid| self.pcpu.release(intid))
    }

    /// Lets every vCPU of `set` look at its interrupts again: this one at once.
    pub(super) fn notify(&mut self, set: VcpuSet) {
        if set.contains(self.vcpu.id) {
            self.with_vgic(|_, _| set);
        } else {
            self.wake(self.domain, set);
        }
    }

    /// Wakes vCPUs of a domain, of which this is none.
    pub(super) fn wake(&mut self, domain: &Domain, set: VcpuSet) {
        if !set.is_empty() {
            domain.wake_each(set, |slot| machine().wake_from(slot, self.pcpu));
        }
    }

    /// Drives the physical timer's line to what it is at tick `now`, and sets the alarm for its next change. Returns when the alarm
    /// rings.
    pub(super) fn update_timer_line(&mut self, now: u64) -> Option<u64> {
        if let Some(level) = self.state.timer.line_change(now) {
            self.with_vgic(|vgic, vcpu| vgic.set_line(vcpu, PHYSICAL_TIMER, level));
        }
        let deadline = earliest(self.state.timer.deadline(now), self.domain.watchdog());
        self.pcpu.set_timer_deadline(deadline);
        deadline
    }

    /// Has the domain's other vCPUs keep its watchdog as well: the one that set it may be off when it runs out.
    pub(super) fn share_watchdog(&self) {
        if self.domain.watchdog().is_some() {
            let others = self.domain.vcpus.iter().filter(|vcpu| vcpu.id != self.vcpu.id);
            others.for_each(|vcpu| machine().wake(vcpu.slot));
        }
    }

    /// `WFI` gives the pCPU up until an interrupt comes, `WFE` until everybody else had a turn.
    #[inline(never)]
    pub(super) fn wait(&mut self, is_event: bool) -> After {
        self.state.exits.count(ExitReason::Wait);
        syndrome::skip_instruction();
        let leaving = if is_event { self.yield_pcpu() } else { self.wait_for_interrupt() };
        self.leave_if(leaving)
    }

    /// Lets everybody else have a turn, if there is anybody.
    pub(super) fn yield_pcpu(&self) -> Option<Leaving> {
        let is_contested = machine().is_contested();
        if !is_contested {
            cpu::relax();
        }
        is_contested.then_some(Leaving::Yielded)
    }

    /// Why it leaves to wait for an interrupt, unless one is there.
    pub(super) fn wait_for_interrupt(&mut self) -> Option<Leaving> {
        // One tick for both: the physical timer has either raised its line by then, or has a deadline.
        let now = timer::now();
        let alarm = self.update_timer_line(now);
        let (control, compare) = timer::virtual_timer();
        let deadline = earliest(virtual_deadline(control, compare, self.state.system.cntvoff_el2), alarm);
        let is_there = deadline.is_some_and(|deadline| deadline <= timer::now()) || self.is_deliverable();
        (!is_there).then_some(Leaving::Blocked { deadline })
    }

    fn is_deliverable(&mut self) -> bool {
        let mut deliverable = false;
        self.with_vgic(|vgic, vcpu| {
            // Which interrupts the guest has ended, only the list registers know.
            let others = vgic.sync(vcpu, &mut Live);
            deliverable = vgic.deliverable(vcpu, Live.vmcr());
            others
        });
        deliverable
    }
}
