//! A domain's physical-to-machine map: its stage-2 tables (Arm ARM D8.2: 4 KiB granule, 39-bit IPA, walked from level 1).
//!
//! Leaves are 1 GiB, 2 MiB or 4 KiB. Tables are made on demand, charged to the domain, and never shared. A valid descriptor
//! becomes another valid one only through an invalid one and an invalidation (break-before-make, D8.17.1), except for the
//! access flag, which may be set in place together with the bits that are for software.

use core::cell::Cell;

use crate::addr::{Ipa, PAGE_SIZE, Pa};
use crate::frames::{Extent, Order};

/// Bits of an IPA.
pub const IPA_BITS: u32 = 39;
/// Descriptors in a table.
pub const ENTRIES: usize = 512;

/// The tables' memory, and the TLBs that remember what they said. Implemented by the machine, and by a checker in the tests.
pub trait TableMemory {
    /// A table of zeroes, charged to the domain; `None` if there is no memory or the domain has its share.
    fn allocate(&mut self) -> Option<Pa>;
    /// Takes a table back that no translation passes through any more.
    fn free(&mut self, table: Pa);
    /// A descriptor.
    fn read(&self, table: Pa, index: usize) -> u64;
    /// Sets a descriptor, at once and after all writes before it.
    fn write(&mut self, table: Pa, index: usize, descriptor: u64);
    /// Makes all TLBs forget the page at `ipa`, as part of whatever block they knew it.
    fn invalidate(&mut self, ipa: Ipa);
}

/// Descriptor fields (Arm ARM D8.3.1.2 and D8.3.2, stage 2).
const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 1 << 1;
const MEMORY_NORMAL_WRITE_BACK: u64 = 0b1111 << 2;
const READ: u64 = 1 << 6;
const WRITE: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const ACCESSED: u64 = 1 << 10;
const EXECUTE_NEVER: u64 = 1 << 54;
/// For software: the memory is still to be scrubbed. Only where the access flag is clear, so that no guest sees it.
const STALE: u64 = 1 << 55;
/// For software: the page is another's, and the map holds a reference to it.
const FOREIGN: u64 = 1 << 56;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// What a guest may do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read, write and execute: a guest's own RAM.
    Full,
    /// Read and execute.
    ReadExecute,
    /// Read alone.
    Read,
}

impl Access {
    const fn bits(self) -> u64 {
        match self {
            Self::Full => READ | WRITE,
            Self::ReadExecute => READ,
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
    /// What somebody else has in it: the page is not the domain's own, and the map holds a reference to it.
    Foreign,
}

impl Content {
    const fn bits(self) -> u64 {
        match self {
            Self::Ready => 0,
            Self::Stale => STALE,
            // Its touches are not counted.
            Self::Foreign => FOREIGN | ACCESSED,
        }
    }

    const fn of(raw: u64) -> Self {
        match (raw & FOREIGN != 0, raw & STALE != 0) {
            (true, _) => Self::Foreign,
            (false, true) => Self::Stale,
            (false, false) => Self::Ready,
        }
    }
}

/// What must be done for a guest that touches a leaf for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstTouch {
    /// Nothing: it goes on.
    Nothing,
    /// This memory must be scrubbed; then [`P2m::touch`] lets the guest go on.
    Scrub(Pa, Order),
}

/// Why the map did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum P2mError {
    /// The IPA does not exist, or is not aligned to the size asked for.
    BadAddress,
    /// Something is mapped there already.
    Occupied,
    /// Nothing is mapped there.
    Empty,
    /// No memory for a table.
    OutOfMemory,
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
    /// Whether it is another's.
    pub foreign: bool,
    /// Whether the guest has touched it.
    pub touched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    L1,
    L2,
    L3,
}

impl Level {
    const fn of(order: Order) -> Self {
        match order {
            Order::Gib => Self::L1,
            Order::Block => Self::L2,
            Order::Page => Self::L3,
        }
    }

