//! TCP, UDP, DHCP and DNS as futures: smoltcp's state machines behind one [`Stack`], which tasks share.
//!
//! One task, the runner, moves packets: it calls [`Stack::poll`] when a packet came, when time has come, or when [`Stack::work`] says that
//! another task has something to send. All other tasks deal in [`tcp::Stream`]s and the like, and are woken by the runner's polls. There is
//! no other thread: the stack is for one executor.
//!
//! Nothing here knows a device or a clock: both are the caller's, so that all of it is tested on the host, two stacks against each other.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod configuration;
#[cfg(feature = "dns")]
pub mod dns;
pub mod offload;
mod random;
mod stack;
pub mod tcp;
#[cfg(feature = "udp")]
pub mod udp;

#[cfg(test)]
mod tests;

pub use configuration::{Address, Configuration, Fixed};
pub use smoltcp;
pub use stack::Stack;
