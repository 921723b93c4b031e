//! What EL2 asks of the firmware, by PSCI.

use core::sync::atomic::{AtomicBool, Ordering};

use smccc::{Smc, psci};

static IS_THERE: AtomicBool = AtomicBool::new(false);

/// Remembers that there is firmware that answers `SMC`: at EL2, none can answer `HVC`.
pub fn init() {
    IS_THERE.store(true, Ordering::Relaxed);
}

/// Switches the machine off; where the firmware cannot, stops the calling CPU.
pub fn system_off() -> ! {
    if IS_THERE.load(Ordering::Relaxed) {
        let _ = psci::system_off::<Smc>();
    }
    loop {
        aarch64_cpu::asm::wfe();
    }
}