    const fn order(self) -> Order {
        match self {
            Self::L1 => Order::Gib,
            Self::L2 => Order::Block,
            Self::L3 => Order::Page,
        }
    }

    const fn below(self) -> Option<Self> {
        match self {
            Self::L1 => Some(Self::L2),
            Self::L2 => Some(Self::L3),
            Self::L3 => None,
        }
    }

    /// Bits of the offset into what a descriptor of this level describes.
    const fn shift(self) -> u32 {
        match self {
            Self::L1 => 30,
            Self::L2 => 21,
            Self::L3 => 12,
        }
    }

    const fn index(self, ipa: Ipa) -> usize {
        (ipa.0 >> self.shift()) as usize % ENTRIES
    }

    const fn leaf_bits(self) -> u64 {
        match self {
            Self::L3 => VALID | TABLE_OR_PAGE,
            Self::L1 | Self::L2 => VALID,
        }
    }
}

/// A descriptor, taken apart.
enum Descriptor {
    Invalid,
    Table(Pa),
    Leaf(u64),
}

impl Descriptor {
    fn decode(level: Level, raw: u64) -> Self {
        match (raw & VALID != 0, raw & TABLE_OR_PAGE != 0, level) {
            (false, ..) => Self::Invalid,
            (true, true, Level::L1 | Level::L2) => Self::Table(Pa(raw & ADDRESS)),
            (true, ..) => Self::Leaf(raw),
        }
    }
}

/// A domain's map. It does not free itself: see [`P2m::release`].
#[derive(Debug)]
pub struct P2m {
    root: Pa,
    tables: u64,
    /// The block whose table of pages was walked to last, and the table, which stays as long as the map.
    recent: Cell<(u64, Pa)>,
}

/// No block.
const NOWHERE: (u64, Pa) = (u64::MAX, Pa(0));

impl P2m {
    /// A map of nothing.
    ///
    /// # Errors
    /// If there is no memory for the root table.
    pub fn new(memory: &mut impl TableMemory) -> Result<Self, P2mError> {
        let root = memory.allocate().ok_or(P2mError::OutOfMemory)?;
        Ok(Self { root, tables: 1, recent: Cell::new(NOWHERE) })
    }

    /// The root table.
    #[must_use]
    pub const fn root(&self) -> Pa {
        self.root
    }

    /// Bytes of its tables.
    #[must_use]
    pub const fn table_bytes(&self) -> u64 {
        self.tables * PAGE_SIZE
    }

    /// Maps memory that the domain now owns at `ipa`.
    ///
    /// # Errors
    /// If it cannot; the memory comes back with the reason, and the map says what it said.
    pub fn map(
        &mut self,
        memory: &mut impl TableMemory,
        ipa: Ipa,
        extent: Extent,
        access: Access,
        content: Content,
    ) -> Result<(), (P2mError, Extent)> {
        let order = extent.order();
        if !is_mappable(ipa, order) {
            return Err((P2mError::BadAddress, extent));
        }
        let level = Level::of(order);
        let (table, index) = match self.make_path(memory, ipa, level) {
            Ok(place) => place,
            Err(error) => return Err((error, extent)),
        };
        if memory.read(table, index) & VALID != 0 {
            return Err((P2mError::Occupied, extent));
        }
        let attributes = MEMORY_NORMAL_WRITE_BACK | INNER_SHAREABLE | access.bits() | content.bits();
        memory.write(table, index, extent.base().0 | attributes | level.leaf_bits());
        Ok(())
    }

    /// What `ipa` is mapped to.
    #[must_use]
    pub fn lookup(&self, memory: &impl TableMemory, ipa: Ipa) -> Option<Leaf> {
        let (_, _, level, raw) = self.find_leaf(memory, ipa)?;
        let order = level.order();
        Some(Leaf {
            pa: Pa((raw & ADDRESS) + ipa.0 % order.size()),
            order,
            writable: raw & WRITE != 0,
            foreign: raw & FOREIGN != 0,
            touched: raw & ACCESSED != 0,
        })
    }

