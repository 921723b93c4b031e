//! The machine's free memory and free VMIDs, and pages that are used by more than one.

use core::sync::atomic::{AtomicU32, AtomicU64};

use mote_core::addr::{PAGE_SIZE, Pa, PaRange};
use mote_core::events;
use mote_core::frames::{Extent, FramePool, MemoryError, Order};
use mote_core::id::DomainId;
use mote_core::p2m::Content;
use mote_core::vmid::VmidPool;
use mote_platform::lock::Mutex;
use mote_platform::memory::{self, Page};
use mote_platform::stage2;
use spin::Once;

use crate::console;

/// The machine's free memory and free VMIDs.
pub(super) struct Pools {
    pub frames: FramePool,
    pub vmids: VmidPool,
}

static POOLS: Once<Mutex<Pools>> = Once::new();

/// Opens the pool of `ram` without what is `reserved`.
///
/// # Errors
/// If EL2's heap cannot hold the pool's tables.
pub fn init(ram: &[PaRange], reserved: impl Iterator<Item = PaRange>) -> Result<(), MemoryError> {
    let mut frames = FramePool::new(ram)?;
    for range in reserved {
        frames.reserve(range)?;
    }
    let vmids = VmidPool::new(stage2::vmid_bits());
    POOLS.call_once(|| Mutex::new(Pools { frames, vmids }));
    Ok(())
}

pub(super) fn with_pools<R>(f: impl FnOnce(&mut Pools) -> R) -> R {
    f(&mut POOLS.get().expect("the pools are opened before any domain is built").lock())
}

/// Bytes of memory that domains can have, and how many of them are free.
pub fn pool_bytes() -> (u64, u64) {
    with_pools(|pools| pools.frames.bytes())
}

/// Puts boot modules, which are no longer needed, into the pool, scrubbed.
pub fn release_module(range: PaRange) {
    if memory::zero(range.base().0, range.size() as usize).is_ok() {
        // If the pool has no room to note it, the memory stays reserved.
        let _ = with_pools(|pools| pools.frames.release(range));
    }
}

/// Takes what a domain no longer has: what it saw of it is scrubbed, and what others use stays until they do not.
#[inline(never)]
pub(super) fn give_back(owner: DomainId, extent: Extent, content: Content) {
    if content == Content::Foreign {
        return drop(FrameRef::kept(extent.base()));
    }
    if with_pools(|pools| pools.frames.is_whole(&extent)) {
        return scrub_and_free(Some(owner), extent, content);
    }
    for page in extent.split_into(Order::Page) {
        if with_pools(|pools| pools.frames.leave(owner, &page)) {
            scrub_and_free(Some(owner), page, content);
        }
    }
}

fn scrub_and_free(owner: Option<DomainId>, extent: Extent, content: Content) {
    let (base, size) = (extent.base().0, extent.order().size());
    if content == Content::Ready {
        memory::zero(base, size as usize).expect("frames are in RAM");
    }
    if with_pools(|pools| pools.frames.free(owner, extent)).is_err() {
        console::log(format_args!("{size} bytes at {base:#x} are lost: no room to note that they are free"));
    }
}

/// A reference to a page: whatever becomes of its owner, the page stays until the last is dropped.
pub struct FrameRef(Page);

impl FrameRef {
    /// A page of zeroes that is no domain's.
    ///
    /// # Errors
    /// If there is no memory.
    #[inline(never)]
    pub fn zeroed() -> Result<Self, MemoryError> {
        let base = with_pools(|pools| pools.frames.allocate_left())?;
        memory::scrub(base.0, PAGE_SIZE as usize).map_err(|_| MemoryError::OutOfMemory)?;
        Ok(Self::kept(base))
    }

    /// One more reference to the page at `base`.
    #[inline(never)]
    pub(super) fn new(base: Pa) -> Result<Self, MemoryError> {
        with_pools(|pools| pools.frames.share(base))?;
        Ok(Self::kept(base))
    }

    /// A reference that was kept as an address.
    fn kept(base: Pa) -> Self {
        Self(Page::new(base.0).expect("frames are pages of RAM"))
    }

    /// Puts the reference into a map, which keeps it as an address.
    pub(super) fn into_extent(self) -> Extent {
        Extent::of_table(core::mem::ManuallyDrop::new(self).base())
    }

    /// The page's address.
    pub const fn base(&self) -> Pa {
        Pa(self.0.base())
    }

    /// Another one.
    ///
    /// # Errors
    /// If there are too many.
    pub fn another(&self) -> Result<Self, MemoryError> {
        Self::new(self.base())
    }
}

impl Drop for FrameRef {
    #[inline(never)]
    fn drop(&mut self) {
        let base = self.base();
        if with_pools(|pools| pools.frames.unshare(base)) {
            scrub_and_free(None, Extent::of_table(base), Content::Ready);
        }
    }
}

impl events::Page for FrameRef {
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.0.word(offset)
    }

    fn double(&self, offset: usize) -> &AtomicU64 {
        self.0.double(offset)
    }
}
