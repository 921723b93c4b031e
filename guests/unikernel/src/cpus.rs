//! The domain's other vCPUs: on and off by PSCI.

use alloc::{boxed::Box, vec};

use aarch64_cpu::registers::{Readable, TPIDR_EL1, Writeable};
use smccc::{Hvc, psci};

use crate::{Machine, boot, interrupts, power};

pub use smccc::psci::{AffinityState, error::Error};

/// Bytes of a started vCPU's two stacks.
const STACK_SIZE: usize = 0x4000;
const EXCEPTION_STACK_SIZE: usize = 0x1000;
/// What AAPCS64 asks of a stack.
const STACK_ALIGNMENT: usize = 16;

/// What a vCPU starts with: read by the boot code.
#[repr(C)]
pub(crate) struct Start {
    exception_stack_top: usize,
    stack_top: usize,
    number: usize,
    main: fn(),
}

/// Turns vCPU `number` on, where it runs `main` and turns itself off after it. Its stacks are allocated anew each time and
/// never freed.
///
/// # Errors
///
/// PSCI's, among them that there is no such vCPU or that it is on already.
pub fn start(number: usize, main: fn()) -> Result<(), Error> {
    let machine = Machine::get().ok_or(Error::NotSupported)?;
    let affinity = machine.affinities().nth(number).ok_or(Error::InvalidParameters)?;
    let start = Box::new(Start {
        exception_stack_top: stack(EXCEPTION_STACK_SIZE),
        stack_top: stack(STACK_SIZE),
        number,
        main,
    });
    let entry = machine.physical(boot::secondary_start()) as u64;
    psci::cpu_on::<Hvc>(affinity, entry, Box::leak(start) as *const Start as u64)
}

/// Whether vCPU `number` is on.
///
/// # Errors
///
/// PSCI's, among them that there is no such vCPU.
pub fn state(number: usize) -> Result<AffinityState, Error> {
    let machine = Machine::get().ok_or(Error::NotSupported)?;
    let affinity = machine.affinities().nth(number).ok_or(Error::InvalidParameters)?;
    psci::affinity_info::<Hvc>(affinity, psci::LowestAffinityLevel::All)
}

/// The number of the vCPU that this runs on.
#[must_use]
pub fn current() -> usize {
    TPIDR_EL1.get() as usize
}

/// Turns this vCPU off. The last one that is on shuts the domain down instead.
pub fn stop() -> ! {
    interrupts::mask();
    let _ = psci::cpu_off::<Hvc>();
    power::shutdown()
}

pub(crate) fn set_current(number: usize) {
    TPIDR_EL1.set(number as u64);
}

/// A new stack's top.
fn stack(size: usize) -> usize {
    let stack = vec![0_u128; size / STACK_ALIGNMENT].leak();
    stack.as_ptr_range().end as usize
}

/// A started vCPU's first Rust.
pub(crate) extern "C" fn start_secondary(start: &'static Start) -> ! {
    set_current(start.number);
    interrupts::unmask();
    (start.main)();
    stop()
}
