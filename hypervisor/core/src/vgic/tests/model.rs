//! What interrupts are, one by one and with no list registers: the model that the GIC must agree with.

use std::vec;
use std::vec::Vec;

use crate::vgic::IntId;

/// One interrupt of one vCPU, or a shared one.
#[derive(Clone, Copy, Debug)]
pub struct Interrupt {
    pub enabled: bool,
    pub group1: bool,
    pub edge: bool,
    pub priority: u8,
    pub latch: bool,
    pub line: bool,
    pub active: bool,
    pub route: Option<u8>,
}

impl Interrupt {
    fn new(edge: bool) -> Self {
        Self {
            enabled: false,
            group1: true,
            edge,
            priority: 0,
            latch: false,
            line: false,
            active: false,
            route: Some(0),
        }
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
    pub asleep: Vec<bool>,
    pub groups: [bool; 2],
}

impl Model {
    pub fn new(vcpus: u8, spis: usize) -> Self {
        Self {
            private: vec![Self::private(); vcpus.into()],
            shared: vec![Interrupt::new(false); spis],
            asleep: vec![false; vcpus.into()],
            groups: [true; 2],
        }
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
        self.asleep[usize::from(cpu)] = false;
    }

    /// What may interrupt a vCPU now.
    pub fn due(&self, cpu: u8) -> Vec<(IntId, Interrupt)> {
        if self.asleep[usize::from(cpu)] {
            return vec![];
        }
        let any = self.asleep.iter().position(|asleep| !asleep).unwrap_or(0);
        let to_me = |it: &Interrupt| it.route.map_or(any, usize::from) == usize::from(cpu);
        let private = self.private[usize::from(cpu)].iter().zip(0..);
        let shared = self.shared.iter().zip(32..).filter(|(it, _)| to_me(it));
        let due = private
            .chain(shared)
            .filter(|(it, _)| it.pending() && it.enabled && self.groups[usize::from(it.group1)] && !it.active);
        due.map(|(it, raw)| (super::machine::intid(raw), *it)).collect()
    }
}
