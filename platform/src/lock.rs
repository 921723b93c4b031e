//! Locks between pCPUs: `spin`'s, in the order of asking.

use spin::RelaxStrategy;

use crate::cpu;

/// How a pCPU waits for another.
#[derive(Debug)]
pub struct Yield;

impl RelaxStrategy for Yield {
    fn relax() {
        cpu::relax();
    }
}

/// A lock. A pCPU that holds one is in EL2, with interrupts masked.
pub type Mutex<T> = spin::mutex::Mutex<T, Yield>;

/// The time for which a lock is held.
pub type MutexGuard<'a, T> = spin::mutex::MutexGuard<'a, T, Yield>;
