//! Grants: pages of this domain that another may use, and pages of others that are mapped here.

use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicU32, Ordering};

use mote_protocols::ring::Shared;
use spin::Once;
use xen_abi::errno::Errno;
use xen_abi::grant_table::{Entry, GrantStatus, Map, RESERVED_ENTRIES, Unmap, flags, map, op};
use xen_abi::memory::space;
use xen_abi::xen::hypercall;

use super::call;
use super::page::{Page, SIZE, refill};

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

/// A page of this domain that another may use.
pub struct Grant {
    reference: u32,
    page: Page,
}

impl Grant {
    /// Lets domain `user` read `page`, and write it if `writable`.
    ///
    /// # Errors
    /// If all grants are in use: the library has 504.
    pub fn new(user: u16, page: Page, writable: bool) -> Result<Self, Errno> {
        let reference = NEXT.fetch_add(1, Ordering::Relaxed);
        if reference >= ENTRIES {
            return Err(Errno::ENOSPC);
        }
        let mut access = flags::PERMIT_ACCESS;
        if !writable {
            access |= flags::READ_ONLY;
        }
        let table = table();
        table.word(entry(reference) + FRAME).store(page.frame() as u32, Ordering::Relaxed);
        let header = u32::from(user) << 16 | u32::from(access);
        table.word(entry(reference)).store(header, Ordering::Release);
        Ok(Self { reference, page })
    }

    /// By this number the other domain uses it.
    #[must_use]
    pub const fn reference(&self) -> u32 {
        self.reference
    }

    /// The page.
    #[must_use]
    pub const fn page(&self) -> &Page {
        &self.page
    }

    /// Ends it; the page comes back.
    ///
    /// # Errors
    /// If the other domain has it in use; then it stays as it is.
    pub fn end(self) -> Result<Page, Self> {
        let used = u32::from(flags::READING | flags::WRITING);
        let word = table().word(entry(self.reference));
        let mut header = word.load(Ordering::Acquire);
        while header & used == 0 {
            match word.compare_exchange(header, 0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(self.page),
                Err(now) => header = now,
            }
        }
        Err(self)
    }
}

/// A page of another domain, mapped in place of a page of this one. It is unmapped when it is dropped.
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
        let page = Page::new();
        page.release().map_err(|_| GrantError(GrantStatus::GeneralError as i16))?;
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
            return Ok(Self { page: ManuallyDrop::new(page), handle: argument.handle });
        }
        refill(page);
        Err(GrantError(argument.status))
    }

    /// The page, as the other domain sees it as well.
    #[must_use]
    pub fn page(&self) -> &Page {
        &self.page
    }
}

impl Shared for Mapping {
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.page().word(offset)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let mut argument =
            Unmap { host_addr: self.page.address() as u64, dev_bus_addr: 0, handle: self.handle, status: 0, pad: 0 };
        // SAFETY: nobody looks at the page until it is populated.
        let called = unsafe { call(hypercall::GRANT_TABLE_OP, op::UNMAP, &mut argument) };
        if called.is_ok() && argument.status == 0 {
            // SAFETY: taken once, because this is the end of what held it.
            refill(unsafe { ManuallyDrop::take(&mut self.page) });
        }
    }
}

/// How a grant operation failed (`GNTST_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantError(pub i16);
