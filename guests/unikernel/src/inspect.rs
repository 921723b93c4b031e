//! A look at everything in the domain's memory, for tests: whether something is there that should not be.

use core::arch::asm;

use crate::Machine;
use crate::boot::LOW_AGAIN;

const PAGE: usize = 4096;

/// How many of the domain's doublewords are as `wanted`, wherever they are: image, heap or stack, in use or not. What was never touched is
/// touched by this.
pub fn count(wanted: impl Fn(u64) -> bool) -> usize {
    let Some(machine) = Machine::get() else { return 0 };
    let pages = machine.memory().flat_map(|bank| (bank.start..bank.end.min(LOW_AGAIN)).step_by(PAGE));
    let doubles = pages.filter(|&page| is_mapped(page)).flat_map(|page| (page..page + PAGE).step_by(size_of::<u64>()));
    doubles.filter(|&address| wanted(load(address))).count()
}

/// Whether stage 1 maps the page at `address`: below the stack it does not.
fn is_mapped(address: usize) -> bool {
    let answer: u64;
    // SAFETY: it asks the MMU for a translation, of which `PAR_EL1` says whether there is one (Arm ARM D19.2.113), and changes nothing else.
    unsafe {
        asm!("at s1e1r, {0}", "isb", "mrs {1}, par_el1", in(reg) address, out(reg) answer, options(nostack, nomem))
    };
    answer & 1 == 0
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
