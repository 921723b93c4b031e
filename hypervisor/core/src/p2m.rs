//! A domain's physical-to-machine map: its stage-2 tables (Arm ARM D8.2: 4 KiB granule, 39-bit IPA, walked from level 1).
//!
//! Leaves are 1 GiB, 2 MiB or 4 KiB. Tables are made on demand, charged to the domain, and shared with its clones alone (see
//! [`sharing`](P2m::freeze)). A valid descriptor
//! becomes another valid one only through an invalid one and an invalidation (break-before-make, D8.17.1), except for the
//! access flag, which may be set in place together with the bits that are for software.

mod sharing;

pub use sharing::Inherited;

use core::cell::Cell;

use xen_abi::errno::Errno;

use crate::addr::{Ipa, PAGE_SIZE, Pa};
use crate::frames::{Extent, Order, Result};

/// Bits of an IPA.
pub const IPA_BITS: u32 = 39;
/// Descriptors in a table.
pub const ENTRIES: usize = 512;

/// The tables' memory, and the TLBs that remember what they said. Implemented by the machine, and by a checker in the tests.
pub trait TableMemory {
    /// A table that says what the table `from` says, or of zeroes, charged to the domain; `None` if there is no memory or the domain has
    /// its share.
    fn table(&mut self, from: Option<Pa>) -> Option<Pa>;
    /// A page of guests' memory with what is in the page `from`, or zeroed, charged to the domain; `None` as above.
    fn page(&mut self, from: Option<Pa>) -> Option<Pa>;
    /// Takes a table back, or a page, that no translation passes through any more.
    fn free(&mut self, table: Pa);
    /// A descriptor.
    fn read(&self, table: Pa, index: usize) -> u64;
    /// The first descriptor from `index` on that is not 0.
    fn next(&self, table: Pa, index: usize) -> Option<(usize, u64)>;
    /// Sets a descriptor, at once and after all writes before it.
    fn write(&mut self, table: Pa, index: usize, descriptor: u64);
    /// Sets `count` descriptors from `index` on after all writes before them, each at once: to `first`, and each to `step` more than the
    /// one before it.
    fn fill(&mut self, table: Pa, index: usize, count: usize, first: u64, step: u64);
    /// Makes all TLBs forget the page at `ipa`, as part of whatever block they knew it.
    fn invalidate(&mut self, ipa: Ipa);
}

/// Descriptor fields (Arm ARM D8.3.1.2 and D8.3.2, stage 2).
const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 1 << 1;
const TABLE: u64 = VALID | TABLE_OR_PAGE;
const MEMORY_NORMAL_WRITE_BACK: u64 = 0b1111 << 2;
const MEMORY_DEVICE_NGNRE: u64 = 0b0001 << 2;
const READ: u64 = 1 << 6;
const WRITE: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const ACCESSED: u64 = 1 << 10;
const EXECUTE_NEVER: u64 = 1 << 54;
/// For software: the memory is still to be scrubbed. Only where the access flag is clear, so that no guest sees it.
const STALE: u64 = 1 << 55;
/// For software: the page is not the domain's own.
const FOREIGN: u64 = 1 << 56;
/// For software: the entry and all that it leads to are a template's. A clone has its own of it before it changes anything.
const SHARED: u64 = 1 << 57;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// What a guest may do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read, write and execute: a guest's own RAM.
    Full,
    /// Read alone.
    Read,
}

impl Access {
    const fn bits(self) -> u64 {
        match self {
            Self::Full => READ | WRITE,
            Self::Read => READ | EXECUTE_NEVER,
        }
    }
}

/// What is in memory when it is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// What the guest is to find.
    Ready,
    /// What whoever had it before left: it must be scrubbed before the guest sees it.
    Stale,
    /// What somebody else has in it: the page is not the domain's own, and the map holds a reference to it for this access.
    Foreign(Access),
    /// A device's registers: no memory at all.
    Device,
    /// What its template had in it: it is the template's.
    Shared,
}

