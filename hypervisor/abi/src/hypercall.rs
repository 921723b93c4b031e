//! Hypercall numbers and errors (`xen.h`, `errno.h`).

/// `__HYPERVISOR_sched_op`.
pub const SCHED_OP: u64 = 29;

/// An error, as a hypercall answers it in x0.
const fn error(number: i64) -> u64 {
    number.wrapping_neg() as u64
}

/// `XEN_EFAULT`: an address that cannot be read or written.
pub const EFAULT: u64 = error(14);
/// `XEN_EINVAL`: an argument that makes no sense.
pub const EINVAL: u64 = error(22);
/// `XEN_ENOSYS`: there is no such hypercall.
pub const ENOSYS: u64 = error(38);
