//! A domain's virtual GICv3 (IHI0069): distributor, redistributors, and what its list registers hold.
//!
//! As on Xen: affinity routing only, all interrupts in group 1, no LPIs. There is one security state (`GICD_CTLR.DS` = 1).
//! An interrupt's state lives in a bank of 32 in software or, once *listed*, in a list register of
//! one loaded vCPU, its holder, where only the holder's own exits can see it:
//!
//! - [`VGic::raise`], [`VGic::set_line`], [`VGic::send_sgi`] and register accesses change software
//!   state and return the vCPUs that must look again: those that run are sent an interrupt, those
//!   that wait are woken if [`VGic::deliverable`] says so, those that are off need nothing.
//! - Before a vCPU enters its guest and [`VGic::needs_flush`], [`VGic::flush`] lists what is due.
//! - On a maintenance interrupt, and whenever a vCPU leaves its CPU or blocks, [`VGic::sync`] takes
//!   everything back into software, which leaves the list registers empty. So a vCPU that is not
//!   loaded holds nothing, and its saved context has no list registers.
//! - A physical timer's or passed-through device's interrupt is handed to the guest active ([`VGic::raise_hw`]); it
//!   stays so until the guest ends the virtual one, so what a guest does or does not do cannot make it storm.
//!   When a vCPU is loaded, [`VGic::hw_in_flight`] says which state the physical timer's must be in.
//!
//! More interrupts than list registers wait in software, and maintenance interrupts call for them.
//!
//! All of it is one domain's; the caller's lock is around the whole.

mod access;
mod bank;
mod cpu;
mod delivery;
mod fields;
mod inject;
mod intid;
mod lr;
mod registers;
mod set;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

pub use intid::{Affinity, IntId};
pub use lr::{Hcr, ListRegister, ListRegisters, MAX_LIST_REGISTERS, Vmcr};
pub use registers::{Access, Operation};
pub use set::VcpuSet;

use bank::Bank;
use cpu::{Attention, Cpu};

use crate::id::VcpuId;

/// Most vCPUs of a domain: what a [`VcpuSet`] holds, and Xen's limit on Arm.
const MAX_VCPUS: u32 = 128;
/// Most SPIs: whole banks below the special INTIDs.
const MAX_SPIS: u32 = 960;

/// A domain's virtual interrupt controller.
#[derive(Clone, Debug)]
pub struct VGic {
    // Private: an interrupt is `listed` exactly while a list register that its holder has `used` names it.
    cpus: Vec<Cpu>,
    shared: Vec<Bank>,
    // Whether the distributor lets interrupts through: all ones or all zeros.
    forwarding: u32,
    // Who must look again because of the call that goes on.
    told: VcpuSet,
}

/// What a guest's access to a register comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The value read, zero-extended.
    Value(u64),
    /// Written. These vCPUs must look again.
    Written(VcpuSet),
    /// The register does not allow it: a synchronous external abort, as on Xen.
    Abort,
}

impl VGic {
    /// The GIC of a domain with `vcpus` vCPUs (1 to 128) and `spis` shared interrupts
    /// (a multiple of 32, at most 960), as after a reset; `None` when a number is out of range or memory is short.
    pub fn new(vcpus: u32, spis: u32) -> Option<Self> {
        let per_bank = u32::from(intid::BANK);
        if vcpus == 0 || vcpus > MAX_VCPUS || spis > MAX_SPIS || !spis.is_multiple_of(per_bank) {
            return None;
        }
        Some(Self {
            cpus: filled(vcpus as usize, |index| Cpu::new(VcpuId(index as u8)))?,
            shared: filled((spis / per_bank) as usize, |_| Bank::new(0, VcpuId(0)))?,
            forwarding: 0,
            told: VcpuSet::EMPTY,
        })
    }

    /// Whether [`Self::flush`] must run before `vcpu` enters its guest.
    pub fn needs_flush(&self, vcpu: VcpuId) -> bool {
        self.cpu(vcpu).is_some_and(|cpu| cpu.attention != Attention::None)
    }

    /// Whether an interrupt would end `vcpu`'s wait for interrupts: one that its CPU interface, as
    /// `vmcr` has it, would signal, whatever the vCPU masks itself. The priority of what it
    /// handles already is not regarded: a wait may end early, not late. What is in list registers is
    /// not seen: ask after [`Self::sync`].
    pub fn deliverable(&self, vcpu: VcpuId, vmcr: Vmcr) -> bool {
        let first = self.first(vcpu, |bank| bank.due_to(vcpu, self.forwarding));
        first.is_some_and(|(priority, _)| vmcr.signals(priority))
    }

    /// An interrupt, `vcpu`'s own or a shared one, whose physical one is active for nothing: it is the caller's to deactivate.
    fn take_released(&mut self, vcpu: VcpuId) -> Option<IntId> {
        let own = self.cpus.get_mut(usize::from(vcpu.0)).map(|cpu| &mut cpu.bank);
        let mut banks = own.into_iter().chain(&mut self.shared).enumerate();
        banks.find_map(|(number, bank)| Some(IntId::at(number, bank.take_released()?)))
    }

    fn cpu(&self, vcpu: VcpuId) -> Option<&Cpu> {
        self.cpus.get(usize::from(vcpu.0))
    }

    fn cpu_mut(&mut self, vcpu: VcpuId) -> Option<&mut Cpu> {
        self.cpus.get_mut(usize::from(vcpu.0))
    }

    /// The banks that have interrupts for `vcpu`, by number: its own, and those that are shared.
    fn banks(&self, vcpu: VcpuId) -> impl Iterator<Item = &Bank> {
        self.cpu(vcpu).map(|cpu| &cpu.bank).into_iter().chain(&self.shared)
    }

    /// The bank that an interrupt is in: `vcpu`'s own for a private one.
    fn bank(&mut self, vcpu: VcpuId, intid: IntId) -> Option<&mut Bank> {
        match intid.bank().checked_sub(1) {
            Some(shared) => self.shared.get_mut(shared),
            None => self.cpu_mut(vcpu).map(|cpu| &mut cpu.bank),
        }
    }

    /// Changes something about an interrupt: whoever it concerns then must look again.
    fn change(&mut self, vcpu: VcpuId, intid: IntId, change: impl FnOnce(&mut Bank)) {
        let forwarding = self.forwarding;
        let Some(bank) = self.bank(vcpu, intid) else { return };
        change(bank);
        if let Some(concerned) = bank.concerns(intid, forwarding) {
            self.attend(concerned);
        }
    }

    /// Anything may have changed for this vCPU.
    fn attend(&mut self, vcpu: VcpuId) {
        if let Some(cpu) = self.cpu_mut(vcpu) {
            cpu.attend(Attention::All);
            self.told.insert(vcpu);
        }
    }

    /// Who must look again.
    fn take_told(&mut self) -> VcpuSet {
        core::mem::take(&mut self.told)
    }
}

/// `count` new things.
fn filled<T>(count: usize, new: impl Fn(usize) -> T) -> Option<Vec<T>> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(count).ok()?;
    vec.extend((0..count).map(new));
    Some(vec)
}
