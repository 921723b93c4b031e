//! The state of 32 interrupts, a bit of each word for each.

use super::intid::IntId;
use super::lr::ListRegister;
use crate::id::VcpuId;

/// Bits of a priority that are kept: 32 levels, as few as a virtual CPU interface may have
/// (IHI0069 §4.8, `ICH_VTR_EL2.PRIbits`).
pub(super) const PRIORITY_BITS: u8 = 0xf8;

/// Interrupts 0 to 15, the SGIs: always edge-triggered. PPIs are level-sensitive until configured.
pub(super) const SGIS: u32 = 0xffff;

/// 32 interrupts, shared ones or the private ones of a vCPU.
///
/// While an interrupt is `listed`, a list register of its holder has the truth of whether it is
/// pending and active; `offered` and `active` then say what it was listed with, and what happens to
/// it meanwhile is kept in `latch` and `cleared` until [`Bank::unlist`] brings the two together.
// In this order, for instructions reach two words at once where these are not far from the beginning.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(super) struct Bank {
    pub enabled: u32,
    pub edge: u32,
    /// Pending by an edge or by software, line or no line; if it is listed, since then.
    pub latch: u32,
    /// The level of the device's line.
    pub line: u32,
    pub active: u32,
    /// In a list register.
    pub listed: u32,
    /// Was listed as pending by an edge or by software. Part of `listed`.
    pub offered: u32,
    /// Made inactive since it was listed, whatever the list register says. Part of `listed`.
    pub cleared: u32,
    /// A physical interrupt is active on behalf of this one.
    pub hw: u32,
    /// Its list register deactivates the physical interrupt. Part of `listed` and `hw`.
    pub linked: u32,
    pub priority: [u8; 32],
    /// To whom each goes by `GICD_IROUTER<n>`: of private interrupts, always their owner.
    pub targets: [VcpuId; 32],
    /// Of an interrupt that is listed or active, and of a private one: the vCPU that has it.
    pub holders: [VcpuId; 32],
    /// The physical interrupt behind each private one that has `hw`. That behind a shared one has the same number.
    pub physical: [u8; 32],
}

impl Bank {
    /// After a reset: everything off and `first`'s.
    pub fn new(edge: u32, first: VcpuId) -> Self {
        Self { edge, targets: [first; 32], holders: [first; 32], ..Self::default() }
    }

    /// Pending as far as software knows.
    pub const fn pending(&self) -> u32 {
        self.latch | (self.line & !self.edge)
    }

    /// Pending, enabled, let through by the distributor and not active: a reason to interrupt a vCPU.
    pub const fn due(&self, forwarding: u32) -> u32 {
        self.pending() & self.enabled & forwarding & !self.active
    }

    /// Whether an interrupt that is pending goes to `vcpu`.
    pub fn goes_to(&self, vcpu: VcpuId, intid: IntId, forwarding: u32) -> bool {
        self.targets[intid.bit()] == vcpu && self.enabled & forwarding & intid.mask() != 0
    }

    /// Those that are due, `vcpu`'s to take, and in no list register.
    pub fn due_to(&self, vcpu: VcpuId, forwarding: u32) -> u32 {
        let due = self.due(forwarding) & !self.listed;
        mask(bits(due).filter(|&bit| self.targets[bit] == vcpu))
    }

    /// Those that are active, `vcpu`'s to end, and in no list register.
    pub fn active_on(&self, vcpu: VcpuId) -> u32 {
        mask(bits(self.active & !self.listed).filter(|&bit| self.holders[bit] == vcpu))
    }

    /// Those whose physical interrupt is active for nothing any more.
    pub const fn released(&self) -> u32 {
        self.hw & !(self.latch | self.active | self.listed)
    }

