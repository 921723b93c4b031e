//! Every decision of the hypervisor, as plain state machines.
//!
//! What belongs here: anything that can be decided without touching a register or an address
//! that was not handed in. What does not: `unsafe`, assembly, MMIO, global state. Where a decision
//! needs the machine it takes a small trait, which the host tests implement with a struct.
//!
//! A boot passes through here as `tree` and `machine` (what there is); a domain's life as `frames` and `p2m` (its memory), `events`
//! and `grants` (what it shares); a trap as `psci`, `vgic`, `vpl011`, `idregs`; and `sched` decides who runs.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod addr;
pub mod console;
pub mod esr;
pub mod events;
pub mod frames;
pub mod grants;
pub mod id;
pub mod idregs;
pub mod ledger;
pub mod machine;
pub mod mmio;
pub mod p2m;
pub mod policy;
pub mod psci;
pub mod runstate;
pub mod sched;
pub mod sysreg;
#[cfg(test)]
mod testing;
pub mod timer;
pub mod tree;
pub mod vgic;
pub mod vmid;
pub mod vpl011;
pub mod watchdog;
