//! Memory that the hypervisor is pointed at: atomic bytes, so that any may change at any time.

use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

use xen_abi::Wire;
use xen_abi::errno::Errno;

use crate::wild;

/// Bytes in a page.
pub const SIZE: usize = 4096;

/// `N` pages in a row.
#[repr(C, align(4096))]
pub struct Pages<const N: usize>([[AtomicU8; SIZE]; N]);

impl<const N: usize> Pages<N> {
    /// Pages of zeroes.
    pub const fn new() -> Self {
        Self([const { [const { AtomicU8::new(0) }; SIZE] }; N])
    }

    /// The address of byte `at`.
    pub fn address(&self, at: usize) -> u64 {
        (&raw const *self).addr() as u64 + at as u64
    }

    /// The frame of page `page`.
    pub fn frame(&self, page: usize) -> u64 {
        self.address(page * SIZE) / SIZE as u64
    }

    /// Puts a structure at byte `at`, and returns its address.
    pub fn put<T: Wire>(&self, at: usize, value: &T) -> u64 {
        let bytes = self.0.as_flattened().iter().skip(at);
        bytes.zip(value.as_bytes()).for_each(|(byte, value)| byte.store(*value, Ordering::Relaxed));
        self.address(at)
    }

    /// The structure at byte `at`.
    pub fn get<T: Wire>(&self, at: usize) -> T {
        let mut value = T::new_zeroed();
        let bytes = self.0.as_flattened().iter().skip(at);
        bytes.zip(value.as_mut_bytes()).for_each(|(byte, value)| *value = byte.load(Ordering::Relaxed));
        value
    }

    /// Sets all bytes.
    pub fn fill(&self, value: u8) {
        self.0.as_flattened().iter().for_each(|byte| byte.store(value, Ordering::Relaxed));
    }
}

/// Where structures are put for a call, and lists that they point to: the first page, and the second.
pub static SCRATCH: Pages<2> = Pages::new();
/// The place of lists in it.
pub const LIST: usize = SIZE;

/// What a call answers in x0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Answer(pub u64);

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Errno::in_answer(self.0) {
            Some(error) => write!(f, "-{}", error.number()),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// Makes hypercall `number` with operation `op` on a structure, which comes back as it is after.
pub fn call<T: Wire>(number: u64, op: u64, argument: T) -> (Answer, T) {
    call_for(number, op, argument, 1)
}

/// The same with a third argument other than 1.
pub fn call_for<T: Wire>(number: u64, op: u64, argument: T, third: u64) -> (Answer, T) {
    let at = SCRATCH.put(0, &argument);
    let answer = wild::hypercall(number, [op, at, third, 0, 0]);
    (answer, SCRATCH.get(0))
}
