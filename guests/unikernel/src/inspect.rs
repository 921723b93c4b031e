//! A look at everything in the domain's memory, for tests: whether something is there that should not be.

use core::arch::asm;

use crate::Machine;
use crate::boot::LOW_AGAIN;

/// How many of the domain's doublewords are as `wanted`, wherever they are: image, heap or stack, in use or not. What was never touched is
/// touched by this.
pub fn count(wanted: impl Fn(u64) -> bool) -> usize {
    let Some(machine) = Machine::get() else { return 0 };
    let doubles = machine.memory().flat_map(|bank| (bank.start..bank.end.min(LOW_AGAIN)).step_by(size_of::<u64>()));
    doubles.filter(|&address| wanted(load(address))).count()
}

/// The doubleword at `address`, which stage 1 maps.
fn load(address: usize) -> u64 {
    let word;
    // SAFETY: it only reads, by an instruction from which the compiler concludes nothing; where there is no memory it is a fault, which is safe.
    unsafe {
        asm!("ldr {word}, [{address}]", word = out(reg) word, address = in(reg) address, options(nostack, readonly))
    };
    word
}