impl Content {
    /// Whether it is memory of the domain's own.
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Ready | Self::Stale)
    }

    const fn bits(self) -> u64 {
        match self {
            Self::Ready => MEMORY_NORMAL_WRITE_BACK | Access::Full.bits(),
            Self::Stale => Self::Ready.bits() | STALE,
            // Touches of these are not counted.
            Self::Foreign(access) => MEMORY_NORMAL_WRITE_BACK | access.bits() | FOREIGN | ACCESSED,
            Self::Device => MEMORY_DEVICE_NGNRE | Access::Full.bits() | EXECUTE_NEVER | FOREIGN | ACCESSED,
            Self::Shared => MEMORY_NORMAL_WRITE_BACK | Access::Read.bits() | SHARED,
        }
    }

    const fn of(raw: u64) -> Self {
        match raw & MEMORY_NORMAL_WRITE_BACK {
            MEMORY_DEVICE_NGNRE => Self::Device,
            _ if raw & FOREIGN != 0 => Self::Foreign(if raw & WRITE != 0 { Access::Full } else { Access::Read }),
            _ if raw & STALE != 0 => Self::Stale,
            _ => Self::Ready,
        }
    }
}

/// What an IPA is mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The machine's address of the IPA asked for.
    pub pa: Pa,
    /// Size of the whole leaf.
    pub order: Order,
    /// Whether the guest may write.
    pub writable: bool,
    /// Whether it is another's, or a device.
    pub foreign: bool,
    /// Whether the guest has touched it.
    pub touched: bool,
    /// Whether it is a template's.
    pub shared: bool,
}

/// A table's entry on the way to an IPA. The deeper the table, the less an entry describes.
#[derive(Clone, Copy)]
struct Entry {
    table: Pa,
    index: usize,
    order: Order,
    raw: u64,
}

impl Entry {
    fn read(memory: &impl TableMemory, table: Pa, order: Order, index: usize) -> Self {
        Self { table, index, order, raw: memory.read(table, index) }
    }

    /// The first from `index` on where something is.
    fn next_used(memory: &impl TableMemory, table: Pa, order: Order, index: usize) -> Option<Self> {
        memory.next(table, index).map(|(index, raw)| Self { table, index, order, raw })
    }

    /// Whether nothing is here and in what follows, `count` entries in all, and they are all of this table.
    #[inline]
    fn is_free(self, memory: &impl TableMemory, count: u32) -> bool {
        let end = self.index + count as usize;
        let is_behind = |(used, _)| used >= end;
        !self.is_valid() && (count == 1 || end <= ENTRIES && memory.next(self.table, self.index).is_none_or(is_behind))
    }

    const fn is_valid(self) -> bool {
        self.raw & VALID != 0
    }

    const fn is_shared(self) -> bool {
        self.raw & SHARED != 0
    }

    const fn output(self) -> Pa {
        Pa(self.raw & ADDRESS)
    }

    /// The table that it leads to, and what an entry there describes.
    const fn next(self) -> Option<(Pa, Order)> {
        match self.order.below() {
            Some(below) if self.raw & TABLE == TABLE => Some((self.output(), below)),
            _ => None,
        }
    }

    /// Puts another descriptor there, and has the TLBs forget the one that was.
    #[inline]
    fn replace(self, memory: &mut impl TableMemory, ipa: Ipa, raw: u64) {
        if self.is_valid() {
            memory.write(self.table, self.index, 0);
            memory.invalidate(ipa);
        }
        if raw != 0 {
            memory.write(self.table, self.index, raw);
        }
    }
}

/// The place of an IPA in a table whose entries describe so much.
const fn index(order: Order, ipa: Ipa) -> usize {
    (ipa.0 >> order.shift()) as usize % ENTRIES
}

/// What makes a descriptor a leaf of this size.
const fn leaf_bits(order: Order) -> u64 {
    match order {
        Order::Page => VALID | TABLE_OR_PAGE,
        Order::Block | Order::Gib => VALID,
    }
}

