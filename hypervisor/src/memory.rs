//! Domains' memory: frames from the machine's pool, mapped by stage 2, scrubbed before they change hands.

mod clones;
mod pools;

use alloc::sync::Arc;
use core::mem::ManuallyDrop;
use core::sync::atomic::Ordering;

use mote_core::addr::{Ipa, PAGE_SIZE, Pa, PaRange};
use mote_core::frames::{Extent, Order, Result};
use mote_core::id::DomainId;
use mote_core::p2m::{Access, Content, P2m, TableMemory};
use mote_core::vmid::Tag;
use mote_platform::memory::{self, Page};
use mote_platform::stage2;
use xen_abi::Zeroed;
use xen_abi::arch_arm::RAM0;
use xen_abi::errno::Errno;
use xen_abi::mote::Usage;

use clones::Owned;
pub use pools::{FrameRef, Promise, heap_for, init, pool_bytes};
use pools::{give_back, with_pools};

/// The tables' side of a domain's p2m.
struct Tables {
    owner: DomainId,
    /// What the TLBs know the domain's translations by.
    tag: Arc<Tag>,
    /// How many more tables it may have.
    left: u64,
    /// What it has, if it is a clone.
    owned: Option<Owned>,
}

impl TableMemory for Tables {
    fn table(&mut self, from: Option<Pa>) -> Option<Pa> {
        let (table, size) = (self.take(Content::Stale)?, PAGE_SIZE as usize);
        from.map_or_else(|| memory::zero(table.0, size), |from| memory::copy(from.0, table.0, size)).ok()?;
        Some(table)
    }

    fn page(&mut self, from: Option<Pa>) -> Option<Pa> {
        let (page, size) = (self.take(Content::Ready)?, PAGE_SIZE as usize);
        match from {
            Some(from) => memory::copy_for_guest(from.0, page.0, size),
            None => memory::scrub(page.0, size),
        }
        .expect("frames are in RAM");
        Some(page)
    }

    fn free(&mut self, table: Pa) {
        self.left += 1;
        give_back(self.owner, Extent::kept(table, Order::Page), Content::Ready);
    }

    #[inline]
    fn read(&self, table: Pa, index: usize) -> u64 {
        memory::load(table.0 + index as u64 * 8).expect("tables are in RAM")
    }

    fn next(&self, table: Pa, index: usize) -> Option<(usize, u64)> {
        Page::new(table.0).expect("tables are in RAM").first_set(index)
    }

    fn write(&mut self, table: Pa, index: usize, descriptor: u64) {
        self.fill(table, index, 1, descriptor, 0);
    }

    #[inline(always)]
    fn fill(&mut self, table: Pa, index: usize, count: usize, first: u64, step: u64) {
        stage2::publish();
        let table = Page::new(table.0).expect("tables are in RAM");
        for more in 0..count {
            table.double((index + more) * 8).store(first + more as u64 * step, Ordering::Relaxed);
        }
        stage2::publish();
    }

    fn invalidate(&mut self, ipa: Ipa) {
        stage2::invalidate_page(self.tag.vmid(), ipa.0);
    }
}

impl Tables {
    /// A frame, if the domain may have one more.
    fn take(&mut self, content: Content) -> Option<Pa> {
        let left = self.left.checked_sub(1)?;
        let frame = with_pools(|pools| pools.frames.allocate(Some(self.owner), Order::Page, 1)).ok()?;
        if self.note(&frame, content).is_err() {
            give_back(self.owner, frame, Content::Stale);
            return None;
        }
        self.left = left;
        Some(frame.base)
    }
}

/// Does something to each block of `size` bytes from `base` on, and where there is none or it fails to its pages. What is done says to how
/// many bytes it was done: to one page, or to some of those that it is told that there are.
///
/// # Errors
/// What it says of a page, and the bytes that it was done to before.
pub fn by_blocks(
    base: Ipa,
    size: u64,
    mut f: impl FnMut(Ipa, Order, usize) -> Result<u64>,
) -> core::result::Result<(), (Errno, u64)> {
    let (mut done, block) = (0, Order::Block.size());
    while done < size {
        let ipa = Ipa(base.0.wrapping_add(done));
        let room = (size - done).min(block - ipa.0 % block);
        let as_block = if room == block { f(ipa, Order::Block, 1).ok() } else { None };
        let pages = || f(ipa, Order::Page, (room / PAGE_SIZE) as usize);
        done += as_block.map_or_else(pages, Ok).map_err(|error| (error, done))?;
    }
    Ok(())
}

