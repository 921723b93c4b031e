//! Domains' memory: frames from the machine's pool, mapped by stage 2, scrubbed before they change hands.

use alloc::vec::Vec;

use mote_core::addr::{Ipa, PAGE_SIZE, Pa, PaRange};
use mote_core::frames::{Extent, FramePool, Order, OutOfMemory};
use mote_core::id::DomainId;
use mote_core::layout::IpaRange;
use mote_core::p2m::{Access, P2m, TableMemory, Touches};
use mote_core::vmid::{Vmid, VmidPool};
use mote_platform::memory;
use mote_platform::stage2::{self, Stage2Root};
use spin::{Mutex, Once};

/// The machine's free memory and free VMIDs.
struct Pools {
    frames: FramePool,
    vmids: VmidPool,
}

static POOLS: Once<Mutex<Pools>> = Once::new();

/// Opens the pool of `ram` without what is `reserved`.
///
/// # Errors
/// If EL2's heap cannot hold the pool's tables.
pub fn init(ram: &[PaRange], reserved: impl Iterator<Item = PaRange>) -> Result<(), OutOfMemory> {
    let mut frames = FramePool::new(ram)?;
    for range in reserved {
        frames.reserve(range)?;
    }
    let vmids = VmidPool::new(stage2::vmid_bits());
    POOLS.call_once(|| Mutex::new(Pools { frames, vmids }));
    Ok(())
}

fn with_pools<R>(f: impl FnOnce(&mut Pools) -> R) -> R {
    f(&mut POOLS.get().expect("the pools are opened before any domain is built").lock())
}

/// Puts boot modules, which are no longer needed, into the pool, scrubbed.
pub fn release_module(range: PaRange) {
    if memory::zero(range.base().0, range.size() as usize).is_ok() {
        // If the pool has no room to note it, the memory stays reserved.
        let _ = with_pools(|pools| pools.frames.release(range));
    }
}

/// The tables' side of a domain's p2m.
struct Tables {
    owner: DomainId,
    /// What the TLBs know the domain's translations by, once it has any.
    root: Option<Stage2Root>,
}

impl TableMemory for Tables {
    fn allocate(&mut self) -> Option<Pa> {
        let extent = with_pools(|pools| pools.frames.allocate(self.owner, Order::Page)).ok()?;
        let table = extent.base();
        memory::zero(table.0, PAGE_SIZE as usize).ok()?;
        Some(table)
    }

    fn free(&mut self, table: Pa) {
        give_back(self.owner, Extent::of_table(table));
    }

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

/// Scrubs memory and puts it into the pool.
fn give_back(owner: DomainId, extent: Extent) {
    memory::zero(extent.base().0, extent.order().size() as usize).expect("frames are in RAM");
    with_pools(|pools| pools.frames.free(owner, extent)).expect("a domain's frames are its own");
}

/// Why memory could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryError {
    /// The machine has no more.
    OutOfMemory,
    /// The TLBs cannot tell more domains apart.
    OutOfVmids,
    /// Nothing is mapped there.
    BadAddress,
}

impl core::fmt::Display for MemoryError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::OutOfMemory => "there is not enough free memory",
            Self::OutOfVmids => "there are more domains than VMIDs",
            Self::BadAddress => "something lies outside its memory",
        })
    }
}

