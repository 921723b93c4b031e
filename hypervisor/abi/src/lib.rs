//! The wire types of Xen's ABI on Arm: numbers, layouts and addresses that a guest sees.
//!
//! The authority is Xen's public headers (`xen/include/public/`, version 4.20). This room holds
//! facts and no behaviour; hypervisor, guests and tests share it.

#![no_std]
#![forbid(unsafe_code)]

pub mod arch_arm;
pub mod hypercall;
pub mod sched;
