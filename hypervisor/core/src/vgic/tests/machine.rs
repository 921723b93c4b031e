//! A domain's vCPUs, each running on a CPU of its own, and the caller's duties towards the GIC.

use std::vec::Vec;

use super::cpu_interface::{CpuInterface, Fields};
use crate::id::VcpuId;
use crate::mmio::Width;
use crate::vgic::{Access, IntId, Operation, Outcome, VGic, VcpuSet};

pub const PRIORITY: u32 = 0x400;
pub const SET_ENABLE: u32 = 0x100;
pub const CLEAR_ENABLE: u32 = 0x180;
pub const SET_PENDING: u32 = 0x200;
pub const CLEAR_PENDING: u32 = 0x280;
pub const SET_ACTIVE: u32 = 0x300;
pub const CLEAR_ACTIVE: u32 = 0x380;
pub const CONFIG: u32 = 0xc00;
pub const SGI_FRAME: u32 = 0x1_0000;

pub fn intid(raw: u32) -> IntId {
    IntId::new(raw).expect("an interrupt")
}

pub struct Machine {
    pub gic: VGic,
    pub cpus: Vec<CpuInterface>,
}

impl Machine {
    /// All on, and every vCPU has run; interrupts are in reset state.
    pub fn new(vcpus: u8, spis: u32, list_registers: usize) -> Self {
        let gic = VGic::new(vcpus.into(), spis).expect("numbers in range");
        let cpus = std::vec![CpuInterface::new(list_registers); vcpus.into()];
        let mut machine = Self { gic, cpus };
        machine.write(0, 0, Width::Word, 0b11);
        machine.settle();
        machine
    }