/// The memory of one domain.
pub struct GuestMemory {
    // Taken out when the domain ends.
    map: Option<P2m>,
    vmid: Option<Vmid>,
    tables: Tables,
    bytes: u64,
}

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
    pub fn new(owner: DomainId) -> Result<Self, MemoryError> {
        let vmid = with_pools(|pools| pools.vmids.allocate()).ok_or(MemoryError::OutOfVmids)?;
        let mut memory =
            Self { map: None, vmid: Some(vmid), tables: Tables { owner, root: None }, bytes: 0 };
        memory.map = Some(P2m::new(&mut memory.tables).map_err(|_| MemoryError::OutOfMemory)?);
        memory.tables.root = memory.root();
        Ok(memory)
    }

    /// What to load so that a vCPU sees this memory.
    pub fn root(&self) -> Option<Stage2Root> {
        let (map, vmid) = (self.map.as_ref()?, self.vmid.as_ref()?);
        Some(Stage2Root::new(map.root().0, vmid.get()))
    }

    /// Gives the domain RAM for a whole bank, zeroed, except what `filled` says will be written whole at once.
    ///
    /// # Errors
    /// If there is not enough.
    pub fn populate(
        &mut self,
        bank: IpaRange,
        touches: Touches,
        filled: IpaRange,
    ) -> Result<(), MemoryError> {
        let mut done = 0;
        while done < bank.size {
            let ipa = Ipa(bank.base.0 + done);
            let extent = self.allocate_for(ipa, bank.size - done)?;
            let (base, size) = (extent.base().0, extent.order().size());
            zero_except(base, IpaRange { base: ipa, size }, filled)?;
            self.map_extent(ipa, extent, touches)?;
            self.bytes += size;
            done += size;
        }
        Ok(())
    }

    fn allocate_for(&self, ipa: Ipa, wanted: u64) -> Result<Extent, MemoryError> {
        let largest = Order::largest(wanted, ipa.0).ok_or(MemoryError::BadAddress)?;
        let orders = [Order::Gib, Order::Block, Order::Page];
        let allocate =
            |order| with_pools(|pools| pools.frames.allocate(self.tables.owner, order)).ok();
        let fitting = orders.into_iter().filter(|&order| order <= largest);
        fitting.into_iter().find_map(allocate).ok_or(MemoryError::OutOfMemory)
    }

    /// Maps memory, page by page if its touches are to be noticed.
    fn map_extent(
        &mut self,
        ipa: Ipa,
        extent: Extent,
        touches: Touches,
    ) -> Result<(), MemoryError> {
        let map = self.map.as_mut().ok_or(MemoryError::BadAddress)?;
        let parts: Vec<Extent> = match touches {
            Touches::Noticed => extent.into_pages().collect(),
            Touches::Unnoticed => alloc::vec![extent],
        };
        let mut at = ipa;
        let mut failed = false;
        for part in parts {
            let size = part.order().size();
            if failed {
                give_back(self.tables.owner, part);
            } else if let Err((_, part)) =
                map.map(&mut self.tables, at, part, Access::Full, touches)
            {
                give_back(self.tables.owner, part);
                failed = true;
            }
            at = Ipa(at.0 + size);
        }
        if failed { Err(MemoryError::OutOfMemory) } else { Ok(()) }
    }

    /// Copies machine memory into the domain's.
    ///
    /// # Errors
    /// If the target is not all mapped.
    pub fn copy_in(&self, mut from: Pa, mut to: Ipa, mut length: u64) -> Result<(), MemoryError> {
        while length > 0 {
            let (target, room) = self.translate(to)?;
            let part = room.min(length);
            memory::copy(from.0, target.0, part as usize).map_err(|_| MemoryError::BadAddress)?;
            memory::clean(target.0, part as usize).map_err(|_| MemoryError::BadAddress)?;
            (from, to, length) = (Pa(from.0 + part), Ipa(to.0 + part), length - part);
        }
        Ok(())
    }

    /// Copies bytes into the domain's memory.
    ///
    /// # Errors
    /// If the target is not all mapped.
    pub fn write(&self, mut to: Ipa, mut bytes: &[u8]) -> Result<(), MemoryError> {
        while !bytes.is_empty() {
            let (target, room) = self.translate(to)?;
            let (part, rest) = bytes.split_at(bytes.len().min(room as usize));
            memory::write(target.0, part).map_err(|_| MemoryError::BadAddress)?;
            memory::clean(target.0, part.len()).map_err(|_| MemoryError::BadAddress)?;
            (to, bytes) = (Ipa(to.0 + part.len() as u64), rest);
        }
        Ok(())
    }

    /// The byte at an IPA.
    ///
    /// # Errors
    /// If nothing is mapped there.
    pub fn read_byte(&self, ipa: Ipa) -> Result<u8, MemoryError> {
        let mut byte = [0];
        let (at, _) = self.translate(ipa)?;
        memory::read(at.0, &mut byte).map_err(|_| MemoryError::BadAddress)?;
        Ok(byte[0])
    }

    /// Where an IPA is, and how many bytes from there on are in one piece.
    fn translate(&self, ipa: Ipa) -> Result<(Pa, u64), MemoryError> {
        let map = self.map.as_ref().ok_or(MemoryError::BadAddress)?;
        let leaf = map.lookup(&self.tables, ipa).ok_or(MemoryError::BadAddress)?;
        let size = leaf.order.size();
        Ok((leaf.pa, size - ipa.0 % size))
    }

    /// Notes a first touch. `false` if nothing is mapped there.
    pub fn touch(&mut self, ipa: Ipa) -> bool {
        self.map.as_mut().is_some_and(|map| map.touch(&mut self.tables, ipa))
    }

    /// Takes everything apart, scrubbed. No vCPU of the domain runs or will run.
    pub fn release(&mut self) -> Usage {
        let mut usage = Usage { given: self.bytes, touched: 0, tables: 0 };
        if let Some(root) = self.root() {
            root.invalidate_all();
        }
        if let Some(map) = self.map.take() {
            usage.touched = map.touched_bytes(&self.tables);
            usage.tables = map.table_bytes();
            let owner = self.tables.owner;
            map.release(&mut self.tables, |_, extent| give_back(owner, extent));
        }
        if let Some(vmid) = self.vmid.take() {
            with_pools(|pools| pools.vmids.release(vmid));
        }
        usage
    }
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        self.release();
    }
}

/// Zeroes what of `at`, which lies at `base` in the machine, is not in `filled`.
fn zero_except(base: u64, at: IpaRange, filled: IpaRange) -> Result<(), MemoryError> {
    let end = at.base.0 + at.size;
    let page = PAGE_SIZE - 1;
    let skip_from = filled.base.0.next_multiple_of(PAGE_SIZE).clamp(at.base.0, end);
    let skip_to = ((filled.base.0 + filled.size) & !page).clamp(skip_from, end);
    for (from, to) in [(at.base.0, skip_from), (skip_to, end)] {
        let start = base + (from - at.base.0);
        memory::zero(start, (to - from) as usize).map_err(|_| MemoryError::BadAddress)?;
    }
    Ok(())
}
