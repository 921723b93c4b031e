//! The machine's free memory, and pages that are used by more than one.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use mote_core::addr::{PAGE_SIZE, Pa, PaRange};
use mote_core::frames::{BLOCK_SIZE, Extent, FramePool, Order};
use mote_core::id::DomainId;
use mote_core::p2m::Content;
use mote_core::{events, frames};
use mote_platform::lock::Mutex;
use mote_platform::memory::{self, Page};
use spin::Once;
use xen_abi::errno::Errno;

use crate::console;

/// The machine's free memory.
pub(super) struct Pools {
    pub frames: FramePool,
}

static POOLS: Once<Mutex<Pools>> = Once::new();

/// Opens the pool of `ram` without what is `reserved`, and lets domains have so many bytes of `heap`.
///
/// # Errors
/// If EL2's heap cannot hold the pool's tables.
pub fn init(ram: &[PaRange], reserved: impl Iterator<Item = PaRange>, heap: usize) -> Result<(), Errno> {
    UNPROMISED.store(heap, Ordering::Relaxed);
    let mut frames = FramePool::new(ram)?;
    for range in reserved {
        frames.reserve(range)?;
    }
    POOLS.call_once(|| Mutex::new(Pools { frames }));
    Ok(())
}

pub(super) fn with_pools<R>(f: impl FnOnce(&mut Pools) -> R) -> R {
    f(&mut POOLS.get().expect("the pools are opened before any domain is built").lock())
}

/// Bytes of memory that domains can have, and how many of them are free.
pub fn pool_bytes() -> (u64, u64) {
    with_pools(|pools| pools.frames.bytes())
}

/// Bytes of EL2's heap that one domain may come to need, whatever it does: they are there for it while this is.
pub struct Promise(usize);

/// Bytes of the heap that are not promised yet.
static UNPROMISED: AtomicUsize = AtomicUsize::new(0);

/// Bytes of heap for a machine with so much RAM, and how many of them can be promised to domains.
pub fn heap_for(ram: u64) -> (usize, usize) {
    /// The part of RAM that is kept for EL2's structures.
    const SHARE: u64 = 32;
    let tables = frames::table_bytes(ram);
    let bytes = (tables + ram / SHARE).next_multiple_of(BLOCK_SIZE);
    (bytes as usize, (bytes - tables) as usize)
}

impl Promise {
    /// Keeps so much free.
    ///
    /// # Errors
    /// If there is not so much.
    pub fn new(bytes: usize) -> Result<Self, Errno> {
        let take = |left: usize| left.checked_sub(bytes);
        let taken = UNPROMISED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map(|_| Self(bytes)).map_err(|_| Errno::ENOMEM)
    }

    /// Keeps more free.
    ///
    /// # Errors
    /// If there is not so much.
    pub fn extend(&mut self, bytes: usize) -> Result<(), Errno> {
        self.0 += core::mem::ManuallyDrop::new(Self::new(bytes)?).0;
        Ok(())
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        UNPROMISED.fetch_add(self.0, Ordering::Relaxed);
    }
}

/// Takes what a domain no longer has: what it saw of it is scrubbed, and what others use stays until they do not.
#[inline]
pub(super) fn give_back(owner: DomainId, extent: Extent, content: Content) {
    match content {
        Content::Foreign(_) => end_use(None, extent, Content::Ready),
        Content::Device | Content::Shared => {}
        Content::Ready | Content::Stale => end_use(Some(owner), extent, content),
    }
}

/// The owner gives memory up, or without an owner one use of it ends.
#[inline(never)]
fn end_use(owner: Option<DomainId>, extent: Extent, content: Content) {
    let mut pages = extent.into_pages();
    while pages.count > 0 {
        let Some(part) = with_pools(|pools| pools.frames.leave(owner, &mut pages)) else { continue };
        let (base, size) = (part.base.0, part.size());
        if content == Content::Ready {
            memory::zero(base, size as usize).expect("frames are in RAM");
        }
        if with_pools(|pools| pools.frames.free(owner, part)).is_err() {
            console::log(format_args!("{size} bytes at {base:#x} are lost: no room to note that they are free"));
        }
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
    pub fn zeroed() -> Result<Self, Errno> {
        let base = with_pools(|pools| pools.frames.allocate(None, Order::Page, 1))?.base;
        memory::scrub(base.0, PAGE_SIZE as usize).map_err(|_| Errno::ENOMEM)?;
        Ok(Self::kept(base))
    }

    /// One more reference to the page at `base`.
    #[inline(never)]
    pub(super) fn new(base: Pa) -> Result<Self, Errno> {
        with_pools(|pools| pools.frames.share(base))?;
        Ok(Self::kept(base))
    }

    /// A reference that was kept as an address.
    fn kept(base: Pa) -> Self {
        Self(Page::new(base.0).expect("frames are pages of RAM"))
    }

    /// A page of its own with the same in it.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn copied(&self) -> Result<Self, Errno> {
        let copy = Self::zeroed()?;
        memory::copy(self.base().0, copy.base().0, PAGE_SIZE as usize).map_err(|_| Errno::EINVAL)?;
        Ok(copy)
    }

    /// The page's address.
    pub const fn base(&self) -> Pa {
        Pa(self.0.base())
    }

    /// Another one.
    ///
    /// # Errors
    /// If there are too many.
    pub fn another(&self) -> Result<Self, Errno> {
        Self::new(self.base())
    }
}

impl Drop for FrameRef {
    #[inline(never)]
    fn drop(&mut self) {
        end_use(None, Extent::kept(self.base(), Order::Page), Content::Ready);
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