/// The memory of one domain.
pub struct GuestMemory {
    map: P2m,
    tables: Tables,
    /// What it has, what it may have, and what of it was ever touched, in bytes.
    bytes: u64,
    most: u64,
    touched: u64,
    /// Whether it is mapped page by page, so that exactly the pages that are touched are counted.
    pub by_pages: bool,
    /// Whether its blocks are where the machine has them.
    pub direct: bool,
    /// How many pages that are not its own it has mapped.
    pub foreign: u64,
    /// The last page that anything was ever mapped at.
    last: Ipa,
}

/// Tables that every domain may have, and how many bytes of memory entitle it to one more: twice what it takes to map them
/// page by page, because a guest may map other things elsewhere.
const FEW: u64 = 128;
const BYTES_PER_TABLE: u64 = 1 << 20;

impl GuestMemory {
    /// No memory yet.
    ///
    /// # Errors
    /// If there is no memory for the first table.
    pub fn new(owner: DomainId) -> Result<Self> {
        let mut tables = Tables { owner, tag: Arc::default(), left: FEW, owned: None };
        let map = P2m::new(&mut tables)?;
        Ok(Self::with(map, tables))
    }

    /// The memory that `map` says.
    const fn with(map: P2m, tables: Tables) -> Self {
        let (by_pages, direct, last) = (false, false, Ipa(0));
        Self { map, tables, bytes: 0, most: 0, touched: 0, by_pages, direct, foreign: 0, last }
    }

    /// What to load so that a vCPU sees this memory: the root table, and the tag that has the VMID for it.
    pub fn translation(&self) -> (Pa, Arc<Tag>) {
        (self.map.root(), self.tables.tag.clone())
    }

    /// Lets the domain have so many bytes, and tables for them.
    pub fn allow(&mut self, bytes: u64) {
        let tables = self.tables.left + bytes / BYTES_PER_TABLE;
        self.tables.left = tables.saturating_sub(self.most / BYTES_PER_TABLE);
        self.most = bytes;
    }

    /// Maps what the boot loader put into whole pages for this domain, `offset` above the machine's addresses.
    ///
    /// # Errors
    /// If there is no room to note it.
    pub fn adopt(&mut self, range: PaRange, offset: u64) -> Result {
        with_pools(|pools| pools.frames.claim(self.tables.owner, range))?;
        self.allow(self.most + range.size());
        let adopted = by_blocks(Ipa(range.base().0 + offset), range.size(), |ipa, order, _| {
            let extent = Extent::kept(Pa(ipa.0 - offset), order);
            match self.map.map(&mut self.tables, ipa, extent, Content::Ready) {
                Ok(()) => self.bytes += order.size(),
                // Modules may share a page.
                Err((Errno::EEXIST, _)) if order == Order::Page => {}
                Err((error, _)) => return Err(error),
            }
            Ok(order.size())
        });
        adopted.map_err(|(error, _)| error)
    }

    /// Maps memory: what is the domain's own where nothing is, and what is not also in place of what is there. What cannot be mapped goes
    /// back to where it came from.
    #[inline(always)]
    fn put(&mut self, ipa: Ipa, mut extent: Extent, content: Content) -> Result {
        let (is_own, last) = (content.is_own(), Ipa(ipa.0 + extent.size() - PAGE_SIZE));
        if !is_own && let Err(error) = self.tables.note(&extent, content) {
            give_back(self.tables.owner, extent, content);
            return Err(error);
        }
        while let Err((error, back)) = self.map.map(&mut self.tables, ipa, extent, content) {
            extent = back;
            if is_own || error != Errno::EEXIST || self.remove(ipa, extent.order).is_err() {
                self.tables.forget(&extent);
                give_back(self.tables.owner, extent, content);
                return Err(error);
            }
        }
        self.foreign += u64::from(!is_own);
        self.last = self.last.max(last);
        Ok(())
    }

    /// Copies machine memory into the domain's, to the beginning of a page.
    ///
    /// # Errors
    /// If the target is not all mapped.
    pub fn copy_in(&mut self, from: PaRange, to: Ipa) -> Result {
        for done in (0..from.size()).step_by(PAGE_SIZE as usize) {
            let page = self.own_page(Ipa(to.0 + done), Access::Full)?;
            let length = (from.size() - done).min(PAGE_SIZE) as usize;
            memory::copy_for_guest(from.base().0 + done, page.0, length).map_err(|_| Errno::EINVAL)?;
        }
        Ok(())
    }

