//! The driver domain: owns the machine's devices and serves them to guests.
//!
//! What it has comes from its device tree, what it is to do from xenstore ([`offers`]), and what it did is told by [`statistics`]. Disks ([`block`]) and networks ([`net`]) know nothing of each
//! other; each device of a guest's is served by a task of its own, and a guest that misbehaves loses its connection and nobody else anything.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod block;
mod complaints;
mod net;
mod offers;
mod statistics;

use mote_unikernel::executor::Executor;
use mote_unikernel::xen::events;
use mote_unikernel::xen::store::Store;
use mote_unikernel::{Machine, println};

use statistics::Statistics;

mote_unikernel::entry!(main);

fn main(machine: Machine) {
    if let Err(error) = events::many() {
        println!("it has 4095 event channels at most: {error:?}");
    }
    let mut executor = Executor::new();
    let spawner = executor.spawner();
    executor.spawn(async move {
        let Ok(store) = Store::connect().await else { return println!("no xenstore") };
        let statistics = Statistics::new(&store);
        spawner.spawn(block::serve(machine, store.clone(), statistics.clone(), spawner.clone()));
        spawner.spawn(net::serve(machine, store, statistics, spawner.clone()));
    });
    executor.run();
}
