//! List registers filled and emptied.

use super::bank::{Bank, bits};
use super::cpu::{Attention, Snapshot};
use super::intid::IntId;
use super::lr::{Hcr, ListRegister, ListRegisters, MAX_LIST_REGISTERS};
use super::queue::Queue;
use super::set::VcpuSet;
use super::{Flushed, VGic};
use crate::id::VcpuId;

impl VGic {
    /// Puts what is due for `vcpu` into its live list registers, the highest priority first.
    #[inline]
    pub fn flush(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters) -> Flushed {
        let forwarding = self.forwarding;
        let Some(cpu) = self.cpu_mut(vcpu) else { return Flushed::NOTHING };
        let simple = cpu.attention == Attention::New && cpu.control == Hcr::BASE;
        if simple && cpu.list_new(forwarding, lrs) {
            cpu.attention = Attention::None;
            return Flushed::NOTHING;
        }
        self.relist(vcpu, lrs)
    }

    /// Takes all that `vcpu`'s live list registers hold back into software, at a maintenance
    /// interrupt and when the vCPU blocks or leaves its CPU. A flush is due after it if anything
    /// was left. Returns which others must look again.
    pub fn sync(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters) -> VcpuSet {
        self.recall(vcpu, lrs);
        if let Some(cpu) = self.cpu_mut(vcpu) {
            cpu.snapshot = Snapshot::None;
        }
        self.take_told(Some(vcpu))
    }

    /// `vcpu` wrote `value` to `ICC_DIR_EL1`, which does nothing while the end of an interrupt
    /// deactivates it. Returns which others must look again.
    pub fn deactivate(&mut self, vcpu: VcpuId, value: u64, lrs: &mut impl ListRegisters) -> VcpuSet {
        /// `ICC_DIR_EL1.INTID` (IHI0069 §12.2.8).
        const INTID: u64 = 0xff_ffff;
        if let Some(intid) = IntId::new((value & INTID) as u32)
            && lrs.vmcr().splits_end()
        {
            self.recall(vcpu, lrs);
            self.change(vcpu, intid, |bank| bank.set_active(intid.mask(), false));
        }
        self.take_told(Some(vcpu))
    }

    /// `vcpu` was switched off: its private interrupts are as after a reset, their lines apart, and
    /// shared ones that it was offered are pending again. One that it had taken stays active, its
    /// to end when it runs again. Its list registers are the live ones.
    /// Returns which others must look again.
    pub fn reset_vcpu(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters) -> VcpuSet {
        self.recall(vcpu, lrs);
        if let Some(cpu) = self.cpu_mut(vcpu) {
            cpu.reset(vcpu);
            self.choose_any();
        }
        self.take_told(Some(vcpu))
    }

    /// Empties the list registers into software.
    fn recall(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters) {
        if self.cpu(vcpu).is_none_or(|cpu| cpu.used == 0 && cpu.control == Hcr::BASE) {
            return;
        }
        self.end_uncounted(vcpu, lrs);
        let Some(cpu) = self.cpu_mut(vcpu) else { return };
        let mut left = cpu.control != Hcr::BASE;
        for n in bits(core::mem::take(&mut cpu.used)) {
            let register = lrs.get(n);
            lrs.set(n, ListRegister::EMPTY);
            let (pending, active) = (register.is_pending(), register.is_active());
            left |= pending || active;
            if let Some(intid) = register.intid() {
                self.change(vcpu, intid, |bank| bank.unlist(intid.mask(), pending, active));
            }
        }
        if left {
            self.attend(vcpu);
        }
    }

    /// Ends active interrupts that were in no list register, as often as the guest did.
    ///
    /// The CPU counts such ends without saying which. The guest ends interrupts in the reverse order of taking
    /// them, so it was the one of the highest priority (unless the guest changed priorities since, to
    /// its own confusion). A guest that splits end and
    /// deactivation says which by `ICC_DIR_EL1`: see [`Self::deactivate`].
    fn end_uncounted(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters) {
        if self.cpu(vcpu).is_none_or(|cpu| cpu.control.0 & Hcr::COUNTED == 0) {
            return;
        }
        let ended = lrs.take_end_count();
        if lrs.vmcr().splits_end() {
            return;
        }
        for _ in 0..ended {
            let first = self.queue(vcpu, 1, |bank| bank.held_by(vcpu, bank.active));
            let Some(intid) = first.iter().next() else { return };
            self.change(vcpu, intid, |bank| bank.set_active(intid.mask(), false));
        }
    }

    /// Fills the list registers from scratch: with what is active, so that the guest's end of it
    /// needs no help, but for at least one register with what is pending.
    // Not inlined: the path of one new interrupt must not pay for this one's stack frame.
    #[cold]
    #[inline(never)]
    fn relist(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters) -> Flushed {
        self.recall(vcpu, lrs);
        let Some(cpu) = self.cpu_mut(vcpu) else { return Flushed::NOTHING };
        let awake = !cpu.asleep;
        if core::mem::take(&mut cpu.off) {
            self.choose_any();
        }
        let forwarding = self.forwarding;
        let count = lrs.count().min(MAX_LIST_REGISTERS);
        let active = self.queue(vcpu, count, |bank| bank.held_by(vcpu, bank.active));
        let pending = self.queue(vcpu, count, |bank| if awake { bank.due_to(vcpu, forwarding) } else { 0 });
        let taken = active.len().min(count.saturating_sub(usize::from(pending.queued > 0)));
        let offered = pending.len().min(count - taken);
        let refilled = pending.queued > offered;
        let control = Hcr::BASE.with(Hcr::COUNTED, active.queued > taken).with(Hcr::REFILLED, refilled);
        let active = active.iter().take(taken).map(|intid| (intid, true));
        let pending = pending.iter().take(offered).map(|intid| (intid, false));
        for (n, (intid, is_active)) in active.chain(pending).enumerate() {
            let Some(bank) = self.bank(vcpu, intid) else { continue };
            bank.holders[intid.bit()] = vcpu;
            // What is active and pending would count as pending, and put off the refill.
            let deliver = awake && !refilled && bank.goes_to(vcpu, intid, forwarding);
            lrs.set(n, if is_active { bank.resume(intid, deliver) } else { bank.offer(intid) });
            self.cpu_mut(vcpu).into_iter().for_each(|cpu| cpu.hold(n, intid));
        }
        if let Some(cpu) = self.cpu_mut(vcpu) {
            cpu.control = control;
            cpu.attention = Attention::None;
            cpu.snapshot = if cpu.snapshot == Snapshot::Wanted { Snapshot::Taken } else { Snapshot::None };
        }
        let release = self.banks(vcpu).any(|bank| bank.released() != 0);
        Flushed { control, release, notify: self.take_told(Some(vcpu)) }
    }

    /// The first `room` of the interrupts that `pick` picks for `vcpu` and that are in no list register.
    fn queue(&self, vcpu: VcpuId, room: usize, pick: impl Fn(&Bank) -> u32) -> Queue {
        let mut queue = Queue::new(room);
        for (number, bank) in self.banks(vcpu).enumerate() {
            queue.push_all(bank, number, pick(bank) & !bank.listed);
        }
        queue
    }
}
