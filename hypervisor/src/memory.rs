//! Domains' memory: frames from the machine's pool, mapped by stage 2, scrubbed before they change hands.

mod pools;

use mote_core::addr::{Ipa, PAGE_SIZE, Pa};
use mote_core::frames::{Extent, Order, Result};
use mote_core::id::DomainId;
use mote_core::layout::IpaRange;
use mote_core::p2m::{Access, Content, P2m, TableMemory};
use mote_core::vmid::Vmid;
use mote_platform::memory;
use mote_platform::stage2::{self, Stage2Root};

pub use mote_core::frames::MemoryError;
pub use pools::{FrameRef, init, pool_bytes, release_module};
use pools::{give_back, with_pools};

/// The tables' side of a domain's p2m.
struct Tables {
    owner: DomainId,
    /// What the TLBs know the domain's translations by, while it has any.
    root: Option<Stage2Root>,
    /// How many more tables it may have.
    left: u64,
}

impl TableMemory for Tables {
    fn allocate(&mut self) -> Option<Pa> {
        let left = self.left.checked_sub(1)?;
        let extent = with_pools(|pools| pools.frames.allocate(self.owner, Order::Page)).ok()?;
        let table = extent.base();
        memory::zero(table.0, PAGE_SIZE as usize).ok()?;
        self.left = left;
        Some(table)
    }

    fn free(&mut self, table: Pa) {
        self.left += 1;
        give_back(self.owner, Extent::of_table(table), Content::Ready);
    }

    #[inline]
    fn read(&self, table: Pa, index: usize) -> u64 {
        memory::load(table.0 + index as u64 * 8).expect("tables are in RAM")
    }

    fn write(&mut self, table: Pa, index: usize, descriptor: u64) {
        stage2::publish();
        memory::store(table.0 + index as u64 * 8, descriptor).expect("tables are in RAM");
        stage2::publish();
    }

    fn invalidate(&mut self, ipa: Ipa) {
        if let Some(root) = self.root {
            root.invalidate_page(ipa.0);
        }
    }
}

/// The memory of one domain.
pub struct GuestMemory {
    map: P2m,
    root: Stage2Root,
    // Taken out at the very end.
    vmid: Option<Vmid>,
    tables: Tables,
    /// What it has, and what it was given and may have, in bytes.
    bytes: u64,
    most: u64,
    /// The last page that anything was ever mapped at.
    last: Ipa,
}

/// Tables that every domain may have, and how many bytes of memory entitle it to one more: twice what it takes to map them
/// page by page, because a guest may map other things elsewhere.
const FEW: u64 = 128;
const BYTES_PER_TABLE: u64 = 1 << 20;

/// What a domain's memory came to.
pub struct Usage {
    /// What it was given, in bytes.
    pub given: u64,
    /// What of it was touched.
    pub touched: u64,
    /// EL2's tables.
    pub tables: u64,
}

impl GuestMemory {
    /// No memory yet.
    ///
    /// # Errors
    /// If there is no VMID or no memory for the first table.
    pub fn new(owner: DomainId) -> Result<Self> {
        let mut tables = Tables { owner, root: None, left: FEW };
        let map = P2m::new(&mut tables)?;
        let Some(vmid) = with_pools(|pools| pools.vmids.allocate()) else {
            tables.free(map.root());
            return Err(MemoryError::OutOfVmids);
        };
        let root = Stage2Root::new(map.root().0, vmid.get());
        tables.root = Some(root);
        Ok(Self { map, root, vmid: Some(vmid), tables, bytes: 0, most: 0, last: Ipa(0) })
    }

    /// What to load so that a vCPU sees this memory.
    pub const fn root(&self) -> Stage2Root {
        self.root
    }

    /// Gives the domain RAM for a whole bank; page by page if exactly the pages that it touches are to be counted. What is
    /// in it is scrubbed when it is first touched, except in leaves so large that the guest would notice.
    ///
    /// # Errors
    /// If there is not enough.
    pub fn populate(&mut self, bank: IpaRange, by_pages: bool) -> Result {
        self.most += bank.size;
        self.tables.left += bank.size / BYTES_PER_TABLE;
        let mut done = 0;
        while done < bank.size {
            let ipa = Ipa(bank.base.0 + done);
            let extent = self.allocate_for(ipa, bank.size - done)?;
            let size = extent.order().size();
            let order = if by_pages { Order::Page } else { extent.order() };
            let mut content = Content::Stale;
            if order == Order::Gib {
                memory::scrub(extent.base().0, size as usize).expect("frames are in RAM");
                content = Content::Ready;
            }
            self.map_all(ipa, extent.split_into(order), content)?;
            self.bytes += size;
            done += size;
        }
        Ok(())
    }