    /// Lets the guest touch the leaf at `ipa`, scrubbed.
    ///
    /// # Errors
    /// If nothing is mapped there any more.
    pub fn touch(&mut self, ipa: Ipa) -> Result {
        self.make_ready(ipa, true)
    }

    /// Lets EL2 read or `write` in the guest's name what is at `ipa`.
    ///
    /// # Errors
    /// If nothing is mapped there, or there is no memory for a clone's own.
    #[inline(never)]
    pub fn admit(&mut self, ipa: Ipa, write: bool) -> Result {
        self.leaf(ipa.page(), write)?;
        self.touch(ipa)
    }

    #[inline(never)]
    fn make_ready(&mut self, ipa: Ipa, touch: bool) -> Result {
        let scrub = |base: Pa, order: Order| memory::scrub(base.0, order.size() as usize).expect("frames are in RAM");
        self.touched += self.map.make_ready(&mut self.tables, ipa, touch, scrub)?;
        Ok(())
    }

    /// A reference to the page of RAM at `ipa`, for somebody who is not the guest: that it is used does not count as touched.
    ///
    /// # Errors
    /// If it is not the domain's own.
    pub fn lend(&mut self, ipa: Ipa) -> Result<FrameRef> {
        FrameRef::new(self.find(ipa, Access::Full, false)?)
    }

    /// Pages that the domain has, and may have.
    pub const fn pages(&self) -> (u64, u64) {
        (self.bytes / PAGE_SIZE, self.most / PAGE_SIZE)
    }

    /// Gives the domain new memory for `size` bytes from `base` on, where there must be none, in blocks where there are some.
    ///
    /// # Errors
    /// If it has as much as it may have, there is none, or it cannot be there; then it gets none.
    pub fn fill(&mut self, base: Ipa, size: u64) -> Result {
        if size == PAGE_SIZE {
            return self.add(Some(base), Order::Page, 1).map(drop);
        }
        let add = |ipa, order, most| self.add(Some(ipa), order, most).map(|(_, size)| size);
        by_blocks(base, size, add).map_err(|(error, done)| {
            // It is there, so it can be taken away.
            let _ = by_blocks(base, done, |ipa, order, _| self.remove(ipa, order).map(|_| order.size()));
            error
        })
    }

    /// Gives the domain a block of new memory at the address that it has in the machine, for a guest that tells it to devices; answers
    /// where. It is scrubbed at once, because devices touch it unseen.
    ///
    /// # Errors
    /// As above; also if it lies where guests have devices.
    pub fn add_direct(&mut self) -> Result<Ipa> {
        let (ipa, _) = self.add(None, Order::Block, 1)?;
        if ipa.0 < RAM0.base {
            self.remove(ipa, Order::Block)?;
            return Err(Errno::EEXIST);
        }
        self.make_ready(ipa, false)?;
        Ok(ipa)
    }

    /// Adds a block, or as many pages as lie together, of `most`; where, and how many bytes that are.
    #[inline]
    fn add(&mut self, ipa: Option<Ipa>, order: Order, most: usize) -> Result<(Ipa, u64)> {
        let asked = order.size() * most as u64;
        if self.bytes + asked > self.most || self.by_pages && order != Order::Page {
            return Err(Errno::ENOMEM);
        }
        let extent = match self.tables.owned {
            Some(_) => self.tables.take(Content::Ready).map(|page| Extent::kept(page, order)),
            None => with_pools(|pools| pools.frames.allocate(Some(self.tables.owner), order, most)).ok(),
        };
        let extent = extent.ok_or(Errno::ENOMEM)?;
        let (ipa, size) = (ipa.unwrap_or(Ipa(extent.base.0)), extent.size());
        self.put(ipa, extent, Content::Stale)?;
        self.bytes += size;
        Ok((ipa, size))
    }

    /// A reference to the page of RAM at `ipa`, to which `access` is wanted.
    ///
    /// # Errors
    /// If it is not the domain's own, or may not be written.
    #[inline(never)]
    pub fn share(&mut self, ipa: Ipa, access: Access) -> Result<FrameRef> {
        FrameRef::new(self.own_page(ipa, access)?)
    }