    /// Every vCPU that has to look does, until none has.
    pub fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 100, "the vCPUs never come to rest");
            let mut busy = false;
            for cpu in 0..self.cpus.len() {
                busy |= self.enter(cpu as u8);
            }
            if !busy {
                return;
            }
        }
    }

    /// What a vCPU does before it enters its guest. Whether there was anything.
    pub fn enter(&mut self, cpu: u8) -> bool {
        let (vcpu, interface) = (VcpuId(cpu), &mut self.cpus[usize::from(cpu)]);
        let maintenance = interface.needs_maintenance();
        if maintenance {
            let notify = self.gic.sync(vcpu, interface);
            Self::check(&self.gic, notify);
            assert!(!notify.contains(vcpu));
        }
        if !self.gic.needs_flush(vcpu) {
            assert!(!maintenance || !interface.needs_maintenance(), "a storm of maintenance");
            return maintenance;
        }
        let mut released = Vec::new();
        let notify = self.gic.flush(vcpu, interface, |intid| released.push(intid));
        Self::check(&self.gic, notify);
        released.into_iter().for_each(|intid| interface.set_physical(intid.get().into(), false));
        assert!(!self.gic.needs_flush(vcpu), "a flush must do all of it");
        assert_eq!(self.gic.cpu(vcpu).map(|cpu| cpu.control), Some(interface.control));
        interface.assert_lawful();
        assert!(!interface.needs_maintenance(), "a storm of maintenance: {interface:?}");
        true
    }

    /// Whoever is told has a reason to look.
    pub fn check(gic: &VGic, notify: VcpuSet) {
        for vcpu in notify {
            assert!(gic.needs_flush(vcpu), "{vcpu:?} was told for nothing");
        }
    }

    /// A vCPU leaves its CPU.
    pub fn leave(&mut self, cpu: u8) {
        let interface = &mut self.cpus[usize::from(cpu)];
        let notify = self.gic.sync(VcpuId(cpu), interface);
        Self::check(&self.gic, notify);
        assert!(interface.listed().is_empty());
    }

    pub fn access(&mut self, cpu: u8, offset: u32, width: Width, operation: Operation) -> Outcome {
        let access = Access { offset, width, operation };
        let interface = &mut self.cpus[usize::from(cpu)];
        self.gic.distributor_access(VcpuId(cpu), access, interface)
    }

    /// Writes a distributor register.
    pub fn write(&mut self, cpu: u8, offset: u32, width: Width, value: u64) {
        match self.access(cpu, offset, width, Operation::Write(value)) {
            Outcome::Written(notify) => Self::check(&self.gic, notify),
            other => panic!("writing {offset:#x}: {other:?}"),
        }
    }

    /// Reads a distributor register.
    pub fn read(&mut self, cpu: u8, offset: u32, width: Width) -> u64 {
        Self::value(self.access(cpu, offset, width, Operation::Read))
    }

    pub fn private(&mut self, cpu: u8, of: u8, offset: u32, width: Width, op: Operation) -> Outcome {
        let access = Access { offset, width, operation: op };
        let interface = &mut self.cpus[usize::from(cpu)];
        self.gic.redistributor_access(VcpuId(cpu), VcpuId(of), access, interface)
    }

    /// Writes a register of a vCPU's redistributor.
    pub fn write_private(&mut self, cpu: u8, of: u8, offset: u32, width: Width, value: u64) {
        match self.private(cpu, of, offset, width, Operation::Write(value)) {
            Outcome::Written(notify) => Self::check(&self.gic, notify),
            other => panic!("writing {offset:#x}: {other:?}"),
        }
    }

    /// Reads a register of a vCPU's redistributor.
    pub fn read_private(&mut self, cpu: u8, of: u8, offset: u32, width: Width) -> u64 {
        Self::value(self.private(cpu, of, offset, width, Operation::Read))
    }

    fn value(outcome: Outcome) -> u64 {
        let Outcome::Value(value) = outcome else { panic!("reading: {outcome:?}") };
        value
    }

    /// A write to a register with one bit for each interrupt, in whichever frame has it.
    pub fn write_bit(&mut self, cpu: u8, of: u8, offset: u32, interrupt: IntId) {
        let raw = u32::from(interrupt.get());
        let (offset, value) = (offset + raw / 32 * 4, 1 << (raw % 32));
        if interrupt.is_private() {
            self.write_private(cpu, of, SGI_FRAME + offset, Width::Word, value);
        } else {
            self.write(cpu, offset, Width::Word, value);
        }
    }

    /// The bit of an interrupt in such a register.
    pub fn read_bit(&mut self, cpu: u8, of: u8, offset: u32, interrupt: IntId) -> bool {
        let raw = u32::from(interrupt.get());
        let offset = offset + raw / 32 * 4;
        let word = if interrupt.is_private() {
            self.read_private(cpu, of, SGI_FRAME + offset, Width::Word)
        } else {
            self.read(cpu, offset, Width::Word)
        };
        word >> (raw % 32) & 1 != 0
    }

    pub fn write_priority(&mut self, cpu: u8, of: u8, interrupt: IntId, priority: u8) {
        let offset = PRIORITY + u32::from(interrupt.get());
        if interrupt.is_private() {
            self.write_private(cpu, of, SGI_FRAME + offset, Width::Byte, priority.into());
        } else {
            self.write(cpu, offset, Width::Byte, priority.into());
        }
    }

    /// Sets what an interrupt's 2 bits of configuration say.
    pub fn write_edge(&mut self, cpu: u8, of: u8, interrupt: IntId, edge: bool) {
        let raw = u32::from(interrupt.get());
        let (offset, shift) = (CONFIG + raw / 16 * 4, raw % 16 * 2 + 1);
        let change = |word: u64| word & !(1 << shift) | u64::from(edge) << shift;
        if interrupt.is_private() {
            let word = change(self.read_private(cpu, of, SGI_FRAME + offset, Width::Word));
            self.write_private(cpu, of, SGI_FRAME + offset, Width::Word, word);
        } else {
            let word = change(self.read(cpu, offset, Width::Word));
            self.write(cpu, offset, Width::Word, word);
        }
    }

    /// Routes a shared interrupt to an affinity.
    pub fn route(&mut self, cpu: u8, interrupt: IntId, route: u64) {
        self.write(cpu, 0x6000 + u32::from(interrupt.get()) * 8, Width::Double, route);
    }

    /// Enables an interrupt with a priority.
    pub fn enable(&mut self, cpu: u8, raw: u32, priority: u8) -> IntId {
        let interrupt = intid(raw);
        self.write_priority(cpu, cpu, interrupt, priority);
        self.write_bit(cpu, cpu, SET_ENABLE, interrupt);
        self.settle();
        interrupt
    }

    pub fn raise(&mut self, cpu: u8, interrupt: IntId) {
        let notify = self.gic.raise(VcpuId(cpu), interrupt);
        Self::check(&self.gic, notify);
    }

    pub fn set_line(&mut self, cpu: u8, interrupt: IntId, level: bool) {
        let notify = self.gic.set_line(VcpuId(cpu), interrupt, level);
        Self::check(&self.gic, notify);
    }

    /// The timer behind a PPI or the device behind an SPI fires, if the physical interrupt can.
    pub fn fire(&mut self, cpu: u8, interrupt: IntId) -> bool {
        let interface = &mut self.cpus[usize::from(cpu)];
        if interface.is_active(interrupt.get().into()) {
            return false;
        }
        interface.set_physical(interrupt.get().into(), true);
        let notify = self.gic.raise_hw(VcpuId(cpu), interrupt, interrupt);
        Self::check(&self.gic, notify);
        true
    }

    pub fn send_sgi(&mut self, cpu: u8, value: u64) -> VcpuSet {
        let notify = self.gic.send_sgi(VcpuId(cpu), value);
        Self::check(&self.gic, notify);
        notify
    }

    pub fn acknowledge(&mut self, cpu: u8) -> Option<IntId> {
        self.cpus[usize::from(cpu)].acknowledge()
    }

    /// Ends an interrupt and, with EOImode 1, deactivates it.
    pub fn end(&mut self, cpu: u8, interrupt: IntId) {
        self.cpus[usize::from(cpu)].end(interrupt);
        self.settle();
    }

    pub fn deactivate(&mut self, cpu: u8, interrupt: IntId) {
        let interface = &mut self.cpus[usize::from(cpu)];
        let notify = self.gic.deactivate(VcpuId(cpu), interrupt.get().into(), interface);
        Self::check(&self.gic, notify);
    }

    /// The numbers in a vCPU's list registers.
    pub fn listed(&self, cpu: u8) -> Vec<u32> {
        let listed = self.cpus[usize::from(cpu)].listed();
        listed.iter().map(|lr| lr.virtual_intid()).collect()
    }
}
