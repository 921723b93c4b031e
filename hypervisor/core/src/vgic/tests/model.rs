//! What interrupts are, one by one and with no list registers: the model that the GIC must agree with.

use std::vec;
use std::vec::Vec;

use crate::vgic::IntId;

/// One interrupt of one vCPU, or a shared one.
#[derive(Clone, Copy, Debug)]
pub struct Interrupt {
    pub enabled: bool,
    pub edge: bool,
    pub priority: u8,
    pub latch: bool,
    pub line: bool,
    pub active: bool,
    pub route: u8,
}

impl Interrupt {
    fn new(edge: bool) -> Self {
        Self { enabled: false, edge, priority: 0, latch: false, line: false, active: false, route: 0 }
    }

    pub fn pending(&self) -> bool {
        self.latch || self.line && !self.edge
    }

    pub fn set_line(&mut self, level: bool) {
        self.latch |= self.edge && level && !self.line;
        self.line = level;
    }
}

#[derive(Clone, Debug)]
pub struct Model {
    private: Vec<Vec<Interrupt>>,
    shared: Vec<Interrupt>,
    pub enabled: bool,
}

impl Model {
    pub fn new(vcpus: u8, spis: usize) -> Self {
        Self { private: vec![Self::private(); vcpus.into()], shared: vec![Interrupt::new(false); spis], enabled: true }
    }

    fn private() -> Vec<Interrupt> {
        (0..32).map(|raw| Interrupt::new(raw < 16)).collect()
    }

    pub fn at(&mut self, cpu: u8, intid: IntId) -> &mut Interrupt {
        match usize::from(intid.get()).checked_sub(32) {
            None => &mut self.private[usize::from(cpu)][usize::from(intid.get())],
            Some(shared) => &mut self.shared[shared],
        }
    }

    /// The vCPU is switched off and on again.
    pub fn reset(&mut self, cpu: u8) {
        let private = &mut self.private[usize::from(cpu)];
        for (old, new) in private.iter_mut().zip(Self::private()) {
            *old = Interrupt { line: old.line, ..new };
        }
    }

    /// What may interrupt a vCPU now.
    pub fn due(&self, cpu: u8) -> Vec<(IntId, Interrupt)> {
        let private = self.private[usize::from(cpu)].iter().zip(0..);
        let shared = self.shared.iter().zip(32..).filter(|(it, _)| it.route == cpu);
        let due = private.chain(shared).filter(|(it, _)| it.pending() && it.enabled && self.enabled && !it.active);
        due.map(|(it, raw)| (super::machine::intid(raw), *it)).collect()
    }
}