/// A leaf's descriptor.
#[inline]
const fn leaf(base: Pa, order: Order, content: Content) -> u64 {
    base.0 | INNER_SHAREABLE | content.bits() | leaf_bits(order)
}

/// What mapping memory comes to; that which could not be mapped comes back.
type Mapped = core::result::Result<(), (Errno, Extent)>;

/// A domain's map. It does not free itself: see [`P2m::clear`].
#[derive(Debug)]
pub struct P2m {
    root: Pa,
    tables: u64,
    role: Role,
    /// The block whose table of pages was walked to last, and the table, which stays as long as the map.
    recent: Cell<(u64, Pa)>,
}

/// Whose its tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The domain's.
    Alone,
    /// The domain's and its clones': nothing changes any more.
    Template,
    /// In part the template's.
    Clone,
    /// Nobody's: a clone's that has ended.
    Gone,
}

/// No block.
const NOWHERE: (u64, Pa) = (u64::MAX, Pa(0));

impl P2m {
    /// A map of nothing.
    ///
    /// # Errors
    /// If there is no memory for the root table.
    pub fn new(memory: &mut impl TableMemory) -> Result<Self> {
        Self::with(memory, None, Role::Alone)
    }

    fn with(memory: &mut impl TableMemory, root: Option<Pa>, role: Role) -> Result<Self> {
        let root = memory.table(root).ok_or(Errno::ENOMEM)?;
        Ok(Self { root, tables: 1, role, recent: Cell::new(NOWHERE) })
    }

    /// The root table.
    pub const fn root(&self) -> Pa {
        self.root
    }

    /// Bytes of its tables.
    pub const fn table_bytes(&self) -> u64 {
        self.tables * PAGE_SIZE
    }

    /// Maps memory that the domain now owns, or has the use of, at `ipa` and behind it: as much as one table maps at most.
    ///
    /// # Errors
    /// If it cannot; the memory comes back with the reason, and the map says what it said.
    #[inline(always)]
    pub fn map(&mut self, memory: &mut impl TableMemory, ipa: Ipa, extent: Extent, content: Content) -> Mapped {
        match self.path(memory, ipa, extent.order, true) {
            Ok(place) if place.is_free(memory, extent.count) => {
                let first = leaf(extent.base, extent.order, content);
                memory.fill(place.table, place.index, extent.count as usize, first, extent.order.size());
                Ok(())
            }
            Ok(_) => Err((Errno::EEXIST, extent)),
            Err(error) => Err((error, extent)),
        }
    }

    /// What `ipa` is mapped to.
    #[inline(always)]
    pub fn lookup(&self, memory: &impl TableMemory, ipa: Ipa) -> Option<Leaf> {
        let Entry { order, raw, .. } = self.find_leaf(memory, ipa)?;
        Some(Leaf {
            pa: Pa((raw & ADDRESS) + ipa.0 % order.size()),
            order,
            writable: raw & WRITE != 0,
            foreign: raw & FOREIGN != 0,
            touched: raw & ACCESSED != 0,
            shared: raw & SHARED != 0,
        })
    }

    /// Sees to it that the leaf at `ipa` holds what the guest is to find: what is stale in it `scrub` removes. If the guest is
    /// about to `touch` it, it may, and the leaf counts as touched from now on: leaves begin with their access flag clear, so a
    /// first touch faults. The answer is how many bytes it touches that it had not touched. What is a template's stays as it is.
    ///
    /// # Errors
    /// If nothing is mapped there.
    pub fn make_ready(
        &mut self,
        memory: &mut impl TableMemory,
        ipa: Ipa,
        touch: bool,
        scrub: impl FnOnce(Pa, Order),
    ) -> Result<u64> {
        let Some(leaf) = self.find_leaf(memory, ipa) else { return Err(Errno::ENOENT) };
        if leaf.is_shared() {
            return Ok(0);
        }
        if leaf.raw & STALE != 0 {
            scrub(leaf.output(), leaf.order);
        }
        let ready = leaf.raw & !STALE | if touch { ACCESSED } else { 0 };
        if ready != leaf.raw {
            memory.write(leaf.table, leaf.index, ready);
        }
        Ok(if (ready ^ leaf.raw) & ACCESSED != 0 { leaf.order.size() } else { 0 })
    }

