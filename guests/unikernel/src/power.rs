//! The ends of a domain: by PSCI where all is well, by Xen's hypercall where it is not.

use smccc::{Hvc, psci};
use xen_abi::sched::{Shutdown, op, reason};
use xen_abi::xen::hypercall::SCHED_OP;

use crate::{arch, xen};

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
    // SAFETY: it reads the structure alone.
    let _ = unsafe { xen::call(SCHED_OP, op::SHUTDOWN, &mut Shutdown { reason: reason::CRASH }) };
    shutdown()
}

fn halt() -> ! {
    loop {
        arch::wait_for_interrupt();
    }
}
