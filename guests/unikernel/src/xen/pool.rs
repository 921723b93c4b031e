//! Pages in a row that another domain may use for long: what devices' buffers are made of.

use alloc::alloc::{alloc_zeroed, dealloc, handle_alloc_error};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;

use xen_abi::errno::Errno;

use super::grants::Reference;
use super::page::{SIZE, copy};

/// What the other domain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read what is written here.
    Read,
    /// Write what is read here.
    Write,
}

/// Pages in a row, each with a grant of its own. Dropped, they are lost if the other domain still has one in use.
pub struct Pool {
    // Private: memory of its own, of `references.len()` pages at least, which the other domain writes only if it may.
    memory: NonNull<u8>,
    layout: Layout,
    access: Access,
    references: Vec<u32>,
    grants: Vec<Reference>,
}

impl Pool {
    /// Pages of zeroes for domain `user`.
    ///
    /// # Errors
    /// There are too few grants.
    pub fn new(user: u16, pages: usize, access: Access) -> Result<Self, Errno> {
        let layout = Layout::from_size_align(pages.max(1).saturating_mul(SIZE), SIZE).map_err(|_| Errno::ENOMEM)?;
        // SAFETY: the layout is of a page at least.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        let (references, grants) = (Vec::with_capacity(pages), Vec::with_capacity(pages));
        let mut pool = Self { memory, layout, access, references, grants };
        for page in 0..pages {
            let frame = (memory.addr().get() / SIZE + page) as u64;
            let grant = Reference::new(user, frame, access == Access::Write)?;
            pool.references.push(grant.number());
            pool.grants.push(grant);
        }
        Ok(pool)
    }

    /// By this number the other domain uses `page`.
    #[must_use]
    pub fn reference(&self, page: usize) -> u32 {
        self.references.get(page).copied().unwrap_or_default()
    }

    /// The `length` bytes at `offset`, if they are there and nobody else may write them.
    #[must_use]
    pub fn bytes_mut(&mut self, offset: usize, length: usize) -> Option<&mut [u8]> {
        self.check(offset, length).filter(|_| self.access == Access::Read)?;
        // SAFETY: inside the memory, which nobody else refers to nor, as just seen, writes.
        Some(unsafe { core::slice::from_raw_parts_mut(self.memory.as_ptr().add(offset), length) })
    }

    /// Appends a copy of the `length` bytes at `offset` to `bytes`, which the other domain may have changed in the meantime or not. Nothing
    /// is appended if they are not there.
    pub fn copy_to(&self, offset: usize, length: usize, bytes: &mut Vec<u8>) {
        if self.check(offset, length).is_none() {
            return;
        }
        bytes.reserve(length);
        // SAFETY: both are as long as that: one was checked, the other reserved. They do not overlap, as the heap gave
        // them out apart.
        unsafe {
            copy(self.memory.as_ptr().add(offset), bytes.spare_capacity_mut().as_mut_ptr().cast(), length);
            bytes.set_len(bytes.len() + length);
        }
    }

    fn check(&self, offset: usize, length: usize) -> Option<()> {
        (offset.checked_add(length)? <= self.layout.size()).then_some(())
    }

    /// Ends all grants, or says that the other domain has some in use. Then the pages stay, and it can be tried again.
    pub fn end(&mut self) -> bool {
        let ending = core::mem::take(&mut self.grants);
        self.grants = ending.into_iter().filter_map(|grant| grant.end().err()).collect();
        self.grants.is_empty()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.end() {
            // SAFETY: it came from the heap with this layout, and nobody uses it any more.
            unsafe { dealloc(self.memory.as_ptr(), self.layout) };
        }
    }
}