    /// What must be done before the leaf at `ipa` may be touched. Leaves begin with their access flag clear, so a
    /// first touch faults.
    #[must_use]
    pub fn first_touch(&self, memory: &impl TableMemory, ipa: Ipa) -> FirstTouch {
        match self.find_leaf(memory, ipa) {
            Some((_, _, level, raw)) if raw & STALE != 0 => FirstTouch::Scrub(Pa(raw & ADDRESS), level.order()),
            _ => FirstTouch::Nothing,
        }
    }

    /// Notes that the leaf at `ipa` holds what the guest is to find.
    pub fn mark_ready(&mut self, memory: &mut impl TableMemory, ipa: Ipa) {
        if let Some((table, index, _, raw)) = self.find_leaf(memory, ipa)
            && raw & STALE != 0
        {
            memory.write(table, index, raw & !STALE);
        }
    }

    /// Lets the guest touch the leaf at `ipa`, which counts as touched from now on; what is stale in it `scrub` removes before.
    /// `false` if nothing is mapped there.
    pub fn touch(&mut self, memory: &mut impl TableMemory, ipa: Ipa, scrub: impl FnOnce(Pa, Order)) -> bool {
        let Some((table, index, level, raw)) = self.find_leaf(memory, ipa) else { return false };
        if raw & STALE != 0 {
            scrub(Pa(raw & ADDRESS), level.order());
        }
        if raw & (ACCESSED | STALE) != ACCESSED {
            memory.write(table, index, raw & !STALE | ACCESSED);
        }
        true
    }

    /// Takes the page at `ipa` out of the map, splitting the block it is part of, and gives it back with what is in it.
    ///
    /// # Errors
    /// If nothing is mapped there or a block cannot be split; the map says what it said.
    pub fn unmap_page(&mut self, memory: &mut impl TableMemory, ipa: Ipa) -> Result<(Extent, Content), P2mError> {
        if !is_mappable(ipa, Order::Page) {
            return Err(P2mError::BadAddress);
        }
        loop {
            let (table, index, level, raw) = self.find_leaf(memory, ipa).ok_or(P2mError::Empty)?;
            if level == Level::L3 {
                memory.write(table, index, 0);
                memory.invalidate(ipa);
                return Ok((Extent::kept(Pa(raw & ADDRESS), Order::Page), Content::of(raw)));
            }
            self.split(memory, ipa, (table, index, level, raw))?;
        }
    }

    /// Makes a block a table of the next smaller leaves that say the same.
    fn split(
        &mut self,
        memory: &mut impl TableMemory,
        ipa: Ipa,
        (table, index, level, raw): (Pa, usize, Level, u64),
    ) -> Result<(), P2mError> {
        let below = level.below().ok_or(P2mError::Empty)?;
        let new = memory.allocate().ok_or(P2mError::OutOfMemory)?;
        self.tables += 1;
        let attributes = raw & !ADDRESS & !(VALID | TABLE_OR_PAGE) | below.leaf_bits();
        for entry in 0..ENTRIES {
            let pa = (raw & ADDRESS) + entry as u64 * below.order().size();
            memory.write(new, entry, pa | attributes);
        }
        memory.write(table, index, 0);
        memory.invalidate(ipa);
        memory.write(table, index, new.0 | VALID | TABLE_OR_PAGE);
        Ok(())
    }

    /// Bytes of the leaves that were touched.
    #[must_use]
    pub fn touched_bytes(&self, memory: &impl TableMemory) -> u64 {
        let mut bytes = 0;
        self.for_each_leaf(memory, |level, raw| {
            if raw & (ACCESSED | FOREIGN) == ACCESSED {
                bytes += level.order().size();
            }
        });
        bytes
    }

    /// Takes everything apart: every leaf goes to `reclaim`, with what is in it, every table back to `memory`. No CPU may
    /// use the map any more, and no TLB remember it.
    pub fn release<M: TableMemory>(self, memory: &mut M, mut reclaim: impl FnMut(&mut M, Extent, Content)) {
        release_table(memory, self.root, Level::L1, &mut reclaim);
    }