    /// Takes memory of `order`, a page or a block that is a leaf, at `ipa` out of the map, splitting the block that a page is part of,
    /// and gives it back with what is in it.
    ///
    /// # Errors
    /// If no such thing is mapped there or a block cannot be split; the map says what it said.
    pub fn unmap(&mut self, memory: &mut impl TableMemory, ipa: Ipa, order: Order) -> Result<(Extent, Content)> {
        loop {
            let leaf = self.path(memory, ipa, order, false)?;
            if leaf.next().is_some() || !leaf.is_valid() {
                return Err(Errno::ENOENT);
            }
            if leaf.order == order {
                leaf.replace(memory, ipa, 0);
                let content = if leaf.is_shared() { Content::Shared } else { Content::of(leaf.raw) };
                return Ok((Extent::kept(leaf.output(), order), content));
            }
            self.split(memory, ipa, leaf)?;
        }
    }

    /// Makes a block a table of the next smaller leaves that say the same.
    fn split(&mut self, memory: &mut impl TableMemory, ipa: Ipa, block: Entry) -> Result {
        let below = block.order.below().ok_or(Errno::ENOENT)?;
        let table = self.new_table(memory, None)?;
        memory.fill(table, 0, ENTRIES, block.raw & !TABLE | leaf_bits(below), below.size());
        block.replace(memory, ipa, table.0 | TABLE);
        Ok(())
    }

    fn new_table(&mut self, memory: &mut impl TableMemory, from: Option<Pa>) -> Result<Pa> {
        let table = memory.table(from).ok_or(Errno::ENOMEM)?;
        self.tables += 1;
        Ok(table)
    }

    /// Takes a part of what is there out of the map: leaves go to `reclaim` with what is in them, together where they follow each other,
    /// tables but the root back to `memory`. `budget` counts pages' worth of work, and a table's pages go at once; `true` if nothing is left.
    /// No CPU may use the map any more, and no TLB remember it.
    pub fn clear(
        &mut self,
        memory: &mut impl TableMemory,
        mut budget: u64,
        mut reclaim: impl FnMut(Extent, Content),
    ) -> bool {
        self.recent = Cell::new(NOWHERE);
        let mut run: Option<(Extent, Content)> = None;
        let cleared = each(memory, self.root, Order::Gib, Ipa(0), &mut |memory, entry, _| {
            let (extent, next) = (Extent::kept(entry.output(), entry.order), entry.next());
            // A table of pages goes as it is.
            if entry.order != Order::Page {
                if budget == 0 && next.is_none() {
                    return Err(());
                }
                memory.write(entry.table, entry.index, 0);
            }
            if let Some((table, _)) = next {
                memory.free(table);
                self.tables -= 1;
                budget = budget.saturating_sub(TABLE_WORK);
                return if budget == 0 { Err(()) } else { Ok(()) };
            }
            budget = budget.saturating_sub(if entry.order == Order::Page { 1 } else { BLOCK_WORK });
            let content = Content::of(entry.raw);
            match &mut run {
                Some((run, of)) if *of == content && content.is_own() && run.is_followed_by(&extent) => run.count += 1,
                _ => run.replace((extent, content)).into_iter().for_each(|(run, of)| reclaim(run, of)),
            }
            Ok(())
        });
        run.into_iter().for_each(|(run, of)| reclaim(run, of));
        cleared.is_ok()
    }

