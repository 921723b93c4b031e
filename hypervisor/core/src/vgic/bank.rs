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

    /// Moves an interrupt that is due into a list register, and says what the register must hold;
    /// if the interrupt is now `linked`, the physical one has to be added.
    pub fn offer(&mut self, intid: IntId) -> ListRegister {
        let mask = intid.mask();
        self.listed |= mask;
        let register = self.register(intid).pending();
        self.follow_up(register, mask, self.line & !self.edge)
    }

    /// The same for an interrupt that is active.
    ///
    /// `deliver`: it is forwarded, to this vCPU. What is pending but cannot go along, because it
    /// is not to be delivered here or because hardware has no state for active and pending at once,
    /// is held back until the end of what is active.
    pub fn resume(&mut self, intid: IntId, deliver: bool) -> ListRegister {
        let mask = intid.mask();
        self.listed |= mask;
        let register = self.register(intid).active();
        let pending = self.pending() & mask;
        if pending != 0 && deliver && self.hw & mask == 0 {
            return self.follow_up(register.pending(), mask, self.line & !self.edge);
        }
        self.again |= self.latch & mask;
        self.latch &= !mask;
        self.follow_up(register, mask, pending)
    }

    fn register(&self, intid: IntId) -> ListRegister {
        ListRegister::new(intid, self.priority(intid), self.group1 & intid.mask() != 0)
    }

    /// What the end of a listed interrupt entails: a maintenance interrupt if it is among those that
    /// are still `pending` then, or else the end of the physical interrupt if there is one.
    const fn follow_up(&mut self, register: ListRegister, mask: u32, pending: u32) -> ListRegister {
        if pending & mask != 0 {
            return register.maintained();
        }
        self.linked |= self.hw & mask;
        register
    }

    /// Takes interrupts back from list registers that say they are `pending` and `active`.
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
