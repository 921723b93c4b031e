//! Grants: pages of this domain that another may use, and pages of others that are mapped here.

use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};

use mote_protocols::ring::Shared;
use spin::{Mutex, Once};
use xen_abi::errno::Errno;
use xen_abi::grant_table::{Entry, GrantStatus, Map, RESERVED_ENTRIES, Unmap, flags, map, op};
use xen_abi::memory::space;
use xen_abi::xen::hypercall;

use super::call;
use super::page::{Page, SIZE, refill};
use crate::Machine;

/// Grants that fit into the one frame that the library uses.
const ENTRIES: u32 = (SIZE / size_of::<Entry>()) as u32;

static TABLE: Once<Page> = Once::new();
static NEXT: AtomicU32 = AtomicU32::new(RESERVED_ENTRIES);

fn table() -> &'static Page {
    TABLE.call_once(|| {
        let page = Page::new();
        page.replace(space::GRANT_TABLE, 0).expect("a hypervisor with grant tables");
        page
    })
}

/// Offset of a grant's entry, and in it of the frame.
const fn entry(reference: u32) -> usize {
    reference as usize * size_of::<Entry>()
}
const FRAME: usize = core::mem::offset_of!(Entry, frame);

/// An entry of the grant table, by which another domain may use a frame of this one.
///
/// Private: whoever holds one keeps the frame as it is until [`Reference::end`] has succeeded.
#[derive(Debug)]
pub(super) struct Reference(u32);

/// Entries that were used and are free again. No interrupt handler takes it.
static FREE: Mutex<Vec<u32>> = Mutex::new(Vec::new());

impl Reference {
    pub(super) fn new(user: u16, frame: u64, writable: bool) -> Result<Self, Errno> {
        let table = table();
        let number = free_entry()?;
        let mut access = flags::PERMIT_ACCESS;
        if !writable {
            access |= flags::READ_ONLY;
        }
        table.word(entry(number) + FRAME).store(frame as u32, Ordering::Relaxed);
        let header = u32::from(user) << 16 | u32::from(access);
        table.word(entry(number)).store(header, Ordering::Release);
        Ok(Self(number))
    }

    pub(super) const fn number(&self) -> u32 {
        self.0
    }

    /// Ends it, unless the other domain has the frame in use.
    pub(super) fn end(self) -> Result<(), Self> {
        let used = u32::from(flags::READING | flags::WRITING);
        let word = table().word(entry(self.0));
        let mut header = word.load(Ordering::Acquire);
        while header & used == 0 {
            match word.compare_exchange(header, 0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    FREE.lock().push(self.0);
                    return Ok(());
                }
                Err(now) => header = now,
            }
        }
        Err(self)
    }
}

fn free_entry() -> Result<u32, Errno> {
    if let Some(number) = FREE.lock().pop() {
        return Ok(number);
    }
    let fresh = |next: u32| (next < ENTRIES).then_some(next + 1);
    NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fresh).map_err(|_| Errno::ENOSPC)
}

/// A page of this domain that another may use. Dropped, it is lost if the other domain still has it in use.
pub struct Grant {
    // None of both only while it ends.
    reference: Option<Reference>,
    page: Option<Page>,
    number: u32,
}

impl Grant {
    /// Lets domain `user` read `page`, and write it if `writable`.
    ///
    /// # Errors
    /// If all grants are in use: the library has 504.
    pub fn new(user: u16, page: Page, writable: bool) -> Result<Self, Errno> {
        let reference = Reference::new(user, page.frame(), writable)?;
        let number = reference.number();
        Ok(Self { reference: Some(reference), page: Some(page), number })
    }

    /// By this number the other domain uses it.
    #[must_use]
    pub const fn reference(&self) -> u32 {
        self.number
    }

    /// The page.
    #[must_use]
    pub const fn page(&self) -> &Page {
        self.page.as_ref().expect("it has not ended")
    }

    /// Ends it; the page comes back.
    ///
    /// # Errors
    /// If the other domain has it in use; then it stays as it is.
    pub fn end(mut self) -> Result<Page, Self> {
        match self.reference.take().map(Reference::end) {
            Some(Err(still_used)) => {
                self.reference = Some(still_used);
                Err(self)
            }
            _ => Ok(self.page.take().expect("it has not ended")),
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let used = self.reference.take().is_some_and(|reference| reference.end().is_err());
        if used {
            // The other domain may still write to it.
            core::mem::forget(self.page.take());
        }
    }
}

impl Shared for Grant {
    #[inline]
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.page().word(offset)
    }
}

