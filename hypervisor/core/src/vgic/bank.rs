//! The state of 32 interrupts, a bit of each word for each.

use super::intid::{Affinity, IntId};
use super::lr::ListRegister;
use crate::id::VcpuId;

/// Bits of a priority that are kept: 32 levels, as few as a virtual CPU interface may have
/// (IHI0069 §4.8, `ICH_VTR_EL2.PRIbits`).
pub(super) const PRIORITY_BITS: u8 = 0xf8;

/// What the distributor lets through, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forwarding {
    /// Whether group 0 is on: all ones or all zeros.
    pub group0: u32,
    /// The same of group 1.
    pub group1: u32,
    /// Who gets the shared interrupts that may go to any vCPU.
    pub any: VcpuId,
}

/// `GICD_IROUTER<n>` (IHI0069 §12.9.22), of which Aff3 is reserved since `GICD_TYPER.A3V` is 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Route(
    // Affinity in bits 23 to 0, `ANY` above.
    u32,
);

impl Route {
    const AFFINITY: u32 = 0xff_ffff;
    /// `Interrupt_Routing_Mode`: to any vCPU that takes part.
    const ANY: u32 = 1 << 31;

    /// As the register's 64 bits say.
    pub const fn from_register(value: u64) -> Self {
        Self(value as u32 & (Self::AFFINITY | Self::ANY))
    }

    /// As the register's 64 bits.
    pub const fn register(self) -> u64 {
        self.0 as u64
    }

    /// The vCPU it names, where `any` is the one for interrupts that may go to any.
    pub const fn target(self, any: VcpuId) -> Option<VcpuId> {
        if self.0 & Self::ANY != 0 { Some(any) } else { Affinity(self.0).vcpu() }
    }
}

/// 32 interrupts, shared ones or the private ones of a vCPU.
///
/// While an interrupt is `listed`, a list register of its holder has the truth of whether it is
/// pending and active; `latch` and `active` then say what it was listed with, and what happens to
/// it meanwhile is kept in `again` and `forced` until [`Bank::unlist`] brings the two together.
// In this order, for instructions reach two words at once where these are not far from the beginning.
#[derive(Clone, Debug, Default)]
#[repr(C)]
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
    /// To whom each goes: of private interrupts, always their owner.
    pub routes: [Route; 32],
    /// Of an interrupt that is listed or active, and of a private one: the vCPU that has it.
    pub holders: [VcpuId; 32],
    /// The physical interrupt behind each private one that has `hw`. That behind a shared one has the same number.
    pub physical: [u8; 32],
}

impl Bank {
    /// After a reset: everything off and `first`'s, in group 1 as Xen delivers it to guests that never look.
    pub fn new(edge: u32, first: VcpuId) -> Self {
        let routes = [Route(Affinity::of(first).0); 32];
        Self { group1: u32::MAX, edge, routes, holders: [first; 32], ..Self::default() }
    }

    /// Pending as far as software knows.
    pub const fn pending(&self) -> u32 {
        self.latch | self.again | (self.line & !self.edge)
    }

    /// Enabled, by itself and through its group.
    pub const fn forwarded(&self, forwarding: Forwarding) -> u32 {
        self.enabled & (self.group1 & forwarding.group1 | !self.group1 & forwarding.group0)
    }

    /// Pending, forwarded and not active: a reason to interrupt a vCPU.
    pub const fn due(&self, forwarding: Forwarding) -> u32 {
        self.pending() & self.forwarded(forwarding) & !self.active
    }

    /// Whether an interrupt that is pending goes to `vcpu`.
    pub fn goes_to(&self, vcpu: VcpuId, intid: IntId, forwarding: Forwarding) -> bool {
        let mine = self.routes[intid.bit()].target(forwarding.any) == Some(vcpu);
        mine && self.forwarded(forwarding) & intid.mask() != 0
    }

    /// Those that are due and `vcpu`'s to take.
    pub fn due_to(&self, vcpu: VcpuId, forwarding: Forwarding) -> u32 {
        let due = self.due(forwarding);
        let routed = |bit: &usize| self.routes[*bit].target(forwarding.any) == Some(vcpu);
        self.held_by(vcpu, due & self.listed) | mask(bits(due & !self.listed).filter(routed))
    }

    /// Those of `among` that `vcpu` holds.
    pub fn held_by(&self, vcpu: VcpuId, among: u32) -> u32 {
        mask(bits(among).filter(|&bit| self.holders[bit] == vcpu))
    }

    /// Those whose physical interrupt is active for nothing any more.
    pub const fn released(&self) -> u32 {
        self.hw & !(self.latch | self.active | self.listed)
    }

    /// The vCPU that must look when something about an interrupt has changed.
    pub fn concerns(&self, intid: IntId, forwarding: Forwarding) -> Option<VcpuId> {
        if (self.listed | self.active) & intid.mask() != 0 {
            Some(self.holders[intid.bit()])
        } else if (self.due(forwarding) | self.released()) & intid.mask() != 0 {
            self.routes[intid.bit()].target(forwarding.any)
        } else {
            None
        }
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

    /// Interrupts that become active without having been taken belong to the vCPU that they are
    /// routed to, or else to `writer`.
    pub fn assign(&mut self, among: u32, writer: VcpuId, any: VcpuId) {
        for bit in bits(among & !(self.active | self.listed)) {
            self.holders[bit] = self.routes[bit].target(any).unwrap_or(writer);
        }
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
        self.again |= self.latch & mask;
        self.latch &= !mask;
        self.list(intid, ListRegister::ACTIVE, pending)
    }

    /// Lists an interrupt. What its end entails: a maintenance interrupt if it is among those that
    /// are still `pending` then, or else the end of the physical interrupt if there is one.
    #[inline]
    fn list(&mut self, intid: IntId, state: u64, pending: u32) -> ListRegister {
        let mask = intid.mask();
        self.listed |= mask;
        let priority = self.priority[intid.bit()];
        let register = ListRegister::new(intid, priority, self.group1 & mask != 0).with(state);
        if pending & mask != 0 {
            return register.with(ListRegister::MAINTAINED);
        }
        self.linked |= self.hw & mask;
        let physical = if intid.is_private() { self.physical[intid.bit()].into() } else { intid.get() };
        if self.linked & mask == 0 { register } else { register.backed_by(physical) }
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
