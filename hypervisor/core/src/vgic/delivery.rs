//! List registers filled and emptied.

use super::bank::take_lowest;
use super::cpu::{Attention, Snapshot};
use super::intid::IntId;
use super::lr::{Hcr, ListRegister, ListRegisters, MAX_LIST_REGISTERS};
use super::queue::Queue;
use super::set::VcpuSet;
use super::{Flushed, Groups, VGic};
use crate::id::VcpuId;

impl VGic {
    /// Puts what is due for `vcpu` into its live list registers, the highest priority first.
    pub fn flush(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters) -> Flushed {
        let groups = self.groups;
        let Some(cpu) = self.cpu_mut(vcpu) else {
            return Flushed { control: Hcr::BASE, release: 0, notify: VcpuSet::EMPTY };
        };
        let simple = cpu.attention == Attention::New && cpu.control == Hcr::BASE;
        if simple && cpu.list_new(groups, lrs) {
            cpu.attention = Attention::None;
            return Flushed { control: Hcr::BASE, release: 0, notify: VcpuSet::EMPTY };
        }
        self.relist(vcpu, lrs)
    }

    /// Takes all that `vcpu`'s live list registers hold back into software, at a maintenance
    /// interrupt and when the vCPU blocks or leaves its CPU. A flush is due after it if anything
    /// was left. Returns which others must look again.
    pub fn sync(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters) -> VcpuSet {
        let mut notify = VcpuSet::EMPTY;
        self.recall(vcpu, lrs, &mut notify);
        if let Some(cpu) = self.cpu_mut(vcpu) {
            cpu.snapshot = Snapshot::None;
        }
        notify.remove(vcpu);
        notify
    }

    /// `vcpu` wrote `value` to `ICC_DIR_EL1`, which does nothing while the end of an interrupt
    /// deactivates it. Returns which others must look again.
    pub fn deactivate(&mut self, vcpu: VcpuId, value: u64, lrs: &mut impl ListRegisters) -> VcpuSet {
        /// `ICC_DIR_EL1.INTID` (IHI0069 §12.2.8).
        const INTID: u64 = 0xff_ffff;
        let mut notify = VcpuSet::EMPTY;
        if let Some(intid) = IntId::new((value & INTID) as u32)
            && lrs.vmcr().splits_end()
        {
            self.recall(vcpu, lrs, &mut notify);
            if let Some(bank) = self.bank_of(vcpu, intid) {
                bank.set_active(intid.mask(), false);
                self.touch(vcpu, intid, &mut notify);
            }
            notify.remove(vcpu);
        }
        notify
    }

    /// `vcpu` was switched off: its private interrupts are as after a reset, their lines apart, and
    /// shared ones that it was offered are pending again. One that it had taken stays active, its
    /// to end when it runs again. Its list registers are the live ones.
    /// Returns which others must look again.
    pub fn reset_vcpu(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters) -> VcpuSet {
        let mut notify = VcpuSet::EMPTY;
        self.recall(vcpu, lrs, &mut notify);
        if let Some(cpu) = self.cpu_mut(vcpu) {
            cpu.reset();
            self.choose_any(&mut notify);
        }
        notify.remove(vcpu);
        notify
    }

    /// Empties the list registers into software.
    pub(super) fn recall(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters, notify: &mut VcpuSet) {
        let groups = self.groups;
        if self.cpu(vcpu).is_some_and(|cpu| cpu.used == 0 && cpu.control == Hcr::BASE) {
            return;
        }
        self.end_uncounted(vcpu, lrs, notify);
        let Some(cpu) = self.cpu_mut(vcpu) else {
            return;
        };
        let (mut used, held) = (core::mem::take(&mut cpu.used), cpu.lr);
        let mut left = cpu.control != Hcr::BASE;
        while let Some(n) = take_lowest(&mut used) {
            let n = n as usize;
            let register = lrs.get(n);
            lrs.set(n, ListRegister::EMPTY);
            left |= register.is_pending() || register.is_active();
            let Some(&intid) = held.get(n) else {
                continue;
            };
            if let Some(bank) = self.bank_of(vcpu, intid) {
                bank.unlist(intid.mask(), register.is_pending(), register.is_active());
            }
            if !intid.is_private() {
                self.touch(vcpu, intid, notify);
            }
        }
        if let Some(cpu) = self.cpu_mut(vcpu)
            && (cpu.touch(u32::MAX, groups) || left)
        {
            cpu.attend(Attention::All);
        }
    }

    /// Ends active interrupts that were in no list register, as often as the guest did.
    ///
    /// The CPU counts such ends without saying which. The guest ends interrupts in the reverse order of taking
    /// them, so it was the one of the highest priority (unless the guest changed priorities since, to
    /// its own confusion). A guest that splits end and
    /// deactivation says which by `ICC_DIR_EL1`: see [`Self::deactivate`].
    fn end_uncounted(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters, notify: &mut VcpuSet) {
        if !self.control(vcpu).is_counted() {
            return;
        }
        let ended = lrs.take_end_count();
        if lrs.vmcr().splits_end() {
            return;
        }
        for _ in 0..ended {
            let mut first = Queue::new(1);
            self.each_active(vcpu, &mut first);
            let Some(intid) = first.iter().next() else {
                return;
            };
            if let Some(bank) = self.bank_of(vcpu, intid) {
                bank.set_active(intid.mask(), false);
                self.touch(vcpu, intid, notify);
            }
        }
    }

