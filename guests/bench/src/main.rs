//! What traps and interrupts cost, counted by the guest that causes them.
//!
//! Under QEMU's `-icount shift=0` with `cntfrq=1000000000` a tick of the counter is one instruction. Each line is
//! `bench: <key> <ticks>`: the median of the samples, the guest's own few instructions in it.
//!
//! Arguments: `self=` and `peer=`, numbers of this guest and of another that runs this program with `role=echo`. Without them
//! what needs Xen's ABI is left out.

#![no_std]
#![no_main]

mod measure;
mod xen;

use mote_unikernel::{
    Machine,
    interrupts::{self, IntId},
    println,
    time::Timer,
};

mote_unikernel::entry!(main);

/// Samples of each operation. The first few pay for the hypervisor's laziness, the median does not.
const SAMPLES: usize = 101;
/// The interrupt that the guest sends itself.
const SGI: u32 = 1;

fn main(machine: Machine) {
    let peer = machine.number("peer").map(|number| number as u16);
    if let (Some("echo"), Some(peer)) = (machine.argument("role"), peer) {
        return xen::echo(peer);
    }
    println!("bench: boot {}", machine.first_instruction());
    println!("bench: psci_version {}", median(measure::psci_version));

    let distributor = machine.device("arm,gic-v3").next().expect("a GICv3");
    println!("bench: gicd_typer {}", median(|| measure::gicd_typer(&distributor)));

    interrupts::register(IntId::sgi(SGI), |_| ());
    println!("bench: self_sgi {}", median(|| measure::self_sgi(SGI)));

    let timer = machine.timer_interrupt(Timer::Virtual).expect("a virtual timer");
    interrupts::register(timer, |_| ());
    println!("bench: vtimer {}", median(measure::virtual_timer));
    if let (Some(me), Some(peer)) = (machine.number("self"), peer) {
        xen::measure(&machine, me as u16, peer);
    }
    println!("bench: done");
}

fn median(operation: impl FnMut() -> u64) -> u64 {
    let mut samples = [0; SAMPLES];
    samples.fill_with(operation);
    samples.sort_unstable();
    samples[SAMPLES / 2]
}
