//! Asks a hypervisor what a guest can ask, and prints each answer as `probe: <name> = <value>`.
//!
//! The names and their order are the same wherever it runs, so that the answers of two hypervisors can be compared line by line. It
//! asks, and judges nothing. What has effects is undone or comes last; `wild` holds what is unsafe.
//!
//! Arguments: `self=` and `peer=`, numbers of this guest and of another that runs this program with `role=other`.

#![no_std]
#![no_main]
#![deny(unsafe_code)]

extern crate alloc;

mod calls;
mod events;
mod fifo;
mod gic;
mod grants;
mod hvm;
mod memory;
mod multicall;
mod other;
mod pages;
mod pointers;
mod psci;
mod registers;
mod sched;
mod tree;
mod uart;
mod vcpu;
mod version;
#[allow(unsafe_code)]
mod wild;

use core::fmt::Display;

use mote_unikernel::{Machine, println};

mote_unikernel::entry!(main);

/// Two guests by their numbers.
#[derive(Clone, Copy)]
struct Guests {
    me: u16,
    peer: u16,
}

/// Numbers of no guest: one that could be some day, and those that Xen reserves.
const NOBODY: [u16; 8] = [0, 77, 0x7fef, 0x7ff1, 0x7ff2, 0x7ff3, 0x7ff4, 0xffff];

fn main(machine: Machine) {
    let number = |name| machine.number(name).map(|number| number as u16);
    let (Some(me), Some(peer)) = (number("self"), number("peer")) else {
        panic!("the arguments self= and peer= are missing");
    };
    let guests = Guests { me, peer };
    if machine.argument("role") == Some("other") {
        other::serve(peer);
    }
    registers::probe();
    tree::probe(&machine);
    calls::probe();
    version::probe();
    pointers::probe();
    multicall::probe();
    hvm::probe(guests);
    memory::probe(guests);
    sched::probe(guests);
    events::probe(guests);
    grants::probe(guests);
    vcpu::probe();
    fifo::probe();
    psci::probe();
    uart::probe(&machine);
    gic::probe(&machine);
    println!("probe: done");
}

/// Prints an answer.
#[inline(never)]
fn say(name: impl Display, value: impl Display) {
    println!("probe: {name} = {value}");
}
