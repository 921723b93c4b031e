//! List registers filled and emptied.

use super::VGic;
use super::bank::{Bank, bits};
use super::cpu::Attention;
use super::intid::IntId;
use super::lr::{Hcr, ListRegister, ListRegisters, MAX_LIST_REGISTERS};
use super::set::VcpuSet;
use crate::id::VcpuId;

impl VGic {
    /// Puts what is due for `vcpu` into its live list registers, the highest priority first. Physical interrupts whose
    /// virtual ones vanished without the guest's deactivating them are to `release`. Returns which others must look again.
    #[inline]
    pub fn flush(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters, release: impl FnMut(IntId)) -> VcpuSet {
        let forwarding = self.forwarding;
        let Some(cpu) = self.cpu_mut(vcpu) else { return VcpuSet::EMPTY };
        let simple = cpu.attention == Attention::New && cpu.control == Hcr::BASE;
        if simple && cpu.list_new(forwarding, lrs) {
            cpu.attention = Attention::None;
            return VcpuSet::EMPTY;
        }
        self.relist(vcpu, lrs, release)
    }

    /// Takes all that `vcpu`'s live list registers hold back into software, at a maintenance
    /// interrupt and when the vCPU blocks or leaves its CPU. A flush is due after it if anything
    /// was left. Returns which others must look again.
    pub fn sync(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters) -> VcpuSet {
        self.recall(vcpu, lrs);
        self.take_told().without(VcpuSet::of(vcpu))
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
            self.change(vcpu, intid, |bank| bank.deactivate(intid.mask()));
        }
        self.take_told().without(VcpuSet::of(vcpu))
    }

    /// `vcpu` was switched off: its private interrupts are as after a reset, their lines apart, and
    /// shared ones that it was offered are pending again. One that it had taken stays active, its
    /// to end when it runs again. Its list registers are the live ones.
    /// Returns which others must look again.
    pub fn reset_vcpu(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters) -> VcpuSet {
        self.recall(vcpu, lrs);
        if let Some(cpu) = self.cpu_mut(vcpu) {
            cpu.reset(vcpu);
        }
        self.take_told().without(VcpuSet::of(vcpu))
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
            let Some((_, intid)) = self.first(vcpu, |bank| bank.active_on(vcpu)) else { return };
            self.change(vcpu, intid, |bank| bank.deactivate(intid.mask()));
        }
    }

    /// Fills the list registers from scratch: with what is active, so that the guest's end of it
    /// needs no help, but for at least one register with what is pending.
    // Not inlined: the path of one new interrupt must not pay for this one's stack frame.
    #[cold]
    #[inline(never)]
    fn relist(&mut self, vcpu: VcpuId, lrs: &mut impl ListRegisters, mut release: impl FnMut(IntId)) -> VcpuSet {
        self.recall(vcpu, lrs);
        let forwarding = self.forwarding;
        let active = |bank: &Bank| bank.active_on(vcpu);
        let due = |bank: &Bank| bank.due_to(vcpu, forwarding);
        let of_active = self.banks(vcpu).map(|bank| active(bank).count_ones() as usize).sum::<usize>();
        let of_due = self.banks(vcpu).map(|bank| due(bank).count_ones() as usize).sum::<usize>();
        let count = lrs.count().min(MAX_LIST_REGISTERS);
        let taken = of_active.min(count.saturating_sub(usize::from(of_due > 0)));
        let offered = of_due.min(count - taken);
        let refilled = of_due > offered;
        for n in 0..taken + offered {
            let first = if n < taken { self.first(vcpu, active) } else { self.first(vcpu, due) };
            let Some((_, intid)) = first else { break };
            let Some(bank) = self.bank(vcpu, intid) else { break };
            bank.holders[intid.bit()] = vcpu;
            // What is active and pending would count as pending, and put off the refill.
            let deliver = !refilled && bank.goes_to(vcpu, intid, forwarding);
            lrs.set(n, if n < taken { bank.resume(intid, deliver) } else { bank.offer(intid) });
            self.cpu_mut(vcpu).into_iter().for_each(|cpu| cpu.hold(n, intid));
        }
        if let Some(cpu) = self.cpu_mut(vcpu) {
            cpu.control = Hcr::BASE.with(Hcr::COUNTED, of_active > taken).with(Hcr::REFILLED, refilled);
            cpu.attention = Attention::None;
            lrs.set_control(cpu.control);
        }
        while let Some(intid) = self.take_released(vcpu) {
            release(intid);
        }
        self.take_told().without(VcpuSet::of(vcpu))
    }

    /// The one of the highest priority of the interrupts that `pick` picks for `vcpu`, of equal ones that of the lowest
    /// number; and its priority.
    pub(super) fn first(&self, vcpu: VcpuId, pick: impl Fn(&Bank) -> u32) -> Option<(u8, IntId)> {
        let picked = self
            .banks(vcpu)
            .enumerate()
            .flat_map(|(number, bank)| bits(pick(bank)).map(move |bit| (bank.priority[bit], IntId::at(number, bit))));
        picked.min()
    }
}
