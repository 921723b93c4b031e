//! What Xen's ABI gives a guest besides a machine: hypercalls, event channels, grants, memory that is shared.
//!
//! The same calls are answered by Mote and by Xen. Nothing is set up before it is used: the first [`events::Port`] maps the shared page,
//! the first [`grants::Grant`] the grant table. What [`domains`], [`foreign`] and [`boot`] have is for a control domain.

pub mod boot;
pub mod copy;
pub mod devices;
pub mod domains;
pub mod events;
pub mod foreign;
pub mod grants;
mod hypercall;
pub mod page;
pub mod pool;
pub mod store;
#[cfg(feature = "virtio")]
pub mod transfers;

pub use hypercall::{Arguments, hypercall};
pub use xen_abi::errno::Errno;

use xen_abi::hvm::{GET_PARAM, Param};
use xen_abi::xen::domid;
use xen_abi::xen::hypercall::{HVM_OP, SCHED_OP, XEN_VERSION};

/// The version of Xen's ABI that there is, as (major, minor).
///
/// # Errors
/// If there is no hypervisor that speaks it.
pub fn version() -> Result<(u32, u32), Errno> {
    // SAFETY: it changes no memory.
    let version = unsafe { hypercall(XEN_VERSION, [0; 5]) }?;
    Ok((version as u32 >> 16, version as u32 & 0xffff))
}

/// A parameter of this domain ([`xen_abi::hvm::param`]).
///
/// # Errors
/// The hypervisor's.
pub fn parameter(index: u32) -> Result<u64, Errno> {
    let mut argument = Param { domid: domid::SELF, pad: 0, index, value: 0 };
    // SAFETY: it changes the structure alone.
    unsafe { call(HVM_OP, GET_PARAM, &mut argument) }?;
    Ok(argument.value)
}

/// Lets other vCPUs run.
pub fn yield_now() {
    // SAFETY: it changes no memory.
    let _ = unsafe { hypercall(SCHED_OP, [xen_abi::sched::op::YIELD, 0, 0, 0, 0]) };
    // Where no other waits for this pCPU, it is another pCPU's turn.
    crate::arch::relax();
}

/// Makes a call whose argument is a structure, which it may change.
///
/// # Errors
/// The hypervisor's.
///
/// # Safety
/// What the call does to the domain's memory besides must be sound.
pub unsafe fn call<T>(number: u64, op: u64, argument: &mut T) -> Result<u64, Errno> {
    let address = (&raw mut *argument).addr() as u64;
    // SAFETY: the structure is there for the time of the call; for the rest the caller answers.
    unsafe { hypercall(number, [op, address, 1, 0, 0]) }
}