    /// Fills the list registers from scratch: with what is active, so that the guest's end of it
    /// needs no help, but for at least one register with what is pending.
    // Not inlined: the path of one new interrupt must not pay for this one's stack frame.
    #[cold]
    #[inline(never)]
    fn relist(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters) -> Flushed {
        let mut notify = VcpuSet::EMPTY;
        self.wake(vcpu, &mut notify);
        self.recall(vcpu, lrs, &mut notify);
        let count = lrs.count().min(MAX_LIST_REGISTERS);
        let (mut active, mut pending) = (Queue::new(count), Queue::new(count));
        self.each_active(vcpu, &mut active);
        self.each_due(vcpu, &mut pending);
        let taken = active.len().min(count.saturating_sub(usize::from(pending.len() > 0)));
        let offered = pending.len().min(count - taken);

        let mut control = Hcr::BASE;
        let mut again = self.cpu(vcpu).map_or(Groups::NONE, |cpu| cpu.groups(self.groups));
        if active.overflowed() || taken < active.len() {
            control = control.counted();
        }
        if pending.overflowed() || offered < pending.len() {
            control = control.refilled();
            // What is active and pending would count as pending, and put off the refill.
            again = Groups::NONE;
        }
        for (n, intid) in active.iter().take(taken).enumerate() {
            lrs.set(n, self.resume(vcpu, n, intid, again));
        }
        for (n, intid) in (taken..).zip(pending.iter().take(offered)) {
            lrs.set(n, self.offer(vcpu, n, intid));
        }
        notify.remove(vcpu);
        let release = self.cpu_mut(vcpu).map_or(0, |cpu| cpu.flushed(control));
        Flushed { control, release, notify }
    }

    /// A vCPU that is flushed runs.
    fn wake(&mut self, vcpu: VcpuId, notify: &mut VcpuSet) {
        if let Some(cpu) = self.cpu_mut(vcpu)
            && core::mem::take(&mut cpu.off)
        {
            self.choose_any(notify);
        }
    }

    /// Lists an interrupt that is due in `vcpu`'s list register `n`.
    fn offer(&mut self, vcpu: VcpuId, n: usize, intid: IntId) -> ListRegister {
        let Some(cpu) = self.cpu_mut(vcpu) else {
            return ListRegister::EMPTY;
        };
        if intid.is_private() {
            return cpu.offer(n, intid);
        }
        cpu.hold(n, intid);
        let Some(shared) = self.shared_mut(intid) else {
            return ListRegister::EMPTY;
        };
        shared.set_holder(intid.bit(), vcpu);
        shared.bank.offer(intid)
    }

    /// Lists an interrupt that is active in `vcpu`'s list register `n`, as pending too if it is so
    /// and of one of `groups`.
    fn resume(&mut self, vcpu: VcpuId, n: usize, intid: IntId, groups: Groups) -> ListRegister {
        let any = self.any;
        let Some(cpu) = self.cpu_mut(vcpu) else {
            return ListRegister::EMPTY;
        };
        if intid.is_private() {
            return cpu.resume(n, intid, groups);
        }
        cpu.hold(n, intid);
        let Some(shared) = self.shared_mut(intid) else {
            return ListRegister::EMPTY;
        };
        let forwarded = shared.bank.forwarded(groups) & intid.mask() != 0;
        let mine = shared.route(intid).target(any) == Some(vcpu);
        shared.bank.resume(intid, forwarded && mine)
    }

    /// Queues what `vcpu` has taken and not ended and no list register holds.
    fn each_active(&self, vcpu: VcpuId, queue: &mut Queue) {
        let Some(cpu) = self.cpu(vcpu) else {
            return;
        };
        queue.push_all(&cpu.bank, 0, cpu.bank.active & !cpu.bank.listed);
        for (shared, bank) in self.shared.iter().zip(1..) {
            let active = shared.held_by(vcpu, shared.bank.active & !shared.bank.listed);
            queue.push_all(&shared.bank, bank, active);
        }
    }

    /// Queues what is due for `vcpu` and in no list register.
    fn each_due(&self, vcpu: VcpuId, queue: &mut Queue) {
        let Some(cpu) = self.cpu(vcpu).filter(|cpu| !cpu.asleep) else {
            return;
        };
        queue.push_all(&cpu.bank, 0, cpu.bank.due(self.groups) & !cpu.bank.listed);
        for (shared, bank) in self.shared.iter().zip(1..) {
            let due = self.due_to(vcpu, shared) & !shared.bank.listed;
            queue.push_all(&shared.bank, bank, due);
        }
    }
}
