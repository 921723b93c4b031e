//! Memory of other domains, which a control domain maps by frame number: a window to fill them through, and single pages to talk by.

use core::mem::ManuallyDrop;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use mote_protocols::ring::Shared;
use xen_abi::errno::Errno;
use xen_abi::memory::{AddToPhysmapBatch, RemoveFromPhysmap, Reservation, op, space};
use xen_abi::xen::{domid, hypercall};

use super::page::{Page, SIZE, copy, refill};
use super::{call, domains};
use crate::{Machine, arch};

/// Pages that are mapped by one hypercall.
const PAGES: usize = 32;

/// Addresses at which memory of another domain can be seen.
pub struct Window {
    first_frame: u64,
    // Frames that are mapped, from the first.
    mapped: usize,
}

impl Window {
    /// A window where the domain has nothing. There can be one at a time: two would be in the same place.
    ///
    /// # Errors
    /// If the hypervisor names no such addresses.
    pub fn new(machine: &Machine) -> Result<Self, Errno> {
        const END: usize = crate::boot::LOW_AGAIN;
        let fits = |range: &Range<usize>| range.start.saturating_add(PAGES * SIZE) <= range.end.min(END);
        let place = machine.unused().find(fits).ok_or(Errno::ENOSPC)?;
        Ok(Self { first_frame: (place.start / SIZE) as u64, mapped: 0 })
    }

    /// Writes into another domain's memory.
    ///
    /// # Errors
    /// The hypervisor's, if there is none. A part may be written then.
    pub fn write(&mut self, domain: u16, address: u64, mut bytes: &[u8]) -> Result<(), Errno> {
        let (mut frame, mut offset) = (address / SIZE as u64, address as usize % SIZE);
        while !bytes.is_empty() {
            let pages = (offset + bytes.len()).div_ceil(SIZE).min(PAGES);
            self.map(domain, frame, pages)?;
            let (part, rest) = bytes.split_at(bytes.len().min(pages * SIZE - offset));
            let to = self.first_frame as usize * SIZE + offset;
            // SAFETY: other domains' memory, which the library has no reference into.
            unsafe { arch::copy_for_others(part, to as *mut u8) };
            (frame, offset, bytes) = (frame + pages as u64, 0, rest);
        }
        Ok(())
    }

    /// Reads another domain's memory.
    ///
    /// # Errors
    /// The hypervisor's, if there is none. A part may be read then.
    pub fn read(&mut self, domain: u16, address: u64, mut bytes: &mut [u8]) -> Result<(), Errno> {
        let (mut frame, mut offset) = (address / SIZE as u64, address as usize % SIZE);
        while !bytes.is_empty() {
            let pages = (offset + bytes.len()).div_ceil(SIZE).min(PAGES);
            self.map(domain, frame, pages)?;
            let length = bytes.len().min(pages * SIZE - offset);
            let (part, rest) = bytes.split_at_mut(length);
            let from = self.first_frame as usize * SIZE + offset;
            // SAFETY: what was just mapped, and a part that is borrowed alone.
            unsafe { copy(from as *const u8, part.as_mut_ptr(), length) };
            (frame, offset, bytes) = (frame + pages as u64, 0, rest);
        }
        Ok(())
    }

    /// Maps `pages` frames of `domain`, from `frame` on, at the window's beginning.
    fn map(&mut self, domain: u16, frame: u64, pages: usize) -> Result<(), Errno> {
        self.mapped = self.mapped.max(pages);
        map(domain, frame, self.first_frame, pages)
    }

    /// Ends what is mapped, so that the other domain can be destroyed.
    pub fn close(&mut self) {
        unmap(self.first_frame, self.mapped);
        self.mapped = 0;
    }
}

/// Memory of another domain, mapped for as long as this lives where a [`Window`] ends: bytes that are there still when this domain is not.
pub struct Region {
    // Private: so many frames of the domain's are mapped from this one on, but for what the hypervisor took away.
    domain: u16,
    first_frame: u64,
    pages: usize,
    behind: usize,
}

/// Where the next region is to be, in pages behind the window.
static REGIONS: AtomicUsize = AtomicUsize::new(PAGES);

impl Region {
    /// Maps `pages` frames of `domain`, from `frame` on.
    ///
    /// # Errors
    /// The hypervisor's, if it has none there.
    pub fn new(machine: &Machine, domain: u16, frame: u64, pages: usize) -> Result<Self, Errno> {
        let behind = REGIONS.fetch_add(pages, Ordering::Relaxed);
        let fits = |range: &Range<usize>| {
            let end = behind.checked_add(pages).and_then(|end| end.checked_mul(SIZE)?.checked_add(range.start));
            end.is_some_and(|end| end <= range.end.min(crate::boot::LOW_AGAIN))
        };
        let place = machine.unused().find(fits).ok_or(Errno::ENOSPC)?;
        let mut region = Self { domain, first_frame: (place.start / SIZE + behind) as u64, pages: 0, behind };
        while region.pages < pages {
            let (done, part) = (region.pages as u64, (pages - region.pages).min(PAGES));
            region.pages += part;
            map(domain, frame + done, region.first_frame + done, part)?;
        }
        Ok(region)
    }

