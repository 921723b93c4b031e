//! Locks between pCPUs: `spin`'s, in the order of asking.

use spin::RelaxStrategy;

/// How a pCPU waits for another: with the instruction that says so (Arm ARM C6.2.491, `YIELD`), so that a machine that has its
/// CPUs by turns, as QEMU has when it counts instructions, goes on with another.
#[derive(Debug)]
pub struct Yield;

impl RelaxStrategy for Yield {
    fn relax() {
        // SAFETY: a hint.
        unsafe { core::arch::asm!("yield", options(nomem, nostack, preserves_flags)) };
    }
}

/// A lock. A pCPU that holds one is in EL2, with interrupts masked.
pub type Mutex<T> = spin::mutex::Mutex<T, Yield>;

/// The time for which a lock is held.
pub type MutexGuard<'a, T> = spin::mutex::MutexGuard<'a, T, Yield>;
