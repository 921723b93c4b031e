//! A library OS: what a Rust program needs in order to be a domain of its own.
//!
//! A guest is a package with a `main.rs` and this library:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! use mote_unikernel::{Machine, println};
//!
//! mote_unikernel::entry!(main);
//!
//! fn main(machine: Machine) {
//!     println!("{} vCPUs", machine.vcpus());
//! }
//! ```
//!
//! The result is a flat arm64 Image that boots on Mote and on Xen alike, down to 64 KiB of memory. The library knows
//! the machine from its device tree only, and nothing is set up before it is used: a guest pays for no
//! device, heap or interrupt that it does not touch.
//!
//! A boot passes through `boot` (translation, stacks), then [`Machine`], then the guest's `main`, and ends in
//! [`power`] when `main` returns. `boot`, `vectors`, [`exceptions`], [`arch`], `heap`, [`xen`], [`template`], `virtio` and the corners of [`interrupts`] and [`power`] hold
//! all the `unsafe` there is; a guest needs none.

#![no_std]

extern crate alloc;

pub mod arch;
#[cfg(feature = "block")]
pub mod block;
mod boot;
pub mod console;
pub mod cpus;
pub mod exceptions;
pub mod executor;
mod heap;
#[cfg(feature = "inspect")]
pub mod inspect;
pub mod interrupts;
mod machine;
mod memory;
#[cfg(feature = "net")]
pub mod net;
pub mod power;
pub mod template;
pub mod time;
mod vectors;
#[cfg(feature = "virtio")]
pub mod virtio;
pub mod xen;

pub use dtoolkit;
#[cfg(feature = "accounting")]
pub use heap::use_and_room;
pub use machine::Machine;

use core::panic::PanicInfo;

/// Names the function with which a guest begins: `fn main(machine: Machine)`. When it returns, the
/// domain shuts down.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn mote_guest_main(machine: $crate::Machine) {
            let main: fn($crate::Machine) = $main;
            main(machine)
        }
    };
}

unsafe extern "Rust" {
    /// Defined by [`entry!`].
    safe fn mote_guest_main(machine: Machine);
}

/// The boot vCPU's first Rust: `tree` is the device tree's address, `first_instruction` the physical
/// count at the image's first instruction, `displacement` what to add to a linked address to get the physical one.
extern "C" fn start(tree: usize, first_instruction: u64, displacement: usize) -> ! {
    cpus::set_current(0);
    let machine = Machine::init(tree, first_instruction, displacement);
    interrupts::unmask();
    mote_guest_main(machine);
    power::shutdown()
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    interrupts::mask();
    say_why(info, &mut console::for_last_words());
    power::crash()
}

#[cfg(not(feature = "terse"))]
fn say_why(info: &PanicInfo, console: &mut console::Console) {
    match info.location() {
        Some(at) => console.line(format_args!("panic: {}, {at}", info.message())),
        None => console.line(format_args!("panic: {}", info.message())),
    }
}

/// Without what `info` has to say, nothing of it is in the image: a sixth less, in a guest with a network.
#[cfg(feature = "terse")]
fn say_why(_: &PanicInfo, console: &mut console::Console) {
    use core::fmt::Write;
    let _ = console.write_str("panic, with these addresses of code on the stack:");
    exceptions::code_addresses(|address| {
        let _ = write!(console, " {address:#x}");
    });
    let _ = console.write_str("\n");
}
