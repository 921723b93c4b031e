//! What the virtual GIC keeps for one vCPU.

use super::bank::{Bank, Groups, take_lowest};
use super::intid::IntId;
use super::lr::{Hcr, ListRegister, ListRegisters, MAX_LIST_REGISTERS};
use super::set::VcpuSet;

/// How much a flush has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Attention {
    /// Nothing: it need not run.
    None,
    /// Private interrupts became pending.
    New,
    /// Anything may have changed.
    All,
}

/// Whether another vCPU reads state that only this one's list registers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Snapshot {
    None,
    /// One waits for the next flush.
    Wanted,
    /// The flush was: software knows what the list registers were filled with.
    Taken,
}

/// A vCPU's redistributor and virtual CPU interface.
#[derive(Debug)]
pub(super) struct Cpu {
    pub bank: Bank,
    /// The physical interrupt behind each PPI.
    physical: [u8; PPIS],
    /// What is in each list register that is `used`.
    pub lr: [IntId; MAX_LIST_REGISTERS],
    pub used: u32,
    pub control: Hcr,
    pub attention: Attention,
    pub snapshot: Snapshot,
    /// Whose snapshots this one waits for.
    pub asked: VcpuSet,
    /// Physical interrupts to deactivate, by INTID.
    pub release: u32,
    /// `GICR_WAKER.ProcessorSleep`: nothing is forwarded, what is due wakes.
    pub asleep: bool,
    /// It has not run since its reset.
    pub off: bool,
}

const SGIS: u16 = 16;
const PPIS: usize = 16;
/// SGIs are edge-triggered, PPIs level-sensitive until configured.
const EDGE_AT_RESET: u32 = 0xffff;

impl Cpu {
    pub fn new() -> Self {
        Self {
            bank: Bank::new(EDGE_AT_RESET),
            physical: [0; PPIS],
            lr: [IntId::FIRST; MAX_LIST_REGISTERS],
            used: 0,
            control: Hcr::BASE,
            attention: Attention::All,
            snapshot: Snapshot::None,
            asked: VcpuSet::EMPTY,
            release: 0,
            asleep: false,
            off: true,
        }
    }

    /// Switched off: as new, but for the devices' lines.
    pub fn reset(&mut self) {
        let line = self.bank.line;
        *self = Self::new();
        self.bank.line = line;
    }

    /// Everything that is due is listed; returns what to deactivate.
    pub fn flushed(&mut self, control: Hcr) -> u32 {
        self.control = control;
        self.attention = Attention::None;
        self.snapshot = match self.snapshot {
            Snapshot::Wanted => Snapshot::Taken,
            _ => Snapshot::None,
        };
        core::mem::take(&mut self.release)
    }

    pub fn attend(&mut self, attention: Attention) {
        self.attention = self.attention.max(attention);
    }

    /// The groups that are forwarded to this vCPU, if `groups` are on at all.
    pub const fn groups(&self, groups: Groups) -> Groups {
        if self.asleep { Groups::NONE } else { groups }
    }

    /// Private interrupts became pending. Whether the vCPU must look.
    pub fn attend_new(&mut self, mask: u32, groups: Groups) -> bool {
        let forwarded = self.bank.forwarded(groups) & mask != 0;
        if forwarded {
            self.attend(Attention::New);
        }
        forwarded
    }

    /// Something about private interrupts changed. Whether the vCPU must look.
    pub fn touch(&mut self, mask: u32, groups: Groups) -> bool {
        let released = self.bank.take_released();
        self.release |= released;
        let concerned = self.bank.listed | self.bank.active | self.bank.due(groups);
        let look = concerned & mask != 0 || released != 0;
        if look {
            self.attend(Attention::All);
        }
        look
    }

    /// The place of a PPI among PPIs.
    fn ppi(intid: IntId) -> usize {
        usize::from(intid.get().wrapping_sub(SGIS))
    }

    pub fn set_physical(&mut self, intid: IntId, physical: IntId) {
        if let Some(slot) = self.physical.get_mut(Self::ppi(intid)) {
            *slot = physical.get() as u8;
        }
    }

    /// Lists a private interrupt that is due in list register `n`.
    pub fn offer(&mut self, n: usize, intid: IntId) -> ListRegister {
        self.hold(n, intid);
        let register = self.bank.offer(intid);
        self.backed(register, intid)
    }

    /// Lists a private interrupt that is active in list register `n`.
    pub fn resume(&mut self, n: usize, intid: IntId, groups: Groups) -> ListRegister {
        self.hold(n, intid);
        let deliver = self.bank.forwarded(groups) & intid.mask() != 0;
        let register = self.bank.resume(intid, deliver);
        self.backed(register, intid)
    }

    /// Adds the physical interrupt to a list register that is linked to it.
    fn backed(&self, register: ListRegister, intid: IntId) -> ListRegister {
        if self.bank.linked & intid.mask() == 0 {
            return register;
        }
        let physical = self.physical.get(Self::ppi(intid)).and_then(|&raw| IntId::new(raw.into()));
        physical.map_or(register, |physical| register.backed_by(physical))
    }

    /// Notes that list register `n` has an interrupt.
    pub fn hold(&mut self, n: usize, intid: IntId) {
        if let Some(slot) = self.lr.get_mut(n) {
            *slot = intid;
            self.used |= 1 << n;
        }
    }

    /// Lists private interrupts that became pending, if that is all there is to do and there is room.
    /// Nothing is displaced, so the order does not matter.
    pub fn list_new(&mut self, groups: Groups, lrs: &mut impl ListRegisters) -> bool {
        let empty = lrs.empty();
        self.reclaim(empty);
        if self.bank.again != 0 && !self.merge_again(lrs) {
            // Pending anew while still active: its list register must be rewritten.
            return false;
        }
        let mut new = self.bank.due(self.groups(groups)) & !self.bank.listed;
        let mut free = empty & !self.used;
        while let Some(bit) = take_lowest(&mut new) {
            let Some(n) = take_lowest(&mut free) else {
                return false;
            };
            let register = self.offer(n as usize, IntId::at(0, bit));
            lrs.set(n as usize, register);
        }
        true
    }

    /// What is pending anew while its list register still says so is pending once. `false` if there is more to it.
    fn merge_again(&mut self, lrs: &impl ListRegisters) -> bool {
        let mut used = self.used;
        while let Some(n) = take_lowest(&mut used) {
            let Some(&intid) = self.lr.get(n as usize) else { continue };
            let again = intid.is_private() && self.bank.again & intid.mask() != 0;
            if again && self.bank.hw & intid.mask() == 0 && lrs.get(n as usize).is_pending() {
                self.bank.again &= !intid.mask();
                // It may have been listed for its line alone.
                self.bank.latch |= intid.mask();
            }
        }
        self.bank.again == 0
    }

    /// Takes back private interrupts that the guest has ended.
    fn reclaim(&mut self, empty: u32) {
        let mut ended = self.used & empty;
        let mut interrupts = 0;
        while let Some(n) = take_lowest(&mut ended) {
            if let Some(intid) = self.lr.get(n as usize)
                && intid.is_private()
            {
                interrupts |= intid.mask();
                self.used &= !(1 << n);
            }
        }
        self.bank.unlist(interrupts, false, false);
    }
}
