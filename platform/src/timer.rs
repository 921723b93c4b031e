//! The generic timer: the machine's clock and EL2's own alarm (Arm ARM D12).

use core::arch::asm;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTHP_CTL_EL2, CNTPCT_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, Readable, Writeable};

/// Ticks of the physical counter since the machine was reset.
pub fn now() -> u64 {
    barrier::isb(barrier::SY);
    CNTPCT_EL0.get()
}

/// Ticks in a second.
pub fn frequency() -> u64 {
    CNTFRQ_EL0.get()
}

/// Sets EL2's alarm on the calling CPU: its PPI is asserted from `deadline` on, or never.
pub fn set_alarm(deadline: Option<u64>) {
    const ENABLE: u64 = 1;
    if let Some(deadline) = deadline {
        // SAFETY: the compare value of EL2's own timer affects nothing but when its interrupt comes.
        unsafe { asm!("msr cnthp_cval_el2, {}", in(reg) deadline, options(nomem, nostack, preserves_flags)) };
    }
    CNTHP_CTL_EL2.set(if deadline.is_some() { ENABLE } else { 0 });
}

/// `CNTV_CTL_EL0` and `CNTV_CVAL_EL0` of the vCPU that is loaded on the calling CPU.
pub fn virtual_timer() -> (u64, u64) {
    (CNTV_CTL_EL0.get(), CNTV_CVAL_EL0.get())
}
