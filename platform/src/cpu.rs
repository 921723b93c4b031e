//! This CPU: its number, its features, its idle state and its stack.

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{MPIDR_EL1, Readable, TPIDR_EL2, Writeable};
use alloc::boxed::Box;
use smccc::{Smc, psci};

use crate::register::read;
use crate::{boot, exceptions, heap, memory, mmu};

/// Most pCPUs that EL2 drives.
pub const MAX_PCPUS: usize = 64;

/// Size of a pCPU's stack, in bytes.
const STACK_SIZE: usize = 0x8000;

/// Prepares the calling CPU: number, vectors.
pub(crate) fn init_this(pcpu: usize) {
    TPIDR_EL2.set(pcpu as u64);
    exceptions::install();
}

/// The calling pCPU's number, from 0.
pub fn this() -> usize {
    TPIDR_EL2.get() as usize
}

/// The affinity fields of the calling CPU's `MPIDR_EL1` (Arm ARM D24.2.107), as PSCI and the device tree name a CPU.
pub fn this_affinity() -> u64 {
    MPIDR_EL1.get() & 0xff_00ff_ffff
}

/// Tells the machine that this CPU waits for another (Arm ARM C6.2.491, `YIELD`): one that has its CPUs by turns, as QEMU has
/// when it counts instructions, goes on with another.
pub fn relax() {
    // SAFETY: a hint.
    unsafe { core::arch::asm!("yield", options(nomem, nostack, preserves_flags)) };
}

/// Whether a physical interrupt is pending (`ISR_EL1.I`).
pub fn has_interrupt() -> bool {
    read!("isr_el1") & 1 << 7 != 0
}

/// A random number of the CPU's (`RNDR`, Arm ARM D24.2.151), if it has such numbers and one is there.
pub fn random() -> Option<u64> {
    let has_random_numbers = read!("id_aa64isar0_el1") >> 60 != 0;
    if !has_random_numbers {
        return None;
    }
    let (number, is_there): (u64, u64);
    // SAFETY: reading it changes the flags alone.
    unsafe {
        core::arch::asm!("mrs {}, s3_3_c2_c4_0", "cset {}, ne", out(reg) number, out(reg) is_there, options(nomem, nostack));
    }
    (is_there != 0).then_some(number)
}

/// Stops until an interrupt is pending. EL2 keeps interrupts masked: the caller polls the GIC.
pub fn wait_for_interrupt() {
    barrier::dsb(barrier::SY);
    aarch64_cpu::asm::wfi();
}

/// Starts the CPU with affinity `mpidr` as pCPU `pcpu`, on a guarded stack of its own.
///
/// # Errors
/// PSCI's error, if the firmware does not start it; `InternalFailure` if there is no memory for its stack.
pub fn start(mpidr: u64, pcpu: usize) -> Result<(), psci::Error> {
    let stack = heap::allocate_guarded(STACK_SIZE).ok_or(psci::Error::InternalFailure)?;
    mmu::unmap_page(stack.start);
    let start = Box::leak(Box::new(boot::SecondaryStart { control: mmu::control(), stack_top: stack.end, pcpu }));
    // That CPU starts with its caches off.
    memory::clean_lines(&raw const *start as usize, size_of_val(start));
    barrier::dsb(barrier::SY);
    psci::cpu_on::<Smc>(mpidr, &raw const boot::secondary_entry as u64, &raw const *start as u64)
}