    fn for_each_leaf(&self, memory: &impl TableMemory, mut f: impl FnMut(Level, u64)) {
        visit(memory, self.root, Level::L1, &mut f);
    }

    fn find_leaf(&self, memory: &impl TableMemory, ipa: Ipa) -> Option<(Pa, usize, Level, u64)> {
        let Some(table) = self.recent_table(ipa) else { return self.walk(memory, ipa) };
        let index = Level::L3.index(ipa);
        let raw = memory.read(table, index);
        (raw & VALID != 0).then_some((table, index, Level::L3, raw))
    }

    /// The table of the page at `ipa`, if it is the one that was walked to last.
    const fn recent_table(&self, ipa: Ipa) -> Option<Pa> {
        let (block, table) = self.recent.get();
        if block == ipa.0 >> Level::L2.shift() { Some(table) } else { None }
    }

    #[inline(never)]
    fn walk(&self, memory: &impl TableMemory, ipa: Ipa) -> Option<(Pa, usize, Level, u64)> {
        if ipa.0 >> IPA_BITS != 0 {
            return None;
        }
        let (mut table, mut level) = (self.root, Level::L1);
        loop {
            let index = level.index(ipa);
            match Descriptor::decode(level, memory.read(table, index)) {
                Descriptor::Invalid => return None,
                Descriptor::Leaf(raw) => return Some((table, index, level, raw)),
                Descriptor::Table(next) => (table, level) = (next, level.below()?),
            }
            if level == Level::L3 {
                self.recent.set((ipa.0 >> Level::L2.shift(), table));
            }
        }
    }

    /// The place for a leaf of `target`'s size, with the tables on the way to it.
    fn make_path(&mut self, memory: &mut impl TableMemory, ipa: Ipa, target: Level) -> Result<(Pa, usize), P2mError> {
        if let (Level::L3, Some(table)) = (target, self.recent_table(ipa)) {
            return Ok((table, target.index(ipa)));
        }
        let (mut table, mut level) = (self.root, Level::L1);
        while level != target {
            let index = level.index(ipa);
            table = match Descriptor::decode(level, memory.read(table, index)) {
                Descriptor::Table(next) => next,
                Descriptor::Leaf(_) => return Err(P2mError::Occupied),
                Descriptor::Invalid => {
                    let next = memory.allocate().ok_or(P2mError::OutOfMemory)?;
                    self.tables += 1;
                    memory.write(table, index, next.0 | VALID | TABLE_OR_PAGE);
                    next
                }
            };
            level = level.below().ok_or(P2mError::BadAddress)?;
        }
        Ok((table, level.index(ipa)))
    }
}

fn is_mappable(ipa: Ipa, order: Order) -> bool {
    ipa.0.is_multiple_of(order.size()) && ipa.0 >> IPA_BITS == 0
}

fn visit(memory: &impl TableMemory, table: Pa, level: Level, f: &mut impl FnMut(Level, u64)) {
    for index in 0..ENTRIES {
        match (Descriptor::decode(level, memory.read(table, index)), level.below()) {
            (Descriptor::Leaf(raw), _) => f(level, raw),
            (Descriptor::Table(next), Some(below)) => visit(memory, next, below, f),
            _ => {}
        }
    }
}

