//! A guest that misbehaves and says what it got for it: the architecture's answer, or the hypervisor is wrong.
//!
//! `do=NAME,NAME…` chooses; without it every misbehaviour that a guest survives is tried in turn. Each that got what it
//! should prints `rogue: NAME ok`; the first that did not ends the guest as crashed. `wild` holds what is unsafe.

#![no_std]
#![no_main]
#![deny(unsafe_code)]

mod calls;
mod devices;
mod endings;
mod interrupts;
mod memory;
#[allow(unsafe_code)]
mod wild;

use mote_unikernel::{Machine, println};

mote_unikernel::entry!(main);

type Misbehaviour = (&'static str, fn(&Machine));

/// What a guest survives.
const SURVIVED: [Misbehaviour; 13] = [
    ("outside", memory::outside),
    ("foreign-devices", memory::foreign_devices),
    ("fetch", memory::fetch),
    ("maintenance", memory::maintenance),
    ("smc", calls::smc),
    ("hvc", calls::hvc),
    ("hypercalls", calls::hypercalls),
    ("psci", calls::psci),
    ("hints", calls::hints),
    ("priorities", interrupts::priorities),
    ("storm", interrupts::storm),
    ("stray", interrupts::stray),
    ("mmio", devices::mmio),
];

/// What it does not: the domain ends, or goes on for ever.
const ENDINGS: [Misbehaviour; 7] = [
    ("panic", endings::panic),
    ("undefined", endings::undefined),
    ("stack", endings::stack),
    ("fault-loop", endings::fault_loop),
    ("reboot", endings::reboot),
    ("flood", endings::flood),
    ("idle", endings::idle),
];

fn main(machine: Machine) {
    let Some(chosen) = machine.argument("do") else {
        for misbehaviour in &SURVIVED {
            misbehave(&machine, misbehaviour);
        }
        return;
    };
    for name in chosen.split(',') {
        let known = SURVIVED.iter().chain(&ENDINGS).find(|(known, _)| *known == name);
        misbehave(&machine, known.expect("no such misbehaviour"));
    }
}

fn misbehave(machine: &Machine, (name, misbehaviour): &Misbehaviour) {
    println!("rogue: {name}");
    misbehaviour(machine);
    println!("rogue: {name} ok");
}
