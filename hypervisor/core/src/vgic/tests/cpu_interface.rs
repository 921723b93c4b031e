//! A CPU's virtual interface as the architecture describes it (IHI0069 §6, §12.4), for a guest to
//! acknowledge and end interrupts from.

use std::cell::Cell;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use crate::vgic::{Hcr, IntId, ListRegister, ListRegisters, Vmcr};

const IDLE: u8 = 0xff;

/// What a list register says (IHI0069 §12.4.5), read without the code under test.
pub trait Fields {
    fn is_maintained(&self) -> bool;
    fn physical(&self) -> Option<u32>;
    fn virtual_intid(&self) -> u32;
    fn priority(&self) -> u8;
    fn is_group1(&self) -> bool;
}

impl Fields for ListRegister {
    fn is_maintained(&self) -> bool {
        self.0 >> 61 & 1 == 0 && self.0 >> 41 & 1 != 0
    }

    fn physical(&self) -> Option<u32> {
        (self.0 >> 61 & 1 != 0).then_some((self.0 >> 32 & 0x1fff) as u32)
    }

    fn virtual_intid(&self) -> u32 {
        self.0 as u32
    }

    fn priority(&self) -> u8 {
        (self.0 >> 48) as u8
    }

    fn is_group1(&self) -> bool {
        self.0 >> 60 & 1 != 0
    }
}

/// One CPU's virtual interface and the physical interrupts that are active: its own, and those that all CPUs share.
#[derive(Clone, Debug)]
pub struct CpuInterface {
    lrs: Vec<ListRegister>,
    pub control: Hcr,
    pub mask: u8,
    pub split: bool,
    pub groups: u64,
    end_count: u32,
    // Priorities of what was acknowledged and not ended, the highest last.
    running: Vec<u8>,
    pub physical_active: u32,
    pub shared_active: Rc<Cell<u128>>,
}

impl CpuInterface {
    pub fn new(count: usize) -> Self {
        Self {
            lrs: vec![ListRegister::EMPTY; count],
            control: Hcr::BASE,
            mask: 0xf8,
            split: false,
            groups: 0b10,
            end_count: 0,
            running: Vec::new(),
            physical_active: 0,
            shared_active: Rc::default(),
        }
    }

    /// Whether a physical interrupt is active.
    pub fn is_active(&self, physical: u32) -> bool {
        (u128::from(self.physical_active) | self.shared_active.get()) >> physical & 1 != 0
    }

    pub fn set_physical(&mut self, physical: u32, active: bool) {
        let of = |all: u128| all & !(1 << physical) | u128::from(active) << physical;
        if physical < 32 {
            self.physical_active = of(self.physical_active.into()) as u32;
        } else {
            self.shared_active.set(of(self.shared_active.get()));
        }
    }

    /// The CPU forgets what its guest was handling; physical interrupts stay as they are.
    pub fn restart(&mut self) {
        self.running.clear();
        self.end_count = 0;
    }

    pub fn running(&self) -> u8 {
        self.running.last().copied().unwrap_or(IDLE)
    }

    /// Reads `ICC_IAR1_EL1`.
    pub fn acknowledge(&mut self) -> Option<IntId> {
        let limit = self.mask.min(self.running());
        let pending = self.lrs.iter_mut().filter(|lr| lr.is_pending() && !lr.is_active());
        let signalled = pending.filter(|lr| self.groups >> u32::from(lr.is_group1()) & 1 != 0);
        let best = signalled.min_by_key(|lr| lr.priority()).filter(|lr| lr.priority() < limit)?;
        best.0 ^= 0b11 << 62;
        self.running.push(best.priority());
        IntId::new(best.virtual_intid())
    }

    /// Writes `ICC_EOIR1_EL1`.
    pub fn end(&mut self, intid: IntId) {
        if self.running.pop().is_some() && !self.split && !self.deactivate(intid) {
            self.end_count = (self.end_count + 1) % 32;
        }
    }

    /// What deactivation does if it is in a list register.
    fn deactivate(&mut self, intid: IntId) -> bool {
        let is_it = |lr: &&mut ListRegister| lr.is_active() && lr.virtual_intid() == intid.get().into();
        let Some(lr) = self.lrs.iter_mut().find(is_it) else { return false };
        lr.0 &= !(1 << 63);
        if let Some(physical) = lr.physical() {
            self.set_physical(physical, false);
        }
        true
    }

    /// Whether the maintenance interrupt is asserted.
    pub fn needs_maintenance(&self) -> bool {
        let idle = |lr: &ListRegister| !lr.is_pending() && !lr.is_active();
        self.lrs.iter().any(|lr| idle(lr) && lr.is_maintained())
            || self.control.0 >> 3 & 1 != 0 && !self.lrs.iter().any(|lr| lr.is_pending())
            || self.control.0 >> 2 & 1 != 0 && self.end_count != 0
    }

    /// What the architecture asks of software that writes list registers.
    pub fn assert_lawful(&self) {
        let valid = self.lrs.iter().filter(|lr| lr.is_pending() || lr.is_active());
        let mut seen: Vec<u32> = valid.clone().map(|lr| lr.virtual_intid()).collect();
        seen.sort_unstable();
        assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "twice in list registers: {seen:?}");
        for lr in valid {
            assert!(lr.is_group1(), "nothing else is offered: {lr:?}");
            if let Some(physical) = lr.physical() {
                assert!(!(lr.is_pending() && lr.is_active()), "no such state with hardware: {lr:?}");
                assert!(self.is_active(physical), "not active: {lr:?}");
            }
        }
    }

    /// The list registers that are pending or active.
    pub fn listed(&self) -> Vec<ListRegister> {
        self.lrs.iter().copied().filter(|lr| lr.is_pending() || lr.is_active()).collect()
    }
}

impl ListRegisters for CpuInterface {
    fn count(&self) -> usize {
        self.lrs.len()
    }

    fn get(&self, n: usize) -> ListRegister {
        self.lrs[n]
    }

    fn set(&mut self, n: usize, register: ListRegister) {
        self.lrs[n] = register;
    }

    fn empty(&self) -> u32 {
        let idle = |lr: &ListRegister| !lr.is_pending() && !lr.is_active() && !lr.is_maintained();
        self.lrs.iter().rev().fold(0, |mask, lr| mask << 1 | u32::from(idle(lr)))
    }

    fn take_end_count(&mut self) -> u32 {
        std::mem::take(&mut self.end_count)
    }

    fn set_control(&mut self, control: Hcr) {
        self.control = control;
        self.end_count = 0;
    }

    fn vmcr(&self) -> Vmcr {
        Vmcr(self.groups | u64::from(self.split) << 9 | u64::from(self.mask) << 24)
    }
}
