//! Misbehaviour that is the last, or has no end.

use core::hint::black_box;

use mote_unikernel::{Machine, arch, interrupts, power, print};

use crate::wild::{self, Wild};

/// Bytes of a flood.
const FLOOD: u32 = 64 << 10;

/// The guest's own report, and a domain that crashed.
pub fn panic(_: &Machine) {
    panic!("on purpose");
}

/// The same by an exception that nobody expects.
pub fn undefined(_: &Machine) {
    wild::undefined();
}

/// Runs out of stack into the page that is not there.
pub fn stack(_: &Machine) {
    assert_eq!(deeper(1), 0, "the stack has no end");
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn deeper(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    deeper(depth + 1) + frame[depth as usize % 32]
}

/// Exceptions without end: each leads to the next, and none to the hypervisor.
pub fn fault_loop(machine: &Machine) {
    let nowhere = Wild::new(machine, 0).expect("nothing is at address 0");
    wild::break_vectors(nowhere);
}

/// Ends with the wish to be started again.
pub fn reboot(_: &Machine) {
    power::reboot();
}

/// A line that is longer than anybody's buffer.
pub fn flood(_: &Machine) {
    for number in 0..FLOOD / 16 {
        print!("flood {number:09x} ");
    }
}

/// Sleeps with nothing to wake it.
pub fn idle(_: &Machine) {
    interrupts::masked(|| {
        loop {
            arch::wait_for_interrupt();
        }
    });
}
