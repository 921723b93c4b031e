//! The first program of a Linux that is measured beside Mote: what a process costs there, and a virtual machine by KVM. It prints
//! `bench: KEY TICKS` for each, medians, and switches the machine off.
//!
//! It has no library: Linux starts it at [`start`], and it asks for what it needs by system calls.

#![no_std]
#![no_main]

mod calls;
mod line;
mod machine;
mod process;

use core::arch::naked_asm;
use core::panic::PanicInfo;

/// How often each is measured; the median counts.
const SAMPLES: usize = 31;

/// The number of arguments lies where the stack begins.
///
/// # Safety
///
/// Only Linux may come here, with a new program's stack.
#[unsafe(naked)]
#[unsafe(export_name = "_start")]
unsafe extern "C" fn start() -> ! {
    naked_asm!("ldr x0, [sp]", "mov x29, xzr", "mov x30, xzr", "b {main}", main = sym main)
}

extern "C" fn main(arguments: u64) -> ! {
    if arguments > 1 {
        // This is what it executes as another program: all that it does is to end.
        calls::exit(0);
    }
    report("process_fork", process::fork);
    report("process_exec", process::fork_and_exec);
    calls::mount_devices();
    report("kvm_first_exit", || machine::live().map(|times| times.to_first_exit));
    report("kvm_whole", || machine::live().map(|times| times.whole));
    calls::power_off()
}

/// Measures so often, and prints the median if all came out well.
fn report(key: &str, mut sample: impl FnMut() -> Option<u64>) {
    let mut times = [0; SAMPLES];
    for time in &mut times {
        match sample() {
            Some(ticks) => *time = ticks,
            None => return line::print(format_args!("rival: {key} cannot be measured")),
        }
    }
    times.sort_unstable();
    let [.., median] = times.split_at(SAMPLES / 2 + 1).0 else { return };
    line::print(format_args!("bench: {key} {median}"));
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    calls::exit(2)
}
