//! Pages of the domain's memory that others see, or in whose place others' memory is.

use alloc::alloc::{alloc_zeroed, handle_alloc_error};
use alloc::boxed::Box;
use core::alloc::Layout;
use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64};

use mote_protocols::ring::Shared;
use xen_abi::errno::Errno;
use xen_abi::memory::{AddToPhysmap, Reservation, op};
use xen_abi::xen::{domid, hypercall};

use super::call;
use crate::boot::LOW_AGAIN;

/// Bytes in a page.
pub const SIZE: usize = 4096;

#[repr(C, align(4096))]
struct Content([AtomicU64; SIZE / 8]);

impl Content {
    #[inline]
    fn word(&self, offset: usize) -> &AtomicU32 {
        let double = &self.0[offset / 8];
        // SAFETY: half of an atomic, aligned, and there as long as the page is.
        unsafe { AtomicU32::from_ptr(double.as_ptr().cast::<u32>().add(offset / 4 % 2)) }
    }
}

/// A page, which somebody else may change at any time: its words are atomic.
pub struct Page(Box<Content>);

impl Page {
    /// A page of zeroes.
    #[must_use]
    pub fn new() -> Self {
        let layout = Layout::new::<Content>();
        // SAFETY: a layout of 4 KiB. Made in place: a page, let alone two, is more than a stack has to spare.
        let content = unsafe { alloc_zeroed(layout) }.cast::<Content>();
        if content.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: it comes from the allocator with this layout, and zeroes are what it consists of.
        Self(unsafe { Box::from_raw(content) })
    }

    /// What is to be mapped at `address`, the beginning of a page.
    ///
    /// # Safety
    ///
    /// Nothing is there that Rust knows of, and the page is never dropped. It is looked at only while something is mapped.
    pub(super) unsafe fn at(address: usize) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { Box::from_raw(core::ptr::with_exposed_provenance_mut(address)) })
    }

    /// Its address, which is its IPA as well.
    #[must_use]
    pub fn address(&self) -> usize {
        (&raw const *self.0).addr()
    }

    /// Its frame number.
    #[must_use]
    pub fn frame(&self) -> u64 {
        (self.address() / SIZE) as u64
    }

    /// The 8 bytes at `offset`.
    ///
    /// # Panics
    /// If they are not in the page.
    #[must_use]
    #[inline]
    pub fn double(&self, offset: usize) -> &AtomicU64 {
        &self.0.0[offset / 8]
    }

    /// The 4 bytes at `offset`.
    ///
    /// # Panics
    /// If they are not in the page.
    #[must_use]
    #[inline]
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        self.0.word(offset)
    }

    /// Copies the page's first bytes into `bytes`, as many as there are of both.
    pub fn read(&self, bytes: &mut [u8]) {
        // SAFETY: no more than each has, and they are apart: one is borrowed alone.
        unsafe { copy(self.0.0.as_ptr().cast(), bytes.as_mut_ptr(), bytes.len().min(SIZE)) };
    }

    /// Copies `bytes` to the page's beginning, as many as there are of both.
    pub fn write(&self, bytes: &[u8]) {
        // SAFETY: as above; the page's words are atomic, so that anybody may change them at any time.
        unsafe { copy(bytes.as_ptr(), self.0.0.as_ptr().cast_mut().cast(), bytes.len().min(SIZE)) };
    }

    /// Has the hypervisor put frame `index` of `space` in the page's place; what was in it is gone.
    ///
    /// # Errors
    /// The hypervisor's.
    pub(super) fn replace(&self, space: u16, index: u64) -> Result<(), Errno> {
        // Xen would go on counting what it replaces as the domain's.
        self.release()?;
        let mut argument =
            AddToPhysmap { domid: domid::SELF, size: 0, space: space.into(), idx: index, gpfn: self.frame() };
        // SAFETY: the page's words are atomic, so that any value may be in them.
        unsafe { call(hypercall::MEMORY_OP, op::ADD_TO_PHYSMAP, &mut argument) }.map(drop)
    }

    /// Gives the page's memory up: there is nothing at its address until [`Page::populate`].
    ///
    /// # Errors
    /// The hypervisor's.
    pub fn release(&self) -> Result<(), Errno> {
        self.reserve(op::DECREASE_RESERVATION)
    }

    /// Gets memory for a page that has none.
    ///
    /// # Errors
    /// If there is none to be had.
    pub fn populate(&self) -> Result<(), Errno> {
        self.reserve(op::POPULATE_PHYSMAP)
    }

    fn reserve(&self, op: u64) -> Result<(), Errno> {
        let mut frame = self.frame();
        let mut argument = Reservation {
            extent_start: (&raw mut frame).addr() as u64,
            nr_extents: 1,
            extent_order: 0,
            mem_flags: 0,
            domid: domid::SELF,
            pad: [0; 3],
        };
        // SAFETY: the list is one frame number. Whoever looks at a page without memory takes a fault, which is safe.
        let done = unsafe { call(hypercall::MEMORY_OP, op, &mut argument) }?;
        if done == 1 { Ok(()) } else { Err(Errno::ENOMEM) }
    }
}

/// A page that the hypervisor or a toolstack gave the domain below its memory, and that stays there.
#[derive(Clone, Copy)]
pub struct Given(&'static Content);

impl Given {
    /// The page at frame `frame`, of which a parameter of the domain says that it is there.
    ///
    /// # Errors
    /// `EINVAL` if it is not where such pages are.
    pub fn new(frame: u64) -> Result<Self, Errno> {
        const FRAMES: u64 = (1 << 30) / SIZE as u64;
        if frame == 0 || frame >= FRAMES {
            return Err(Errno::EINVAL);
        }
        let address = LOW_AGAIN + frame as usize * SIZE;
        // SAFETY: mapped in stage 1 and in no one's use but as atomic words; where nothing is given, a look at it is a
        // fault, which is safe.
        Ok(Self(unsafe { &*core::ptr::with_exposed_provenance::<Content>(address) }))
    }
}

impl Shared for Given {
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.0.word(offset)
    }
}

/// Gives a page that has no memory back to the heap, with memory; one that gets none is lost.
pub(super) fn refill(page: Page) {
    if page.populate().is_err() {
        core::mem::forget(page);
    }
}

impl Shared for Page {
    fn word(&self, offset: usize) -> &AtomicU32 {
        Self::word(self, offset)
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

/// Copies memory that another domain may be writing: by instructions that the compiler knows nothing of, so that it draws no
/// conclusions from what they read.
///
/// # Safety
///
/// The memory must be there, and nothing in Rust but the caller may refer to `to`.
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    const BLOCK: usize = 32;
    let whole = length / BLOCK * BLOCK;
    if whole > 0 {
        // SAFETY: the caller promised the memory; the registers that are changed are declared.
        unsafe {
            asm!(
                "2: ldp {a:q}, {b:q}, [{from}], #32",
                "stp {a:q}, {b:q}, [{to}], #32",
                "cmp {from}, {end}",
                "b.ne 2b",
                from = inout(reg) from => _,
                to = inout(reg) to => _,
                end = in(reg) from.wrapping_add(whole),
                a = out(vreg) _,
                b = out(vreg) _,
                options(nostack),
            );
        }
    }
    for offset in whole..length {
        // SAFETY: as above.
        unsafe { to.add(offset).write(from.add(offset).read_volatile()) };
    }
}
