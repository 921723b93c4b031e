//! The calling pCPU's list registers, as the virtual GIC of core works on them.

use mote_core::vgic::{Hcr, ListRegister, ListRegisters, Vmcr};
use mote_platform::list_registers;

/// The list registers in the CPU. Only for a vCPU that is loaded on the calling pCPU.
pub struct Live;

impl ListRegisters for Live {
    fn count(&self) -> usize {
        list_registers::count()
    }

    fn get(&self, n: usize) -> ListRegister {
        ListRegister(list_registers::get(n))
    }

    fn set(&mut self, n: usize, register: ListRegister) {
        list_registers::set(n, register.0);
    }

    fn empty(&self) -> u32 {
        list_registers::empty()
    }

    fn take_end_count(&mut self) -> u32 {
        list_registers::take_end_count()
    }

    fn set_control(&mut self, control: Hcr) {
        list_registers::set_control(control.0);
    }

    fn vmcr(&self) -> Vmcr {
        Vmcr(list_registers::machine_control())
    }
}