    /// The vCPU that must look when something about an interrupt has changed.
    pub fn concerns(&self, intid: IntId, forwarding: u32) -> Option<VcpuId> {
        if (self.listed | self.active) & intid.mask() != 0 {
            Some(self.holders[intid.bit()])
        } else if (self.due(forwarding) | self.released()) & intid.mask() != 0 {
            Some(self.targets[intid.bit()])
        } else {
            None
        }
    }

    /// Makes interrupts not pending, but for those whose line is high.
    pub const fn unpend(&mut self, mask: u32) {
        self.latch &= !mask;
        self.offered &= !mask;
    }

    /// Makes interrupts inactive.
    pub const fn deactivate(&mut self, mask: u32) {
        self.active &= !mask;
        self.cleared |= mask & self.listed;
    }

    /// The physical interrupt behind one fired. If a list register was linked to it, the guest has
    /// ended that one.
    pub fn set_hw(&mut self, intid: IntId, physical: IntId) {
        self.physical[intid.bit()] = physical.get() as u8;
        self.hw |= intid.mask();
        self.linked &= !intid.mask();
    }

    /// Takes one of these, to be deactivated.
    pub fn take_released(&mut self) -> Option<usize> {
        let released = bits(self.released()).next()?;
        self.hw &= !(1 << released);
        Some(released)
    }

    /// Moves an interrupt that is due into a list register, and says what the register must hold.
    #[inline]
    pub fn offer(&mut self, intid: IntId) -> ListRegister {
        self.list(intid, ListRegister::PENDING, self.line & !self.edge)
    }

    /// The same for an interrupt that is active.
    ///
    /// `deliver`: it is forwarded, to this vCPU. What is pending but cannot go along, because it
    /// is not to be delivered here or because hardware has no state for active and pending at once,
    /// is held back until the end of what is active.
    pub fn resume(&mut self, intid: IntId, deliver: bool) -> ListRegister {
        let mask = intid.mask();
        let pending = self.pending() & mask;
        if pending != 0 && deliver && self.hw & mask == 0 {
            return self.list(intid, ListRegister::PENDING | ListRegister::ACTIVE, self.line & !self.edge);
        }
        self.list(intid, ListRegister::ACTIVE, pending)
    }

    /// Lists an interrupt. What its end entails: a maintenance interrupt if it is among those that
    /// are still `pending` then, or else the end of the physical interrupt if there is one.
    #[inline]
    fn list(&mut self, intid: IntId, state: u64, pending: u32) -> ListRegister {
        let mask = intid.mask();
        self.listed |= mask;
        if state & ListRegister::PENDING != 0 {
            self.offered |= self.latch & mask;
            self.latch &= !mask;
        }
        let register = ListRegister::new(intid, self.priority[intid.bit()]).with(state);
        if pending & mask != 0 {
            return register.with(ListRegister::MAINTAINED);
        }
        self.linked |= self.hw & mask;
        let physical = if intid.is_private() { self.physical[intid.bit()].into() } else { intid.get() };
        if self.linked & mask == 0 { register } else { register.backed_by(physical) }
    }

    /// Takes interrupts back from list registers that say they are `pending` and `active`.
    pub const fn unlist(&mut self, mask: u32, pending: bool, active: bool) {
        self.latch |= spread(pending, self.offered & mask);
        self.active = self.active & !mask | spread(active, mask & !self.cleared);
        if !pending && !active {
            // Ended by the guest, and with it the physical interrupt.
            self.hw &= !(self.linked & mask);
        }
        self.listed &= !mask;
        self.offered &= !mask;
        self.cleared &= !mask;
        self.linked &= !mask;
    }
}

/// `mask` or nothing.
const fn spread(set: bool, mask: u32) -> u32 {
    if set { mask } else { 0 }
}

/// The places of the bits that are set, the lowest first.
pub(super) fn bits(mut mask: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let lowest = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        Some(lowest)
    })
}

/// The other way round.
fn mask(bits: impl Iterator<Item = usize>) -> u32 {
    bits.fold(0, |mask, bit| mask | 1 << bit)
}
