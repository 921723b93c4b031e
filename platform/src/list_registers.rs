//! The virtual CPU interface: list registers, and what goes with a vCPU when it is switched (GICv3 12.4).

use aarch64_cpu::registers::{
    ICH_AP0R0_EL2, ICH_AP0R1_EL2, ICH_AP0R2_EL2, ICH_AP0R3_EL2, ICH_AP1R0_EL2, ICH_AP1R1_EL2, ICH_AP1R2_EL2,
    ICH_AP1R3_EL2, ICH_HCR_EL2, ICH_LR0_EL2, ICH_LR1_EL2, ICH_LR2_EL2, ICH_LR3_EL2, ICH_LR4_EL2, ICH_LR5_EL2,
    ICH_LR6_EL2, ICH_LR7_EL2, ICH_LR8_EL2, ICH_LR9_EL2, ICH_LR10_EL2, ICH_LR11_EL2, ICH_LR12_EL2, ICH_LR13_EL2,
    ICH_LR14_EL2, ICH_LR15_EL2, ICH_VMCR_EL2, ICH_VTR_EL2, Readable, Writeable,
};

/// Most list registers the architecture has.
pub const MAX_LIST_REGISTERS: usize = 16;

/// `ICH_HCR_EL2.En`: the virtual CPU interface is on.
pub const HCR_ENABLE: u64 = 1;

/// The calling CPU's list registers, live while a vCPU runs on it.
#[derive(Clone, Copy, Debug)]
pub struct LiveListRegisters;

impl LiveListRegisters {
    /// How many there are.
    #[must_use]
    pub fn count(self) -> usize {
        ICH_VTR_EL2.read(ICH_VTR_EL2::ListRegs) as usize + 1
    }

    /// One bit for each list register that holds no interrupt (`ICH_ELRSR_EL2`).
    #[must_use]
    pub fn empty(self) -> u32 {
        let value: u64;
        // SAFETY: reading ICH_ELRSR_EL2 has no effect.
        unsafe {
            core::arch::asm!("mrs {}, ich_elrsr_el2", out(reg) value, options(nomem, nostack, preserves_flags));
        }
        value as u32
    }

    /// `ICH_LR<index>_EL2`, or zero past the last.
    #[must_use]
    pub fn get(self, index: usize) -> u64 {
        match index {
            0 => ICH_LR0_EL2.get(),
            1 => ICH_LR1_EL2.get(),
            2 => ICH_LR2_EL2.get(),
            3 => ICH_LR3_EL2.get(),
            4 => ICH_LR4_EL2.get(),
            5 => ICH_LR5_EL2.get(),
            6 => ICH_LR6_EL2.get(),
            7 => ICH_LR7_EL2.get(),
            8 => ICH_LR8_EL2.get(),
            9 => ICH_LR9_EL2.get(),
            10 => ICH_LR10_EL2.get(),
            11 => ICH_LR11_EL2.get(),
            12 => ICH_LR12_EL2.get(),
            13 => ICH_LR13_EL2.get(),
            14 => ICH_LR14_EL2.get(),
            15 => ICH_LR15_EL2.get(),
            _ => 0,
        }
    }

    /// Sets `ICH_LR<index>_EL2`; nothing past the last.
    pub fn set(self, index: usize, value: u64) {
        match index {
            0 => ICH_LR0_EL2.set(value),
            1 => ICH_LR1_EL2.set(value),
            2 => ICH_LR2_EL2.set(value),
            3 => ICH_LR3_EL2.set(value),
            4 => ICH_LR4_EL2.set(value),
            5 => ICH_LR5_EL2.set(value),
            6 => ICH_LR6_EL2.set(value),
            7 => ICH_LR7_EL2.set(value),
            8 => ICH_LR8_EL2.set(value),
            9 => ICH_LR9_EL2.set(value),
            10 => ICH_LR10_EL2.set(value),
            11 => ICH_LR11_EL2.set(value),
            12 => ICH_LR12_EL2.set(value),
            13 => ICH_LR13_EL2.set(value),
            14 => ICH_LR14_EL2.set(value),
            15 => ICH_LR15_EL2.set(value),
            _ => {}
        }
    }

    /// `ICH_HCR_EL2`: which maintenance interrupts are wanted, and the count of EOIs without a list register.
    #[must_use]
    pub fn control(self) -> u64 {
        ICH_HCR_EL2.get()
    }

    /// Sets `ICH_HCR_EL2`.
    pub fn set_control(self, value: u64) {
        ICH_HCR_EL2.set(value);
    }

    /// `ICH_VMCR_EL2`: the guest's view of its CPU interface: priority mask, group enables.
    #[must_use]
    pub fn machine_control(self) -> u64 {
        ICH_VMCR_EL2.get()
    }
}

/// The virtual CPU interface of a vCPU that is not running, except its list registers.
#[derive(Clone, Debug)]
pub struct VirtualInterface {
    machine_control: u64,
    active_priorities: [[u64; 4]; 2],
}

impl VirtualInterface {
    /// As after a reset: all masked, nothing active.
    #[must_use]
    pub const fn new() -> Self {
        Self { machine_control: 0, active_priorities: [[0; 4]; 2] }
    }

    /// Takes the state from the calling CPU and switches its virtual interface off.
    pub fn save(&mut self) {
        self.machine_control = ICH_VMCR_EL2.get();
        let [group0, group1] = &mut self.active_priorities;
        group0[0] = ICH_AP0R0_EL2.get();
        group1[0] = ICH_AP1R0_EL2.get();
        if priority_registers() >= 2 {
            group0[1] = ICH_AP0R1_EL2.get();
            group1[1] = ICH_AP1R1_EL2.get();
        }
        if priority_registers() == 4 {
            group0[2] = ICH_AP0R2_EL2.get();
            group0[3] = ICH_AP0R3_EL2.get();
            group1[2] = ICH_AP1R2_EL2.get();
            group1[3] = ICH_AP1R3_EL2.get();
        }
        ICH_HCR_EL2.set(0);
    }

    /// Puts the state into the calling CPU.
    pub fn load(&self) {
        ICH_VMCR_EL2.set(self.machine_control);
        let [group0, group1] = &self.active_priorities;
        ICH_AP0R0_EL2.set(group0[0]);
        ICH_AP1R0_EL2.set(group1[0]);
        if priority_registers() >= 2 {
            ICH_AP0R1_EL2.set(group0[1]);
            ICH_AP1R1_EL2.set(group1[1]);
        }
        if priority_registers() == 4 {
            ICH_AP0R2_EL2.set(group0[2]);
            ICH_AP0R3_EL2.set(group0[3]);
            ICH_AP1R2_EL2.set(group1[2]);
            ICH_AP1R3_EL2.set(group1[3]);
        }
    }
}

/// Active-priority registers per group: 1 for up to 5 preemption bits, 2 for 6, 4 for 7 (`ICH_VTR_EL2.PREbits`).
fn priority_registers() -> u32 {
    let bits = ICH_VTR_EL2.read(ICH_VTR_EL2::PREbits) as u32 + 1;
    1 << bits.saturating_sub(5)
}

impl Default for VirtualInterface {
    fn default() -> Self {
        Self::new()
    }
}