    #[inline]
    fn find_leaf(&self, memory: &impl TableMemory, ipa: Ipa) -> Option<Entry> {
        let Some(table) = self.recent_table(ipa) else { return self.walk(memory, ipa) };
        let entry = Entry::read(memory, table, Order::Page, index(Order::Page, ipa));
        entry.is_valid().then_some(entry)
    }

    /// The table of the page at `ipa`, if it is the one that was walked to last.
    const fn recent_table(&self, ipa: Ipa) -> Option<Pa> {
        let (block, table) = self.recent.get();
        if block == ipa.0 / Order::Block.size() { Some(table) } else { None }
    }

    #[inline(never)]
    fn walk(&self, memory: &impl TableMemory, ipa: Ipa) -> Option<Entry> {
        if ipa.0 >> IPA_BITS != 0 || self.role == Role::Gone {
            return None;
        }
        let (mut table, mut order) = (self.root, Order::Gib);
        loop {
            let entry = Entry::read(memory, table, order, index(order, ipa));
            let Some(next) = entry.next() else { return entry.is_valid().then_some(entry) };
            (table, order) = next;
            // A clone's way to a table of its template's ends when it gets its own.
            if order == Order::Page && !(self.role == Role::Clone && entry.is_shared()) {
                self.recent.set((ipa.0 / Order::Block.size(), table));
            }
        }
    }

    /// The entry of `target`'s size at `ipa`, or the larger one in whose place there are no tables, unless it is to `make` them. What is on
    /// the way there may be changed: a clone gets its own of its template's tables.
    #[inline]
    fn path(&mut self, memory: &mut impl TableMemory, ipa: Ipa, target: Order, make: bool) -> Result<Entry> {
        if !ipa.0.is_multiple_of(target.size()) {
            return Err(Errno::EINVAL);
        }
        match self.recent_table(ipa) {
            Some(table) if target == Order::Page && matches!(self.role, Role::Alone | Role::Clone) => {
                Ok(Entry::read(memory, table, target, index(target, ipa)))
            }
            _ => self.long_path(memory, ipa, target, make),
        }
    }

    #[inline(never)]
    fn long_path(&mut self, memory: &mut impl TableMemory, ipa: Ipa, target: Order, make: bool) -> Result<Entry> {
        if ipa.0 >> IPA_BITS != 0 || matches!(self.role, Role::Template | Role::Gone) {
            return Err(Errno::EINVAL);
        }
        let (mut table, mut order) = (self.root, Order::Gib);
        while order != target {
            let entry = Entry::read(memory, table, order, index(order, ipa));
            (table, order) = match (entry.next(), order.below()) {
                (Some(next), _) if !entry.is_shared() => next,
                (theirs, Some(below)) if theirs.is_some() || make && !entry.is_valid() => {
                    let new = self.new_table(memory, theirs.map(|(table, _)| table))?;
                    entry.replace(memory, ipa, new.0 | TABLE);
                    (new, below)
                }
                _ => return Ok(entry),
            };
        }
        if order == Order::Page {
            self.recent.set((ipa.0 / Order::Block.size(), table));
        }
        Ok(Entry::read(memory, table, target, index(target, ipa)))
    }
}

/// What giving back a block takes, in pages: most of it is scrubbing. And what a table does.
const BLOCK_WORK: u64 = 256;
const TABLE_WORK: u64 = 8;

/// Passes on a table's valid entries with their addresses, each after those of the table that it leads to, until there is an error.
fn each<M: TableMemory, E>(
    memory: &mut M,
    table: Pa,
    order: Order,
    base: Ipa,
    pass: &mut impl FnMut(&mut M, Entry, Ipa) -> core::result::Result<(), E>,
) -> core::result::Result<(), E> {
    let mut index = 0;
    while let Some(entry) = Entry::next_used(memory, table, order, index) {
        let ipa = Ipa(base.0 + entry.index as u64 * order.size());
        if let Some((next, below)) = entry.next() {
            each(memory, next, below, ipa, pass)?;
        }
        pass(memory, entry, ipa)?;
        index = entry.index + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