    /// The largest piece there is of what is wanted.
    fn allocate_for(&self, ipa: Ipa, wanted: u64) -> Result<Extent> {
        let fits = |order: &Order| order.size() <= wanted && ipa.0.is_multiple_of(order.size());
        let allocate = |order| with_pools(|pools| pools.frames.allocate(self.tables.owner, order)).ok();
        let mut orders = [Order::Gib, Order::Block, Order::Page].into_iter().filter(fits);
        orders.find_map(allocate).ok_or(MemoryError::OutOfMemory)
    }

    /// Maps memory that lies in one piece from `at` on. What cannot be mapped goes back to where it came from.
    fn map_all(&mut self, mut at: Ipa, parts: impl IntoIterator<Item = Extent>, content: Content) -> Result {
        let mut parts = parts.into_iter();
        while let Some(part) = parts.next() {
            let size = part.order().size();
            if let Err((error, part)) = self.map.map(&mut self.tables, at, part, Access::Full, content) {
                core::iter::once(part).chain(parts).for_each(|part| give_back(self.tables.owner, part, content));
                return Err(error);
            }
            self.last = self.last.max(Ipa(at.0 + size - PAGE_SIZE));
            at = Ipa(at.0 + size);
        }
        Ok(())
    }

    /// Copies machine memory into the domain's.
    ///
    /// # Errors
    /// If the target is not all mapped.
    pub fn copy_in(&mut self, from: Pa, to: Ipa, length: u64) -> Result {
        self.fill(to, length, |done, target, part| memory::copy(from.0 + done, target.0, part))
    }

    /// Copies bytes into the domain's memory.
    ///
    /// # Errors
    /// If the target is not all mapped.
    pub fn write(&mut self, to: Ipa, bytes: &[u8]) -> Result {
        self.fill(to, bytes.len() as u64, |done, target, part| {
            let part = bytes.get(done as usize..done as usize + part);
            memory::write(target.0, part.unwrap_or_default())
        })
    }

    /// Fills `length` bytes from `to` on with what `copy` writes: for each piece it is given the bytes done so far, the
    /// target, and how many bytes to write.
    fn fill(
        &mut self,
        to: Ipa,
        length: u64,
        copy: impl Fn(u64, Pa, usize) -> core::result::Result<(), memory::NotRam>,
    ) -> Result {
        let mut done = 0;
        while done < length {
            let rest = IpaRange { base: Ipa(to.0 + done), size: length - done };
            let (target, room) = self.translate(rest.base)?;
            // What EL2 is about to write need not be scrubbed.
            let scrub = |base, order| scrub_except(base, order, rest);
            self.map.make_ready(&mut self.tables, rest.base, false, scrub)?;
            let part = room.min(rest.size);
            copy(done, target, part as usize)
                .and_then(|()| memory::clean(target.0, part as usize))
                .map_err(|_| MemoryError::BadAddress)?;
            done += part;
        }
        Ok(())
    }

    /// Where an IPA is, and how many bytes from there on are in one piece.
    fn translate(&self, ipa: Ipa) -> Result<(Pa, u64)> {
        let leaf = self.map.lookup(&self.tables, ipa).ok_or(MemoryError::BadAddress)?;
        let size = leaf.order.size();
        Ok((leaf.pa, size - ipa.0 % size))
    }

    /// Lets the guest touch the leaf at `ipa`, scrubbed.
    ///
    /// # Errors
    /// If nothing is mapped there any more.
    #[inline(never)]
    pub fn touch(&mut self, ipa: Ipa) -> Result {
        let scrub = |base: Pa, order: Order| memory::scrub(base.0, order.size() as usize).expect("frames are in RAM");
        self.map.make_ready(&mut self.tables, ipa, true, scrub)
    }

    /// Pages that the domain has, and may have.
    pub const fn pages(&self) -> (u64, u64) {
        (self.bytes / PAGE_SIZE, self.most / PAGE_SIZE)
    }

