//! A domain's virtual GICv3 (IHI0069): distributor, redistributors, and what its list registers hold.
//!
//! As on Xen: affinity routing only, one security state (`GICD_CTLR.DS` = 1), no LPIs.
//! An interrupt's state lives in a [`bank`] in software or, once *listed*, in a list register of
//! one loaded vCPU, its holder, where only the holder's own exits can see it:
//!
//! - [`VGic::raise`], [`VGic::set_line`], [`VGic::send_sgi`] and register writes change software state
//!   and return the vCPUs that must look again: those that run are sent an interrupt, those that
//!   wait are woken if [`VGic::deliverable`] says so.
//! - Before a vCPU enters its guest and [`VGic::needs_flush`], [`VGic::flush`] lists what is due.
//! - On a maintenance interrupt, and whenever a vCPU leaves its CPU or blocks, [`VGic::sync`] takes
//!   everything back into software, which leaves the list registers empty. So a vCPU that is not
//!   loaded holds nothing, and its saved context has no list registers.
//!
//! All of it is one domain's; the caller's lock is around the whole.

mod bank;
mod delivery;
mod inject;
mod intid;
mod lr;
mod mmio;
mod registers;
mod set;

use alloc::vec::Vec;

pub use inject::SgiRegister;
pub use intid::{Affinity, IntId};
pub use lr::{Hcr, ListRegister, ListRegisters, MAX_LIST_REGISTERS, Vmcr};
pub use registers::{Access, Operation, Width};
pub use set::VcpuSet;

use crate::id::VcpuId;

/// A domain's virtual interrupt controller.
#[derive(Debug)]
pub struct VGic {
    cpus: Vec<Cpu>,
    shared: Vec<SharedBank>,
}

#[derive(Debug)]
struct Cpu {}

#[derive(Debug)]
struct SharedBank {}

/// Why there is no virtual GIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewError {
    /// Not 1 to 128 vCPUs.
    Vcpus,
    /// Not a multiple of 32, or more than 960 SPIs.
    Spis,
    /// No memory.
    Memory,
}

/// What a guest's access to a register comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The value read, zero-extended.
    Value(u64),
    /// Written. These vCPUs must look again.
    Written(VcpuSet),
    /// The answer is in list registers of these running vCPUs: send them an interrupt so that
    /// they flush, and let the guest execute the same instruction again.
    Retry(VcpuSet),
    /// The register does not allow it: a synchronous external abort, as on Xen.
    Abort,
}

/// What is left to do after a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Flushed {
    /// The new `ICH_HCR_EL2`.
    pub control: Hcr,
    /// Physical PPIs (a bit for each INTID below 32) that were taken for this vCPU and whose virtual
    /// interrupt vanished without the guest's deactivating them: deactivate them (clear their
    /// active state). Harmless where one is not active.
    pub release: u32,
    /// Other vCPUs that must look again.
    pub notify: VcpuSet,
}

impl VGic {
    /// The GIC of a domain with `vcpus` vCPUs (1 to 128) and `spis` shared interrupts
    /// (a multiple of 32, at most 960), as after a reset.
    ///
    /// # Errors
    /// When a number is out of range or memory is short.
    pub fn new(_vcpus: u32, _spis: u32) -> Result<Self, NewError> {
        todo!()
    }

    /// A device pulses an edge interrupt, or an event makes a private one of `vcpu` pending
    /// (`vcpu` does not matter for an SPI). Returns who must look again.
    pub fn raise(&mut self, _vcpu: VcpuId, _intid: IntId) -> VcpuSet {
        todo!()
    }

    /// A device drives its interrupt line (`vcpu` does not matter for an SPI). For a
    /// level-sensitive interrupt a high line is pending as long as it is high, for an edge-triggered one each rise is one.
    pub fn set_line(&mut self, _vcpu: VcpuId, _intid: IntId, _level: bool) -> VcpuSet {
        todo!()
    }

