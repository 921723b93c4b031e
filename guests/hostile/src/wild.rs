//! What is unsafe: hypercalls that do whatever they do to this domain's memory, and memory that may be gone.
//!
//! It is sound because of where the arguments point: to structures for which any bytes are a value, to an [`Arena`] or [`Land`]
//! whose words are atomic, or to where this guest has nothing and never looks.

use alloc::alloc::{Layout, alloc, alloc_zeroed};
use alloc::boxed::Box;
use core::slice;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use mote_unikernel::xen::{self, Errno};
use xen_abi::Wire;
use xen_abi::memory::{Reservation, op};
use xen_abi::xen::{domid, hypercall};

extern crate alloc;

/// Bytes in a page.
pub const PAGE: u64 = 4096;
/// Addresses at which the guest has no memory, far behind what it has.
pub const WINDOW: u64 = 0x7000_0000;

/// A hypercall with these arguments.
pub fn raw(number: u64, arguments: [u64; 5]) -> Result<u64, Errno> {
    // SAFETY: see above.
    unsafe { xen::hypercall(number, arguments) }
}

/// A hypercall whose argument is a structure, or a list of one.
pub fn call<T: Wire>(number: u64, op: u64, argument: &mut T) -> Result<u64, Errno> {
    // SAFETY: the structure may become any bytes; for the rest see above.
    unsafe { xen::call(number, op, argument) }
}

/// Does a memory operation to these frames, and says to how many it was done.
pub fn reserve(op: u64, frames: &[u64], order: u32) -> u64 {
    let mut argument = Reservation {
        extent_start: frames.as_ptr().addr() as u64,
        nr_extents: frames.len() as u64,
        extent_order: order,
        mem_flags: 0,
        domid: domid::SELF,
        pad: [0; 3],
    };
    call(hypercall::MEMORY_OP, op, &mut argument).expect("memory operations have no errors")
}

/// Takes away what attacks may have left where the guest has nothing.
pub fn vacate() {
    let others = [0, 0x10000, 0x38000, (1 << 27) - 1];
    for frame in (0..2 * 4096).map(|page| WINDOW / PAGE + page).chain(others) {
        reserve(op::DECREASE_RESERVATION, &[frame], 0);
    }
}

#[repr(C, align(4096))]
struct Content([AtomicU64; 1024], [AtomicU64; 512]);

/// Two pages for arguments, behind which there is nothing.
pub struct Arena(Box<Content>);

impl Arena {
    /// Bytes of it.
    pub const SIZE: usize = 8192;

    /// A new one.
    pub fn new() -> Self {
        let arena = Self(Box::new(Content([const { AtomicU64::new(0) }; 1024], [const { AtomicU64::new(0) }; 512])));
        let behind = (arena.address() + Self::SIZE as u64) / PAGE;
        assert_eq!(reserve(op::DECREASE_RESERVATION, &[behind], 0), 1);
        arena
    }

    /// Its address.
    pub fn address(&self) -> u64 {
        (&raw const *self.0).addr() as u64
    }

    /// Fills it with zeroes.
    pub fn clear(&self) {
        self.0.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// The 4 bytes at `offset`, a multiple of 4.
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        let double = &self.0.0[offset / 8];
        // SAFETY: half of an atomic, aligned, and there as long as the arena is.
        unsafe { AtomicU32::from_ptr(double.as_ptr().cast::<u32>().add(offset / 4 % 2)) }
    }

    /// Writes a structure at `offset`, as far as there is room, and returns its address.
    pub fn put<T: Wire>(&self, offset: usize, value: &T) -> u64 {
        let bytes = value.as_bytes();
        for (at, &byte) in (offset..Self::SIZE).zip(bytes) {
            let double = &self.0.0[at / 8];
            // SAFETY: a byte of an atomic, there as long as the arena is. Who looks at it in other sizes is content with any.
            unsafe { AtomicU8::from_ptr(double.as_ptr().cast::<u8>().add(at % 8)) }.store(byte, Ordering::Relaxed);
        }
        self.address() + offset as u64
    }
}

/// The first frame of so many bytes, aligned to 2 MiB, at which nobody ever looks; nothing if there are no more.
pub fn claim(bytes: usize) -> Option<u64> {
    let layout = Layout::from_size_align(bytes, 2 << 20).expect("a size");
    // SAFETY: the size is not 0.
    let base = unsafe { alloc(layout) };
    (!base.is_null()).then(|| base.addr() as u64 / PAGE)
}

/// Much memory, whose pages come and go: who looks at one that is gone takes a fault.
pub struct Land(&'static [AtomicU64]);

impl Land {
    /// So many bytes, aligned to 2 MiB, of zeroes. They are never given back to the heap.
    pub fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, 2 << 20).expect("a size");
        // SAFETY: the size is not 0.
        let base = unsafe { alloc_zeroed(layout) };
        assert!(!base.is_null(), "no memory");
        // SAFETY: so many bytes from there on are nobody else's for good, and aligned.
        Self(unsafe { slice::from_raw_parts(base.cast(), bytes / 8) })
    }

    /// Its first frame.
    pub fn frame(&self) -> u64 {
        self.0.as_ptr().addr() as u64 / PAGE
    }

    /// The first word of a page, by number.
    pub fn page(&self, number: usize) -> &AtomicU64 {
        &self.0[number * 512]
    }
}