    /// Bytes that there are.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.pages * SIZE
    }

    /// The bytes from `offset` on, if they are there and the domain is paused, so that it does not change them. It must not be let run, or be
    /// written to, as long as they are borrowed.
    #[must_use]
    pub fn bytes(&self, offset: usize, length: usize) -> Option<&[u8]> {
        offset.checked_add(length).filter(|end| *end <= self.size())?;
        let at = self.first_frame as usize * SIZE + offset;
        let is_whole = length == 0 || (arch::can_read(at) && arch::can_read(at + length - 1));
        if !is_whole || !domains::is_paused(self.domain).ok()? {
            return None;
        }
        // SAFETY: inside of what is mapped, which is there as long as this is. Nobody changes it: the domain does not run, and who asks sees to
        // it that it stays so.
        Some(unsafe { core::slice::from_raw_parts(at as *const u8, length) })
    }

    /// Reads bytes from `offset` on, as many as there are.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        let length = self.size().saturating_sub(offset).min(bytes.len());
        let from = self.first_frame as usize * SIZE + offset;
        // SAFETY: inside of what is mapped, and what is borrowed alone.
        unsafe { copy(from as *const u8, bytes.as_mut_ptr(), length) };
    }

    /// Writes bytes from `offset` on, as many as there is room for, before whatever is written next.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let length = self.size().saturating_sub(offset).min(bytes.len());
        let to = self.first_frame as usize * SIZE + offset;
        // SAFETY: inside of what is mapped, which nothing in Rust refers to.
        unsafe { copy(bytes.as_ptr(), to as *mut u8, length) };
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        unmap(self.first_frame, self.pages);
        // The next has its place, unless another lies behind it already.
        let _ = REGIONS.compare_exchange(self.behind + self.pages, self.behind, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Ends what is mapped at these frames of this domain.
fn unmap(first_frame: u64, mapped: usize) {
    for done in (0..mapped).step_by(PAGES) {
        let (first_frame, mapped) = (first_frame + done as u64, (mapped - done).min(PAGES));
        let mut frames = [0_u64; PAGES];
        frames.iter_mut().zip(first_frame..).for_each(|(place, frame)| *place = frame);
        let mut left = frames.get(..mapped).unwrap_or_default();
        while !left.is_empty() {
            let mut argument = Reservation {
                extent_start: left.as_ptr().expose_provenance() as u64,
                nr_extents: left.len() as u64,
                extent_order: 0,
                mem_flags: 0,
                domid: domid::SELF,
                pad: [0; 3],
            };
            // SAFETY: the list is there, and nothing refers to what is mapped there.
            let removed = unsafe { call(hypercall::MEMORY_OP, op::DECREASE_RESERVATION, &mut argument) };
            // A page that is not there any more is as good as removed.
            left = removed.ok().and_then(|removed| left.get(removed as usize + 1..)).unwrap_or_default();
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.close();
    }
}

/// A page of another domain, mapped in place of a page of this one. It is unmapped when it is dropped.
pub struct Mapping(
    // Without memory of its own, so it must not go back to the heap as it is.
    ManuallyDrop<Page>,
);

impl Mapping {
    /// Maps frame `frame` of `domain`.
    ///
    /// # Errors
    /// The hypervisor's, if it has none there.
    pub fn new(domain: u16, frame: u64) -> Result<Self, Errno> {
        let page = Page::new();
        page.release()?;
        match map(domain, frame, page.frame(), 1) {
            Ok(()) => Ok(Self(ManuallyDrop::new(page))),
            Err(error) => {
                refill(page);
                Err(error)
            }
        }
    }

    /// The page, as the other domain sees it as well.
    #[must_use]
    pub fn page(&self) -> &Page {
        &self.0
    }
}

impl Shared for Mapping {
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.page().word(offset)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let mut argument = RemoveFromPhysmap { domid: domid::SELF, pad: [0; 3], gpfn: self.0.frame() };
        // SAFETY: nobody looks at the page until it is populated.
        let removed = unsafe { call(hypercall::MEMORY_OP, op::REMOVE_FROM_PHYSMAP, &mut argument) };
        // SAFETY: taken once, because this is the end of what held it.
        let page = unsafe { ManuallyDrop::take(&mut self.0) };
        match removed {
            Ok(_) => refill(page),
            Err(_) => core::mem::forget(page),
        }
    }
}

/// Maps `pages` frames of `domain`, from `from` on, at this domain's frames from `to` on, in place of what is there.
fn map(domain: u16, from: u64, to: u64, pages: usize) -> Result<(), Errno> {
    let mut errors = [0_i32; PAGES];
    let (mut theirs, mut ours) = ([0_u64; PAGES], [0_u64; PAGES]);
    theirs.iter_mut().zip(from..).for_each(|(place, frame)| *place = frame);
    ours.iter_mut().zip(to..).for_each(|(place, frame)| *place = frame);
    let mut argument = AddToPhysmapBatch {
        domid: domid::SELF,
        space: space::GMFN_FOREIGN,
        size: pages.min(PAGES) as u16,
        foreign_domid: domain,
        idxs: theirs.as_ptr().expose_provenance() as u64,
        gpfns: ours.as_ptr().expose_provenance() as u64,
        errs: errors.as_mut_ptr().expose_provenance() as u64,
    };
    // SAFETY: the lists are there; whoever asks has nothing at these frames that Rust refers to but atomic words.
    unsafe { call(hypercall::MEMORY_OP, op::ADD_TO_PHYSMAP_BATCH, &mut argument) }?;
    let failed = errors.iter().take(pages).find(|&&error| error != 0);
    failed.map_or(Ok(()), |&error| Err(Errno::in_answer(i64::from(error) as u64).unwrap_or(Errno::EINVAL)))
}
