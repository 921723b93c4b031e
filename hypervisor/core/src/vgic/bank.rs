//! The state of 32 interrupts, a bit of each word for each.

use super::intid::IntId;
use super::lr::ListRegister;

/// Bits of a priority that are kept: 32 levels, as few as a virtual CPU interface may have
/// (IHI0069 §4.8, `ICH_VTR_EL2.PRIbits`).
pub(super) const PRIORITY_BITS: u8 = 0xf8;

/// Which groups are forwarded: all ones or all zeros for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Groups {
    pub zero: u32,
    pub one: u32,
}

impl Groups {
    pub const NONE: Self = Self { zero: 0, one: 0 };
}

/// 32 interrupts.
///
/// While an interrupt is `listed`, a list register of its holder has the truth of whether it is
/// pending and active; `latch` and `active` then say what it was listed with, and what happens to
/// it meanwhile is kept in `again` and `forced` until [`Bank::unlist`] brings the two together.
#[derive(Clone, Debug)]
pub(super) struct Bank {
    pub enabled: u32,
    pub group1: u32,
    pub edge: u32,
    /// Pending by an edge or by software, line or no line.
    pub latch: u32,
    /// The level of the device's line.
    pub line: u32,
    pub active: u32,
    /// In a list register.
    pub listed: u32,
    /// Became pending since it was listed. Part of `listed`.
    pub again: u32,
    /// `active` was written since it was listed and overrules the list register. Part of `listed`.
    pub forced: u32,
    /// A physical interrupt is active on behalf of this one.
    pub hw: u32,
    /// Its list register deactivates the physical interrupt. Part of `listed` and `hw`.
    pub linked: u32,
    pub priority: [u8; 32],
}

impl Bank {
    /// After a reset: everything off, in group 1 as Xen delivers it to guests that never look.
    pub fn new(edge: u32) -> Self {
        Self {
            enabled: 0,
            group1: u32::MAX,
            edge,
            latch: 0,
            line: 0,
            active: 0,
            listed: 0,
            again: 0,
            forced: 0,
            hw: 0,
            linked: 0,
            priority: [0; 32],
        }
    }

    /// Pending as far as software knows.
    pub const fn pending(&self) -> u32 {
        self.latch | self.again | (self.line & !self.edge)
    }

    /// Enabled, by itself and through its group.
    pub const fn forwarded(&self, groups: Groups) -> u32 {
        self.enabled & (self.group1 & groups.one | !self.group1 & groups.zero)
    }

    /// Pending, forwarded and not active: a reason to interrupt a vCPU.
    pub const fn due(&self, groups: Groups) -> u32 {
        self.pending() & self.forwarded(groups) & !self.active
    }

    /// Makes interrupts pending.
    pub const fn pend(&mut self, mask: u32) {
        self.again |= mask & self.listed;
        self.latch |= mask & !self.listed;
    }

    /// Makes interrupts not pending, but for those whose line is high.
    pub const fn unpend(&mut self, mask: u32) {
        self.again &= !mask;
        self.latch &= !mask;
    }

    /// Makes interrupts active or inactive.
    pub const fn set_active(&mut self, mask: u32, active: bool) {
        self.active = self.active & !mask | spread(active, mask);
        self.forced |= mask & self.listed;
    }

    /// The physical interrupt behind `mask` fired. If a list register was linked to it, the guest has
    /// ended that one.
    pub const fn pend_hw(&mut self, mask: u32) {
        self.hw |= mask;
        self.linked &= !mask;
        self.pend(mask);
    }

    /// Takes the interrupts whose physical one is active for nothing any more.
    pub const fn take_released(&mut self) -> u32 {
        let released = self.hw & !(self.latch | self.active | self.listed);
        self.hw &= !released;
        released
    }

    /// Moves an interrupt into a list register, and says what the register must hold.
    ///
    /// `deliver`: it is forwarded, to this vCPU. What is pending but cannot go along, because it
    /// is not to be delivered here or because hardware has no state for active and pending at once, is held back
    /// until the end of what is active: then a maintenance interrupt is due, and likewise for a high line.
    pub fn list(&mut self, intid: IntId, deliver: bool, physical: Option<IntId>) -> ListRegister {
        let mask = intid.mask();
        let active = self.active & mask != 0;
        let hw = self.hw & mask != 0;
        let pending = self.pending() & mask != 0;
        let offered = pending && deliver && !(active && hw);
        let held = pending && !offered;
        let level = self.line & !self.edge & mask != 0;

        self.listed |= mask;
        let mut register = ListRegister::new(intid, self.priority(intid), self.group1 & mask != 0);
        if offered {
            register = register.pending();
        } else {
            self.again |= self.latch & mask;
            self.latch &= !mask;
        }
        if active {
            register = register.active();
        }
        match physical {
            Some(physical) if hw && !held && !level => {
                self.linked |= mask;
                register.backed_by(physical)
            }
            _ if held || level => register.maintained(),
            _ => register,
        }
    }

    /// Takes an interrupt back from a list register that says it is `pending` and `active`.
    pub const fn unlist(&mut self, mask: u32, pending: bool, active: bool) {
        let offered = self.latch & spread(pending, mask);
        self.latch = self.latch & !mask | offered | self.again & mask;
        let known = mask & self.forced;
        self.active = self.active & (known | !mask) | spread(active, mask) & !known;
        if !pending && !active {
            // Ended by the guest, and with it the physical interrupt.
            self.hw &= !(self.linked & mask);
        }
        self.listed &= !mask;
        self.again &= !mask;
        self.forced &= !mask;
        self.linked &= !mask;
    }

    /// Priority of an interrupt of this bank.
    pub fn priority(&self, intid: IntId) -> u8 {
        self.priority.get(intid.bit() as usize).copied().unwrap_or(0)
    }
}

/// `mask` or nothing.
const fn spread(set: bool, mask: u32) -> u32 {
    if set { mask } else { 0 }
}

/// Takes the lowest set bit out of a mask and returns its place.
pub(super) const fn take_lowest(mask: &mut u32) -> Option<u32> {
    if *mask == 0 {
        return None;
    }
    let lowest = mask.trailing_zeros();
    *mask &= *mask - 1;
    Some(lowest)
}
