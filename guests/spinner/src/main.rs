//! Computes and never gives the vCPU up, the neighbour that a scheduler must cope with.
//!
//! Arguments: `work=N` shuts down after N units of work, without it there is no end; `report=MS` tells the units done
//! every so many milliseconds, without it there is not one exit.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::{hint::black_box, time::Duration};

use mote_unikernel::{
    Machine, println,
    time::{self, Instant},
};

mote_unikernel::entry!(main);

/// Additions in a unit of work: some milliseconds on a machine of a few hundred million instructions a second.
const UNIT: u64 = 1_000_000;

fn main(machine: Machine) {
    let work = machine.number("work").unwrap_or(u64::MAX);
    let period = machine.number("report").map(Duration::from_millis);
    println!("spinner: begins");
    let mut next = period.map(|period| Instant::now() + period);
    for done in 1..=work {
        (0..UNIT).for_each(|value| {
            black_box(value);
        });
        if let (Some(due), Some(period)) = (next, period)
            && Instant::now() >= due
        {
            println!("spinner: {done} units in {} ms", time::uptime().as_millis());
            next = Some(due + period);
        }
    }
    println!("spinner: {work} units done in {} ms", time::uptime().as_millis());
}
