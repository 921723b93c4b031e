//! What the virtual GIC keeps for one vCPU.

use super::bank::{Bank, SGIS, bits};
use super::intid::IntId;
use super::lr::{Hcr, ListRegisters, MAX_LIST_REGISTERS};
use crate::id::VcpuId;

/// How much a flush has to look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Attention {
    /// Nothing: it need not run.
    #[default]
    None,
    /// Private interrupts became pending.
    New,
    /// Anything may have changed.
    All,
}

/// A vCPU's redistributor and virtual CPU interface.
#[derive(Clone, Debug, Default)]
pub(super) struct Cpu {
    pub bank: Bank,
    /// What is in each list register that is `used`: to look here is quicker than to read them.
    lr: [IntId; MAX_LIST_REGISTERS],
    pub used: u32,
    pub control: Hcr,
    pub attention: Attention,
}

impl Cpu {
    pub fn new(vcpu: VcpuId) -> Self {
        Self { bank: Bank::new(SGIS, vcpu), control: Hcr::BASE, attention: Attention::All, ..Self::default() }
    }

    /// Switched off: as new, but for the devices' lines and for physical interrupts that are in flight, which
    /// it releases when it runs again.
    pub fn reset(&mut self, vcpu: VcpuId) {
        let Bank { line, hw, physical, .. } = self.bank;
        *self = Self::new(vcpu);
        (self.bank.line, self.bank.hw, self.bank.physical) = (line, hw, physical);
    }

    pub fn attend(&mut self, attention: Attention) {
        self.attention = self.attention.max(attention);
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
    pub fn list_new(&mut self, forwarding: u32, lrs: &mut impl ListRegisters) -> bool {
        let empty = lrs.empty();
        self.reclaim(empty);
        if self.bank.latch & self.bank.listed != 0 && !self.merge_again(lrs) {
            // Pending anew while still active: its list register must be rewritten.
            return false;
        }
        let new = self.bank.due(forwarding) & !self.bank.listed;
        let mut free = bits(empty & !self.used);
        for bit in bits(new) {
            let Some(n) = free.next() else { return false };
            let intid = IntId::at(0, bit);
            lrs.set(n, self.bank.offer(intid));
            self.hold(n, intid);
        }
        true
    }

    /// What is pending anew while its list register still says so is pending once. `false` if there is more to it.
    fn merge_again(&mut self, lrs: &impl ListRegisters) -> bool {
        for register in bits(self.used).map(|n| lrs.get(n)).filter(|register| register.is_pending()) {
            let private = register.intid().filter(|intid| intid.is_private());
            let merged = private.map_or(0, IntId::mask) & self.bank.latch & self.bank.listed & !self.bank.hw;
            self.bank.latch &= !merged;
            // It may have been listed for its line alone.
            self.bank.offered |= merged;
        }
        self.bank.latch & self.bank.listed == 0
    }

    /// Takes back private interrupts that the guest has ended.
    fn reclaim(&mut self, empty: u32) {
        let mut ended = 0;
        for n in bits(self.used & empty) {
            if let Some(intid) = self.lr.get(n).filter(|intid| intid.is_private()) {
                ended |= intid.mask();
                self.used &= !(1 << n);
            }
        }
        self.bank.unlist(ended, false, false);
    }
}
