//! The instruction.

use core::arch::asm;

use xen_abi::arch_arm::HYPERCALL_TAG;
use xen_abi::errno::Errno;

/// x0 to x4.
pub type Arguments = [u64; 5];

/// Xen's hypercall `number`.
///
/// # Errors
/// What the hypervisor says.
///
/// # Safety
/// What the hypercall does to the domain's memory must be sound.
pub unsafe fn hypercall(number: u64, arguments: Arguments) -> Result<u64, Errno> {
    let answer: u64;
    // SAFETY: the registers that a hypercall may change are declared; for the rest the caller answers.
    unsafe {
        asm!(
            "hvc #{tag}",
            tag = const HYPERCALL_TAG,
            inout("x16") number => _,
            inout("x0") arguments[0] => answer,
            inout("x1") arguments[1] => _,
            inout("x2") arguments[2] => _,
            inout("x3") arguments[3] => _,
            inout("x4") arguments[4] => _,
            options(nostack),
        );
    }
    Errno::in_answer(answer).map_or(Ok(answer), Err)
}