/// Addresses for mappings, at which the domain has nothing: none is taken from its memory, which in a direct-mapped domain could not be
/// put back.
struct Places {
    /// Where the next one is that was never used; they go downwards to `end`.
    next: usize,
    end: usize,
    free: Vec<usize>,
}

impl Places {
    /// Pages that can be mapped at a time: two for each domain that there can be, or fewer where there are few addresses.
    const LIMIT: usize = 65_536;
    const LEAST: usize = 4096;

    /// At the end of what the hypervisor names, as a control domain's window is at the beginning.
    fn find() -> Option<Self> {
        const ADDRESSES: Range<usize> = 1 << 30..1 << 36;
        let usable = |range: Range<usize>| range.start.max(ADDRESSES.start)..range.end.min(ADDRESSES.end);
        let fits = |range: &Range<usize>| range.len() >= 2 * Self::LEAST * SIZE;
        let range = Machine::get()?.unused().map(usable).find(fits)?;
        let pages = Self::LIMIT.min(range.len() / SIZE / 2);
        Some(Self { next: range.end, end: range.end - pages * SIZE, free: Vec::new() })
    }

    fn take(&mut self) -> Option<usize> {
        if self.free.is_empty() && self.next > self.end {
            self.next -= SIZE;
            return Some(self.next);
        }
        self.free.pop()
    }
}

static PLACES: Once<Option<Mutex<Places>>> = Once::new();

fn places() -> Option<&'static Mutex<Places>> {
    PLACES.call_once(|| Places::find().map(Mutex::new)).as_ref()
}

/// A page of another domain, mapped where this one has nothing, or in place of a page of its own where the hypervisor names no such
/// addresses. It is unmapped when it is dropped.
pub struct Mapping {
    // Without memory of its own, so it must not go back to the heap as it is.
    page: ManuallyDrop<Page>,
    handle: u32,
}

impl Mapping {
    /// Maps what domain `granter` grants by `reference`.
    ///
    /// # Errors
    /// How the operation ended.
    pub fn new(granter: u16, reference: u32, writable: bool) -> Result<Self, GrantError> {
        let page = Self::place().ok_or(GrantError(GrantStatus::NoDeviceSpace as i16))?;
        let flags = if writable { map::HOST } else { map::HOST | map::READ_ONLY };
        let mut argument = Map {
            host_addr: page.address() as u64,
            flags,
            gref: reference,
            dom: granter,
            status: 0,
            handle: 0,
            dev_bus_addr: 0,
        };
        // SAFETY: the words of the page are atomic, so that another domain may change them.
        let called = unsafe { call(hypercall::GRANT_TABLE_OP, op::MAP, &mut argument) };
        if called.is_ok() && argument.status == 0 {
            return Ok(Self { page, handle: argument.handle });
        }
        Self::leave(page);
        Err(GrantError(argument.status))
    }

    /// The page, as the other domain sees it as well.
    #[must_use]
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// A page without memory.
    fn place() -> Option<ManuallyDrop<Page>> {
        if let Some(places) = places() {
            let address = places.lock().take()?;
            // SAFETY: the domain has nothing there, nobody else takes it, and it is never dropped as a page of the heap.
            return Some(ManuallyDrop::new(unsafe { Page::at(address) }));
        }
        let page = Page::new();
        page.release().ok()?;
        Some(ManuallyDrop::new(page))
    }

    /// Takes a page without memory back to where it came from.
    fn leave(page: ManuallyDrop<Page>) {
        match places() {
            Some(places) => places.lock().free.push(page.address()),
            None => refill(ManuallyDrop::into_inner(page)),
        }
    }
}

impl Shared for Mapping {
    #[inline]
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.page().word(offset)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let mut argument =
            Unmap { host_addr: self.page.address() as u64, dev_bus_addr: 0, handle: self.handle, status: 0, pad: 0 };
        // SAFETY: nobody looks at the page until there is memory again.
        let called = unsafe { call(hypercall::GRANT_TABLE_OP, op::UNMAP, &mut argument) };
        if called.is_ok() && argument.status == 0 {
            // SAFETY: taken once, because this is the end of what held it.
            Self::leave(ManuallyDrop::new(unsafe { ManuallyDrop::take(&mut self.page) }));
        }
    }
}

/// How a grant operation failed (`GNTST_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantError(pub i16);
