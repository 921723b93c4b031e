//! Mote: a type-1 hypervisor for ARM64.
//!
//! This room ties `mote-core`, which decides, to `mote-platform`, which does: it holds the locks, the order of
//! booting, and the way from a trap to its answer. It has no `unsafe` code and takes no decision that
//! could be tested on the host.
//!
//! The boot CPU reads the machine's device tree, opens the pool of frames, builds the domains and wakes the
//! other CPUs (`boot`, `builder`). Then each CPU serves vCPUs for good (`pcpu`); a vCPU's exits are answered in
//! `exits`. A domain that ends is taken apart by the CPU that its last vCPU left (`domain`), and the machine goes off with
//! the last domain.

#![no_std]
#![no_main]
#![deny(unsafe_code)]

extern crate alloc;

mod boot;
mod builder;
mod console;
mod domain;
mod entropy;
mod exits;
mod fault;
mod interface;
mod machine;
mod memory;
mod passthrough;
mod pcpu;
mod stats;
mod vcpu;

mote_platform::entry!(boot::main, boot::secondary, fault::report);
