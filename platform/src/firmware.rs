//! What EL2 asks of the firmware, by PSCI.

use smccc::psci;
use smccc::{Hvc, Smc};
use spin::Once;

/// How the firmware is called: the device tree's `psci` node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// `SMC`, answered at EL3.
    Smc,
    /// `HVC`, where EL2 is itself a guest.
    Hvc,
}

static CONDUIT: Once<Conduit> = Once::new();

/// Remembers how to call the firmware.
pub fn init(conduit: Conduit) {
    CONDUIT.call_once(|| conduit);
}

/// Starts a CPU at a physical address with a value in x0.
pub(crate) fn cpu_on(mpidr: u64, entry: u64, context: u64) -> Result<(), psci::Error> {
    match CONDUIT.get() {
        Some(Conduit::Smc) => psci::cpu_on::<Smc>(mpidr, entry, context),
        Some(Conduit::Hvc) => psci::cpu_on::<Hvc>(mpidr, entry, context),
        None => Err(psci::Error::NotSupported),
    }
}

/// Switches the machine off; where the firmware cannot, stops the calling CPU.
pub fn system_off() -> ! {
    let _ = match CONDUIT.get() {
        Some(Conduit::Smc) => psci::system_off::<Smc>(),
        Some(Conduit::Hvc) => psci::system_off::<Hvc>(),
        None => Ok(()),
    };
    loop {
        aarch64_cpu::asm::wfe();
    }
}
