//! The control domain: it builds all other domains, takes them apart when they end, and switches the machine off when none is left.
//!
//! What belongs here: who is there, when whom to build and to end. What does not: how a domain is laid out, which `mote-builder` knows,
//! and hypercalls, which the library makes.
//!
//! At start [`machine`] finds what the boot loader left, and [`toolstack`] builds what the configuration asks for into the table of
//! [`domains`]. What it must not forget is written down as [`record`]s in the memory of the [`keeper`]: if this domain fails and is built again,
//! [`takeover`] goes on with that. From then on tasks run by turns and share the toolstack: [`reaper`] waits for domains that end, and reports them by
//! [`report`]; what driver domains want built is in [`orders`], and what from in [`stock`]; [`console`] and [`store`] serve guests' rings; where there is a driver domain, [`api`] serves the network, and [`hosts`] lead to services.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod api;
mod build;
mod console;
mod domains;
mod hosts;
mod keeper;
mod machine;
mod orders;
mod reaper;
mod record;
mod report;
mod statistics;
mod stock;
mod store;
mod takeover;
mod toolstack;
mod work;

use core::cell::RefCell;

use mote_unikernel::executor::Executor;
use mote_unikernel::xen::boot::BootMemory;
use mote_unikernel::xen::domains as hypervisor;
use mote_unikernel::{Machine, power, println};

use reaper::Reaper;
use toolstack::Toolstack;

mote_unikernel::entry!(main);

/// This domain's share of the pCPUs, where others have 256: it does what others wait for, and sleeps most of the time.
const WEIGHT: u16 = 8192;

fn main(machine: Machine) {
    // All wait for it. If it stays as it is, they wait longer.
    let _ = hypervisor::set_weight(0, WEIGHT);
    let before = takeover::builds_before();
    let mut boot = BootMemory::take().expect("nobody asked before");
    let reaper = Reaper::new().expect("the hypervisor tells of domains that end");
    let typing = console::typing().expect("the hypervisor tells of what is typed");
    let (configuration, seeds, all) = match machine::read(&machine, &boot, before) {
        Ok(found) => found,
        Err(error) => return println!("{error}"),
    };
    let toolstack = Toolstack::new(&machine, seeds);
    let mut toolstack = toolstack.expect("addresses at which other domains' memory can be mapped");
    if before == 0 {
        toolstack.keep(&machine, &configuration);
        toolstack.build_all(&configuration, &boot);
    } else {
        toolstack.take_over(&machine, &configuration);
    }
    let has_network = configuration.domains.iter().any(|domain| domain.driver);
    drop(configuration);
    boot.release(all);
    if !toolstack.domains.keep_machine_on() {
        println!("no domain could be built");
    }
    let toolstack = RefCell::new(toolstack);
    let mut executor = Executor::new();
    executor.spawn(console::serve(typing, &toolstack));
    executor.spawn(store::serve(&toolstack));
    if has_network {
        executor.spawn(api::open(machine, &toolstack, executor.spawner()));
    }
    executor.spawn(async {
        reaper.run(&toolstack, before > 0).await;
        power::shutdown()
    });
    executor.run();
}