fn release_table<M: TableMemory>(
    memory: &mut M,
    table: Pa,
    level: Level,
    reclaim: &mut impl FnMut(&mut M, Extent, Content),
) {
    for index in 0..ENTRIES {
        match (Descriptor::decode(level, memory.read(table, index)), level.below()) {
            (Descriptor::Leaf(raw), _) => {
                let extent = Extent::kept(Pa(raw & ADDRESS), level.order());
                reclaim(memory, extent, Content::of(raw));
            }
            (Descriptor::Table(next), Some(below)) => release_table(memory, next, below, reclaim),
            _ => {}
        }
    }
    memory.free(table);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::vec::Vec;

    /// Tables in a map, with a watch on how they are changed.
    #[derive(Default)]
    struct Checker {
        tables: BTreeMap<u64, Vec<u64>>,
        next: u64,
        budget: Option<usize>,
        // Places made invalid whose translation a TLB may still hold.
        stale: BTreeSet<(u64, usize)>,
        live: bool,
    }

    impl TableMemory for Checker {
        fn allocate(&mut self) -> Option<Pa> {
            match &mut self.budget {
                Some(0) => return None,
                Some(left) => *left -= 1,
                None => {}
            }
            self.next += PAGE_SIZE;
            self.tables.insert(self.next, std::vec![0; ENTRIES]);
            Some(Pa(self.next))
        }

        fn free(&mut self, table: Pa) {
            assert!(self.tables.remove(&table.0).is_some(), "a table freed twice");
        }

        fn read(&self, table: Pa, index: usize) -> u64 {
            self.tables[&table.0][index]
        }

        fn write(&mut self, table: Pa, index: usize, descriptor: u64) {
            let old = self.tables[&table.0][index];
            let place = (table.0, index);
            if old & VALID != 0 && descriptor & VALID != 0 {
                assert_eq!((old ^ descriptor) & !(STALE | ACCESSED), 0, "made without a break");
                assert_eq!(descriptor & STALE & !old | old & ACCESSED & !descriptor, 0, "undone");
            }
            if old & VALID == 0 && descriptor & VALID != 0 {
                assert!(!self.stale.contains(&place), "made before the TLBs forgot");
            }
            if old & VALID != 0 && descriptor & VALID == 0 {
                self.stale.insert(place);
            }
            self.tables.get_mut(&table.0).expect("a live table")[index] = descriptor;
        }

        fn invalidate(&mut self, _: Ipa) {
            self.stale.clear();
            self.live = true;
        }
    }

    fn extent(pa: u64, order: Order) -> Extent {
        Extent::kept(Pa(pa), order)
    }

    #[test]
    fn addresses_past_the_last_are_refused() {
        let memory = &mut Checker::default();
        let mut p2m = P2m::new(memory).expect("memory");
        for shift in 0..64 {
            for ipa in [(1_u64 << shift) - 1, 1 << shift, (1 << shift) + 1] {
                let page = extent(0x5000, Order::Page);
                let result = p2m.map(memory, Ipa(ipa), page, Access::Full, Content::Ready);
                let fits = ipa < 1 << IPA_BITS && ipa.is_multiple_of(PAGE_SIZE);
                let was_new = fits && !matches!(result, Err((P2mError::Occupied, _)));
                assert_eq!(result.is_ok(), was_new, "{ipa:#x}");
                assert_eq!(
                    p2m.lookup(memory, Ipa(ipa)).is_some(),
                    ipa < 1 << IPA_BITS && p2m.lookup(memory, Ipa(ipa & !0xfff)).is_some()
                );
            }
        }
    }

    #[test]
    fn a_failed_map_gives_the_memory_back_and_changes_nothing() {
        let memory = &mut Checker::default();
        let mut p2m = P2m::new(memory).expect("memory");
        for budget in 0..2 {
            memory.budget = Some(budget);
            let page = extent(0x5000, Order::Page);
            let failed = p2m.map(memory, Ipa(0x4000_0000), page, Access::Full, Content::Ready);
            assert_eq!(failed, Err((P2mError::OutOfMemory, extent(0x5000, Order::Page))));
            assert_eq!(p2m.lookup(memory, Ipa(0x4000_0000)), None);
        }
    }

    #[test]
    fn a_first_touch_is_noticed_once() {
        let memory = &mut Checker::default();
        let mut p2m = P2m::new(memory).expect("memory");
        for (ipa, pa, order, content) in
            [(0, 0x20_0000, Order::Block, Content::Stale), (0x20_0000, 0x1000, Order::Page, Content::Ready)]
        {
            p2m.map(memory, Ipa(ipa), extent(pa, order), Access::Full, content).expect("room");
        }
        assert_eq!(p2m.touched_bytes(memory), 0);
        assert_eq!(p2m.first_touch(memory, Ipa(0x20_0008)), FirstTouch::Nothing);
        let scrub = FirstTouch::Scrub(Pa(0x20_0000), Order::Block);
        assert_eq!(p2m.first_touch(memory, Ipa(0x1234)), scrub);
        p2m.mark_ready(memory, Ipa(0x1234));
        assert_eq!(p2m.first_touch(memory, Ipa(0x1234)), FirstTouch::Nothing);
        assert_eq!(p2m.touched_bytes(memory), 0);
        assert!(p2m.touch(memory, Ipa(0x1234), |_, _| panic!("it was scrubbed")));
        assert!(!p2m.touch(memory, Ipa(0x4000_0000), |_, _| panic!("nothing is there")));
        assert_eq!(p2m.touched_bytes(memory), Order::Block.size());
    }

    #[test]
    fn everything_comes_back() {
        let memory = &mut Checker::default();
        let mut p2m = P2m::new(memory).expect("memory");
        for (ipa, pa, order) in [
            (0x4000_0000, 0x8000_0000, Order::Gib),
            (0x20_0000, 0x40_0000, Order::Block),
            (0x1000, 0x7000, Order::Page),
        ] {
            p2m.map(memory, Ipa(ipa), extent(pa, order), Access::Full, Content::Ready).expect("room");
        }
        let page = p2m.unmap_page(memory, Ipa(0x4000_5000)).expect("mapped");
        assert_eq!(page, (extent(0x8000_5000, Order::Page), Content::Ready));
        let mut bytes = 0;
        p2m.release(memory, |_, extent, _| bytes += extent.order().size());
        assert_eq!(bytes, Order::Gib.size() + Order::Block.size() + PAGE_SIZE - PAGE_SIZE);
        assert!(memory.tables.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_tables_say_what_a_plain_map_says(steps in prop::collection::vec((0u8..4, 0u64..3, 0u64..1100, any::<u64>()), 1..200)) {
            let memory = &mut Checker::default();
            let mut p2m = P2m::new(memory).expect("memory");
            // The model: page by page.
            let mut model: BTreeMap<u64, u64> = BTreeMap::new();
            for (action, gib, page, pa) in steps {
                let ipa = gib << 30 | page << 12;
                if action == 0 {
                    let expected = model.remove(&ipa);
                    let unmapped = p2m.unmap_page(memory, Ipa(ipa));
                    prop_assert_eq!(unmapped.ok().map(|(e, _)| e.base().0), expected);
                } else {
                    let order = if action == 1 { Order::Block } else { Order::Page };
                    let (ipa, pa) = (ipa & !(order.size() - 1), pa & ADDRESS & !(order.size() - 1));
                    let pages = || (0..order.size()).step_by(4096);
                    let free = pages().all(|at| !model.contains_key(&(ipa + at)));
                    let done = p2m.map(memory, Ipa(ipa), extent(pa, order), Access::Full, Content::Ready);
                    // A block does not replace a table, even one that maps nothing any more.
                    prop_assert!(done.is_ok() <= free && (order == Order::Block || done.is_ok() == free));
                    if done.is_ok() {
                        model.extend(pages().map(|at| (ipa + at, pa + at)));
                    }
                }
                let probe = ipa & !0xfff;
                prop_assert_eq!(p2m.lookup(memory, Ipa(probe)).map(|leaf| leaf.pa.0), model.get(&probe).copied());
            }
            prop_assert_eq!(p2m.touched_bytes(memory), 0);
            let mut left = model.len() as u64 * PAGE_SIZE;
            p2m.release(memory, |_, extent, _| left -= extent.order().size());
            prop_assert_eq!(left, 0);
            prop_assert!(memory.tables.is_empty());
        }
    }
}
