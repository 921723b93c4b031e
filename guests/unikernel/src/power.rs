//! The ends of a domain: by PSCI where all is well, by Xen's hypercall where it is not.

use core::arch::asm;

use smccc::{Hvc, psci};
use xen_abi::arch_arm::HYPERCALL_TAG;

use crate::arch;

/// `sched_op` and its sub-operation (Xen's public `xen.h`, `sched.h`).
const HYPERVISOR_SCHED_OP: u64 = 29;
const SCHEDOP_SHUTDOWN: u64 = 2;
/// Why a domain ends (`SHUTDOWN_crash`).
const SHUTDOWN_CRASH: u32 = 3;

/// Shuts the domain down.
pub fn shutdown() -> ! {
    let _ = psci::system_off::<Hvc>();
    halt()
}

/// Ends the domain with the wish to be started again.
pub fn reboot() -> ! {
    let _ = psci::system_reset::<Hvc>();
    halt()
}

/// Ends the domain as one that failed. A hypervisor that cannot be told so sees an ordinary shutdown.
pub fn crash() -> ! {
    let reason = SHUTDOWN_CRASH;
    // SAFETY: the hypervisor reads the `struct sched_shutdown` at `reason`, which is one `unsigned int`.
    unsafe { hypercall(HYPERVISOR_SCHED_OP, [SCHEDOP_SHUTDOWN, &raw const reason as u64]) };
    shutdown()
}

/// Xen's hypercall `number`. Returns what Xen does: 0 or more, or a negative error number.
///
/// # Safety
///
/// What the hypercall does to the domain's memory must be sound.
pub unsafe fn hypercall(number: u64, [first, second]: [u64; 2]) -> i64 {
    let result;
    // SAFETY: the registers that a hypercall may change are declared; for the rest the caller answers.
    unsafe {
        asm!(
            "hvc #{tag}",
            tag = const HYPERCALL_TAG,
            inout("x16") number => _,
            inout("x0") first => result,
            inout("x1") second => _,
            lateout("x2") _, lateout("x3") _, lateout("x4") _,
            options(nostack),
        );
    }
    result
}

fn halt() -> ! {
    loop {
        arch::wait_for_interrupt();
    }
}