    /// The physical PPI `physical` fired for `vcpu`; it is active and its priority dropped. It
    /// stays active until the guest's deactivation, or until [`Flushed::release`].
    pub fn raise_hw(&mut self, _vcpu: VcpuId, _intid: IntId, _physical: IntId) -> VcpuSet {
        todo!()
    }

    /// The device behind [`Self::raise_hw`] no longer asks: withdraws what the guest has not
    /// acknowledged.
    pub fn lower_hw(&mut self, _vcpu: VcpuId, _intid: IntId) -> VcpuSet {
        todo!()
    }

    /// Whether the physical interrupt behind a private one must be active while `vcpu` is loaded:
    /// it was taken and the guest has not ended it. Exact after [`Self::sync`]; ask when loading a
    /// vCPU, and set or clear the physical active state to match.
    #[must_use]
    pub fn hw_in_flight(&self, _vcpu: VcpuId, _intid: IntId) -> bool {
        todo!()
    }

    /// `from` wrote `value` to a register that generates SGIs. Returns who must look again, which
    /// may include `from`.
    pub fn send_sgi(&mut self, _from: VcpuId, _value: u64, _register: SgiRegister) -> VcpuSet {
        todo!()
    }

    /// `vcpu`, with its live list registers, accesses the distributor.
    pub fn distributor_access(
        &mut self,
        _vcpu: VcpuId,
        _access: Access,
        _lrs: &mut impl ListRegisters,
    ) -> Outcome {
        todo!()
    }

    /// `vcpu`, with its live list registers, accesses the redistributor of `frame`: the offset is
    /// within that vCPU's 128 KiB.
    pub fn redistributor_access(
        &mut self,
        _vcpu: VcpuId,
        _frame: VcpuId,
        _access: Access,
        _lrs: &mut impl ListRegisters,
    ) -> Outcome {
        todo!()
    }

    /// Whether [`Self::flush`] must run before `vcpu` enters its guest.
    #[must_use]
    pub fn needs_flush(&self, _vcpu: VcpuId) -> bool {
        todo!()
    }

    /// Puts what is due for `vcpu` into its live list registers, the highest priority first.
    pub fn flush(&mut self, _vcpu: VcpuId, _lrs: &mut impl ListRegisters) -> Flushed {
        todo!()
    }

    /// Takes all that `vcpu`'s live list registers hold back into software, at a maintenance
    /// interrupt and when the vCPU blocks or leaves its CPU. A flush is due after it if anything was left.
    /// Returns which others must look again.
    pub fn sync(&mut self, _vcpu: VcpuId, _lrs: &mut impl ListRegisters) -> VcpuSet {
        todo!()
    }

    /// `ICH_HCR_EL2` for `vcpu`, when it is loaded without a flush.
    #[must_use]
    pub fn control(&self, _vcpu: VcpuId) -> Hcr {
        todo!()
    }

    /// Whether an interrupt would end `vcpu`'s wait for interrupts. Exact after
    /// [`Self::sync`]; before, it may say yes for one that the guest has taken.
    #[must_use]
    pub fn deliverable(&self, _vcpu: VcpuId, _vmcr: Vmcr) -> bool {
        todo!()
    }

    /// `vcpu` wrote `value` to `ICC_DIR_EL1`. Returns which others must look again.
    pub fn deactivate(
        &mut self,
        _vcpu: VcpuId,
        _value: u64,
        _lrs: &mut impl ListRegisters,
    ) -> VcpuSet {
        todo!()
    }

    /// `vcpu` was switched off: its private interrupts are as after a reset, lines apart, and shared
    /// ones that it held are pending again. Its list registers are the live ones.
    /// Returns which others must look again.
    pub fn reset_vcpu(&mut self, _vcpu: VcpuId, _lrs: &mut impl ListRegisters) -> VcpuSet {
        todo!()
    }
}