    /// Gives the domain new memory of `order` at `ipa`, where there must be none.
    ///
    /// # Errors
    /// If it has as much as it may have, there is none, or it cannot be there.
    #[inline(never)]
    pub fn add(&mut self, ipa: Ipa, order: Order) -> Result {
        if self.bytes + order.size() > self.most {
            return Err(MemoryError::OutOfMemory);
        }
        let extent = with_pools(|pools| pools.frames.allocate(self.tables.owner, order))?;
        self.map_all(ipa, [extent], Content::Stale)?;
        self.bytes += order.size();
        Ok(())
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
        let leaf = self.map.lookup(&self.tables, ipa.page()).ok_or(MemoryError::BadAddress)?;
        if leaf.foreign || access == Access::Full && !leaf.writable {
            return Err(MemoryError::BadAddress);
        }
        if !leaf.touched {
            self.touch(ipa)?;
        }
        Ok(leaf.pa)
    }

    /// Maps a page that is not the domain's at `ipa`, in place of what is there.
    ///
    /// # Errors
    /// If it cannot be there, or there is no memory for tables.
    #[inline(never)]
    pub fn map_shared(&mut self, ipa: Ipa, page: FrameRef, access: Access) -> Result {
        match self.remove(ipa) {
            Ok(_) | Err(MemoryError::NotMapped) => {}
            Err(error) => return Err(error),
        }
        self.last = self.last.max(ipa);
        let mapped = self.map.map(&mut self.tables, ipa, page.into_extent(), access, Content::Foreign);
        mapped.map_err(|(error, page)| {
            give_back(self.tables.owner, page, Content::Foreign);
            error
        })
    }

    /// Takes away the page that is mapped at `ipa`; whether it was the domain's own.
    ///
    /// # Errors
    /// If nothing is mapped there.
    #[inline(never)]
    pub fn remove(&mut self, ipa: Ipa) -> Result<bool> {
        let (extent, content) = self.map.unmap_page(&mut self.tables, ipa)?;
        let own = content != Content::Foreign;
        if own {
            self.bytes -= PAGE_SIZE;
        }
        give_back(self.tables.owner, extent, content);
        Ok(own)
    }

    /// Takes `page`, which is not the domain's own, away from `ipa`. `false` if another one is there; if none is, it is gone
    /// already.
    pub fn remove_shared(&mut self, ipa: Ipa, page: Pa) -> bool {
        let leaf = self.map.lookup(&self.tables, ipa).filter(|leaf| leaf.foreign);
        leaf.is_none_or(|leaf| leaf.pa == page && self.remove(ipa).is_ok())
    }

    /// Has memory and caches agree on `length` bytes that lie in one page.
    ///
    /// # Errors
    /// If nothing is mapped there.
    pub fn flush(&self, from: Ipa, length: usize) -> Result {
        let (at, _) = self.translate(from)?;
        memory::flush(at.0, length).map_err(|_| MemoryError::BadAddress)
    }

    /// The last frame that anything was ever mapped at.
    pub const fn last_frame(&self) -> u64 {
        self.last.0 / PAGE_SIZE
    }

    /// Takes everything apart, scrubbed. No vCPU of the domain runs or will run.
    pub fn release(&mut self) -> Usage {
        let mut usage = Usage { given: self.most, touched: 0, tables: self.map.table_bytes() };
        let Some(root) = self.tables.root.take() else { return usage };
        root.invalidate_all();
        let owner = self.tables.owner;
        self.map.clear(&mut self.tables, |extent, content, touched| {
            if touched && content != Content::Foreign {
                usage.touched += extent.order().size();
            }
            give_back(owner, extent, content);
        });
        // Without tables nothing can be mapped any more.
        self.tables.left = 0;
        usage
    }
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        self.release();
        self.tables.free(self.map.root());
        if let Some(vmid) = self.vmid.take() {
            with_pools(|pools| pools.vmids.release(vmid));
        }
    }
}

/// Scrubs what of the leaf that `filled` begins in is not in `filled`; the leaf lies at `base` in the machine.
fn scrub_except(base: Pa, order: Order, filled: IpaRange) {
    let leaf = filled.base.0 & !(order.size() - 1);
    let end = leaf + order.size();
    let skip_from = filled.base.0.next_multiple_of(PAGE_SIZE).clamp(leaf, end);
    let skip_to = (filled.base.0.saturating_add(filled.size) & !(PAGE_SIZE - 1)).clamp(skip_from, end);
    for (from, to) in [(leaf, skip_from), (skip_to, end)] {
        memory::scrub(base.0 + (from - leaf), (to - from) as usize).expect("frames are in RAM");
    }
}