    /// Where the page of RAM at `ipa` is, to which `access` is wanted. It stays there for as long as this memory is locked.
    ///
    /// # Errors
    /// As above.
    pub fn own_page(&mut self, ipa: Ipa, access: Access) -> Result<Pa> {
        self.find(ipa, access, true)
    }

    #[inline]
    fn find(&mut self, ipa: Ipa, access: Access, touch: bool) -> Result<Pa> {
        let leaf = self.leaf(ipa.page(), access == Access::Full)?;
        if leaf.foreign || access == Access::Full && !leaf.writable {
            return Err(Errno::EINVAL);
        }
        if !leaf.touched {
            self.make_ready(ipa, touch)?;
        }
        Ok(leaf.pa)
    }

    /// Maps a page that is not the domain's at `ipa`, in place of what is there.
    ///
    /// # Errors
    /// If it cannot be there, or there is no memory for tables.
    pub fn map_shared(&mut self, ipa: Ipa, page: FrameRef, access: Access) -> Result {
        // The map keeps the reference as an address.
        let page = ManuallyDrop::new(page).base();
        self.put(ipa, Extent::kept(page, Order::Page), Content::Foreign(access))
    }

    /// Maps the page of a device at `ipa`, in place of what is there. The caller has made sure that it may be passed on. It is
    /// for [`Self::remove_shared`] to take it away again.
    ///
    /// # Errors
    /// As above.
    pub fn map_device(&mut self, ipa: Ipa, page: Pa) -> Result {
        self.put(ipa, Extent::kept(page, Order::Page), Content::Device)
    }

    /// Takes away the page or the block that is mapped at `ipa`; whether it was the domain's own.
    ///
    /// # Errors
    /// If no such thing is mapped there.
    #[inline(never)]
    pub fn remove(&mut self, ipa: Ipa, order: Order) -> Result<bool> {
        let (extent, content) = self.map.unmap(&mut self.tables, ipa, order)?;
        let own = content.is_own();
        match content {
            Content::Ready | Content::Stale => self.bytes = self.bytes.saturating_sub(order.size()),
            Content::Foreign(_) | Content::Device => self.foreign -= 1,
            Content::Shared => {}
        }
        if content != Content::Shared {
            self.tables.forget(&extent);
        }
        give_back(self.tables.owner, extent, content);
        Ok(own)
    }

    /// Takes `page`, which is not the domain's own, away from `ipa`. `false` if another one is there; if none is, it is gone
    /// already.
    pub fn remove_shared(&mut self, ipa: Ipa, page: Pa) -> bool {
        let leaf = self.map.lookup(&self.tables, ipa).filter(|leaf| leaf.foreign);
        leaf.is_none_or(|leaf| leaf.pa == page && self.remove(ipa, Order::Page).is_ok())
    }

    /// Has memory and caches agree on `length` bytes that lie in one page.
    ///
    /// # Errors
    /// If nothing is mapped there.
    pub fn flush(&self, from: Ipa, length: usize) -> Result {
        let leaf = self.map.lookup(&self.tables, from).ok_or(Errno::EINVAL)?;
        memory::flush(leaf.pa.0, length).map_err(|_| Errno::EINVAL)
    }

    /// The last frame that anything was ever mapped at.
    pub const fn last_frame(&self) -> u64 {
        self.last.0 / PAGE_SIZE
    }

    /// What it comes to.
    pub fn usage(&self) -> Usage {
        let (memory, touched) = (self.most, self.touched.min(self.most));
        Usage { memory, touched, tables: self.map.table_bytes(), ..Usage::new_zeroed() }
    }

    /// Takes a part of it away, scrubbed; whether that was the last. No vCPU of the domain runs or will run: what TLBs remember under
    /// its VMID nobody finds before they have forgotten it.
    pub fn release(&mut self) -> bool {
        /// Pages' worth of work at once.
        const PART: u64 = 256;
        // Without tables nothing can be mapped any more.
        (self.tables.left, self.most) = (0, 0);
        if let Some(done) = self.release_owned(PART) {
            return done;
        }
        let owner = self.tables.owner;
        let done = self.map.clear(&mut self.tables, PART, |extent, content| give_back(owner, extent, content));
        self.tables.left = 0;
        done
    }
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        while !self.release() {}
        self.tables.free(self.map.root());
    }
}
