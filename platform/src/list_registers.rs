//! The virtual CPU interface: list registers, live while a vCPU runs on the calling CPU, and what goes with a vCPU when it
//! is switched (GICv3 12.4).

use aarch64_cpu::registers::*;

use crate::register::{read, saved_registers};

/// How many list registers there are.
pub fn count() -> usize {
    ICH_VTR_EL2.read(ICH_VTR_EL2::ListRegs) as usize + 1
}

/// One bit for each list register that holds no interrupt (`ICH_ELRSR_EL2`).
pub fn empty() -> u32 {
    read!("ich_elrsr_el2") as u32
}

/// `$access`, where `$register` is `ICH_LR<index>_EL2`: an instruction names its register, so each has its own.
macro_rules! with_list_register {
    ($index:expr, $register:ident => $access:expr) => {
        with_list_register!($index, $register => $access,
            0 ICH_LR0_EL2, 1 ICH_LR1_EL2, 2 ICH_LR2_EL2, 3 ICH_LR3_EL2, 4 ICH_LR4_EL2, 5 ICH_LR5_EL2,
            6 ICH_LR6_EL2, 7 ICH_LR7_EL2, 8 ICH_LR8_EL2, 9 ICH_LR9_EL2, 10 ICH_LR10_EL2, 11 ICH_LR11_EL2,
            12 ICH_LR12_EL2, 13 ICH_LR13_EL2, 14 ICH_LR14_EL2, 15 ICH_LR15_EL2)
    };
    ($index:expr, $register:ident => $access:expr, $($number:literal $name:ident),*) => {
        match $index {
            $($number => { let $register = $name; $access })*
            _ => Default::default(),
        }
    };
}

/// `ICH_LR<index>_EL2`, or zero past the last.
pub fn get(index: usize) -> u64 {
    with_list_register!(index, register => register.get())
}

/// Sets `ICH_LR<index>_EL2`; nothing past the last.
pub fn set(index: usize, value: u64) {
    with_list_register!(index, register => register.set(value));
}

/// How many EOIs there were without a list register (`ICH_HCR_EL2.EOIcount`), since this was asked last.
pub fn take_end_count() -> u32 {
    let count = ICH_HCR_EL2.read(ICH_HCR_EL2::EOIcount) as u32;
    ICH_HCR_EL2.modify(ICH_HCR_EL2::EOIcount.val(0));
    count
}

/// Sets `ICH_HCR_EL2`: which maintenance interrupts are wanted.
pub fn set_control(value: u64) {
    ICH_HCR_EL2.set(value);
}

/// `ICH_VMCR_EL2`: the guest's view of its CPU interface: priority mask, group enables.
pub fn machine_control() -> u64 {
    ICH_VMCR_EL2.get()
}

saved_registers! {
    struct Always { ich_vmcr_el2 ich_ap0r0_el2 ich_ap1r0_el2 }
}
saved_registers! {
    struct WithSixBits { ich_ap0r1_el2 ich_ap1r1_el2 }
}
saved_registers! {
    struct WithSevenBits { ich_ap0r2_el2 ich_ap0r3_el2 ich_ap1r2_el2 ich_ap1r3_el2 }
}

/// The virtual CPU interface of a vCPU that is not running, except its list registers. By default as after a reset: all
/// masked, nothing active.
#[derive(Clone, Debug, Default)]
pub struct VirtualInterface {
    always: Always,
    // Active priorities past the first register of each group, of which there are 2 for 6 preemption bits and 4 for 7.
    six: WithSixBits,
    seven: WithSevenBits,
}

impl VirtualInterface {
    /// Takes the state from the calling CPU and switches its virtual interface off.
    pub fn save(&mut self) {
        self.always.read();
        if preemption_bits() >= 6 {
            self.six.read();
        }
        if preemption_bits() >= 7 {
            self.seven.read();
        }
        ICH_HCR_EL2.set(0);
    }

    /// Puts the state into the calling CPU.
    pub fn load(&self) {
        self.always.write();
        if preemption_bits() >= 6 {
            self.six.write();
        }
        if preemption_bits() >= 7 {
            self.seven.write();
        }
    }
}

fn preemption_bits() -> u64 {
    ICH_VTR_EL2.read(ICH_VTR_EL2::PREbits) + 1
}
