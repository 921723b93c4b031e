//! The smallest useful guest: says hello, what machine it found, how long that took, and is gone.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use mote_unikernel::{
    Machine, println,
    time::{Instant, Timer},
};

mote_unikernel::entry!(main);

fn main(machine: Machine) {
    let created = Instant::now().ticks();
    let entered = Timer::Physical.count() - machine.first_instruction();
    println!("hello: a unikernel with {} vCPU and {} KiB", machine.vcpus(), machine.memory_size() >> 10);
    println!("hello: main began {created} ticks after creation, {entered} after the first instruction");
}
