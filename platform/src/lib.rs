//! The machine: the only room with `unsafe` and assembly.
//!
//! What belongs here: exception entry, the switch into a guest and back, EL2's and stage 2's translation registers, the GIC,
//! the generic timer, the UART, firmware calls, and access to physical memory. What does not: any decision that can be taken
//! without these, and any notion of a domain. Whatever safe code does with this interface, EL2's own memory stays its own.
//!
//! A CPU comes in through `boot`, which calls the functions named by [`entry!`]; a guest is entered by [`guest::run`], which
//! calls its [`guest::ExitHandler`] at every exit and returns when that says so.

#![no_std]

extern crate alloc;

mod boot;
mod copy;
pub mod cpu;
pub mod exceptions;
pub mod firmware;
pub mod gic;
pub mod guest;
pub mod heap;
pub mod image;
pub mod list_registers;
pub mod lock;
pub mod memory;
mod mmu;
mod register;
pub mod stage2;
pub mod syndrome;
pub mod timer;
pub mod uart;

pub use boot::boot_tree;
pub use mmu::MapError;
