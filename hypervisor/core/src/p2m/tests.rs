//! Tables that are watched while they change, and maps beside their model.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

/// Tables in a map, with a watch on how they are changed.
#[derive(Default)]
pub(super) struct Checker {
    pub tables: BTreeMap<u64, Vec<u64>>,
    // Pages, and of which they are copies.
    pub pages: BTreeMap<u64, Option<Pa>>,
    // Tables that nobody may change any more.
    pub frozen: BTreeSet<u64>,
    // What may change in a valid descriptor while a map is frozen.
    pub freezing: u64,
    next: u64,
    pub budget: Option<usize>,
    // Places made invalid whose translation a TLB may still hold.
    stale: BTreeSet<(u64, usize)>,
    live: bool,
}

impl TableMemory for Checker {
    fn table(&mut self, from: Option<Pa>) -> Option<Pa> {
        match &mut self.budget {
            Some(0) => return None,
            Some(left) => *left -= 1,
            None => {}
        }
        self.next += PAGE_SIZE;
        let content = from.map_or_else(|| std::vec![0; ENTRIES], |from| self.tables[&from.0].clone());
        self.tables.insert(self.next, content);
        Some(Pa(self.next))
    }

    fn page(&mut self, from: Option<Pa>) -> Option<Pa> {
        let page = self.table(None)?;
        self.tables.remove(&page.0);
        self.pages.insert(page.0, from);
        Some(page)
    }

    fn free(&mut self, table: Pa) {
        assert!(self.tables.remove(&table.0).is_some(), "a table freed twice");
    }

    fn read(&self, table: Pa, index: usize) -> u64 {
        self.tables[&table.0][index]
    }

    fn next(&self, table: Pa, index: usize) -> Option<(usize, u64)> {
        let descriptors = self.tables[&table.0].iter().copied().enumerate();
        descriptors.skip(index).find(|(_, descriptor)| *descriptor != 0)
    }

    fn write(&mut self, table: Pa, index: usize, descriptor: u64) {
        let old = self.tables[&table.0][index];
        let place = (table.0, index);
        assert!(!self.frozen.contains(&table.0), "a template changes");
        if old & VALID != 0 && descriptor & VALID != 0 {
            assert_eq!((old ^ descriptor) & !(STALE | ACCESSED | self.freezing), 0, "made without a break");
            let undone = descriptor & STALE & !old | old & ACCESSED & !descriptor;
            assert_eq!(undone & !self.freezing, 0, "undone");
        }
        if old & VALID == 0 && descriptor & VALID != 0 {
            assert!(!self.stale.contains(&place), "made before the TLBs forgot");
        }
        if old & VALID != 0 && descriptor & VALID == 0 {
            self.stale.insert(place);
        }
        self.tables.get_mut(&table.0).expect("a live table")[index] = descriptor;
    }

    fn fill(&mut self, table: Pa, index: usize, count: usize, first: u64, step: u64) {
        (index..).zip(0..).take(count).for_each(|(index, times)| self.write(table, index, first + times * step));
    }

    fn invalidate(&mut self, _: Ipa) {
        self.stale.clear();
        self.live = true;
    }
}

fn extent(pa: u64, order: Order) -> Extent {
    Extent::kept(Pa(pa), order)
}

/// Bytes of the leaves at `ipas` that the guest touched.
fn touched_bytes(p2m: &P2m, memory: &Checker, ipas: &[u64]) -> u64 {
    let leaves = ipas.iter().filter_map(|&ipa| p2m.lookup(memory, Ipa(ipa)));
    leaves.filter(|leaf| leaf.touched).map(|leaf| leaf.order.size()).sum()
}

#[test]
fn addresses_past_the_last_are_refused() {
    let memory = &mut Checker::default();
    let mut p2m = P2m::new(memory).expect("memory");
    for shift in 0..64 {
        for ipa in [(1_u64 << shift) - 1, 1 << shift, (1 << shift) + 1] {
            let page = extent(0x5000, Order::Page);
            let result = p2m.map(memory, Ipa(ipa), page, Content::Ready);
            let fits = ipa < 1 << IPA_BITS && ipa.is_multiple_of(PAGE_SIZE);
            let was_new = fits && !matches!(result, Err((Errno::EEXIST, _)));
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
        let failed = p2m.map(memory, Ipa(0x4000_0000), page, Content::Ready);
        assert_eq!(failed, Err((Errno::ENOMEM, extent(0x5000, Order::Page))));
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
        p2m.map(memory, Ipa(ipa), extent(pa, order), content).expect("room");
    }
    let both = [0, 0x20_0000];
    assert_eq!(touched_bytes(&p2m, memory, &both), 0);
    assert_eq!(p2m.make_ready(memory, Ipa(0x20_0008), false, |_, _| panic!("it was ready")), Ok(0));
    let mut scrubbed = None;
    assert_eq!(p2m.make_ready(memory, Ipa(0x1234), false, |pa, order| scrubbed = Some((pa, order))), Ok(0));
    assert_eq!(scrubbed, Some((Pa(0x20_0000), Order::Block)));
    assert_eq!(p2m.make_ready(memory, Ipa(0x1234), false, |_, _| panic!("it was scrubbed")), Ok(0));
    assert_eq!(touched_bytes(&p2m, memory, &both), 0);
    assert_eq!(p2m.make_ready(memory, Ipa(0x1234), true, |_, _| panic!("it was scrubbed")), Ok(Order::Block.size()));
    assert_eq!(p2m.make_ready(memory, Ipa(0x4000_0000), true, |_, _| panic!("nothing is there")), Err(Errno::ENOENT));
    assert_eq!(touched_bytes(&p2m, memory, &both), Order::Block.size());
}

#[test]
fn a_devices_page_is_nobodys_memory() {
    let memory = &mut Checker::default();
    let mut p2m = P2m::new(memory).expect("memory");
    let (ipa, page) = (Ipa(0xa00_0000), || extent(0xa00_3000, Order::Page));
    p2m.map(memory, ipa, page(), Content::Device).expect("room");
    let leaf = p2m.lookup(memory, ipa).expect("mapped");
    assert_eq!((leaf.pa, leaf.writable, leaf.foreign, leaf.touched), (Pa(0xa00_3000), true, true, true));
    let raw = p2m.find_leaf(memory, ipa).expect("mapped").raw;
    assert_eq!(raw >> 2 & 0xf, 0b0001, "Device-nGnRE (Arm ARM D8.6.5)");
    assert_eq!(raw & (EXECUTE_NEVER | ACCESSED), EXECUTE_NEVER | ACCESSED);
    assert_eq!(p2m.make_ready(memory, ipa, true, |_, _| panic!("a device is scrubbed")).map(drop), Ok(()));
    assert_eq!(p2m.unmap(memory, ipa, Order::Page), Ok((page(), Content::Device)));
    p2m.map(memory, ipa, page(), Content::Device).expect("room");
    assert!(p2m.clear(memory, 99, |extent, content| assert_eq!((extent, content), (page(), Content::Device))));
}

#[test]
fn everything_comes_back() {
    let memory = &mut Checker::default();
    let mut p2m = P2m::new(memory).expect("memory");
    for (ipa, pa, order) in
        [(0x4000_0000, 0x8000_0000, Order::Gib), (0x20_0000, 0x40_0000, Order::Block), (0x1000, 0x7000, Order::Page)]
    {
        p2m.map(memory, Ipa(ipa), extent(pa, order), Content::Ready).expect("room");
    }
    let page = p2m.unmap(memory, Ipa(0x4000_5000), Order::Page).expect("mapped");
    assert_eq!(page, (extent(0x8000_5000, Order::Page), Content::Ready));
    assert_eq!(
        p2m.unmap(memory, Ipa(0x4020_0000), Order::Block).expect("mapped"),
        (extent(0x8020_0000, Order::Block), Content::Ready)
    );
    assert_eq!(p2m.unmap(memory, Ipa(0x1000), Order::Page).expect("mapped").0, extent(0x7000, Order::Page));
    let (mut bytes, mut turns) = (0, 1);
    while !p2m.clear(memory, 10, |extent, _| bytes += extent.size()) {
        turns += 1;
    }
    assert_eq!(bytes, Order::Gib.size() - PAGE_SIZE);
    assert!(turns > 500, "{turns}");
    assert_eq!((memory.tables.len(), p2m.table_bytes()), (1, PAGE_SIZE), "the root stays");
    assert!((0..ENTRIES).all(|index| memory.read(p2m.root(), index) == 0));
    memory.invalidate(Ipa(0));
    p2m.map(memory, Ipa(0x4000_0000), extent(0x8000_0000, Order::Gib), Content::Ready).expect("room");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_tables_say_what_a_plain_map_says(
        steps in prop::collection::vec((0u8..6, 0u64..3, 0u64..1100, any::<u64>()), 1..200),
        parts in prop::collection::vec(0u64..200, 1..9),
    ) {
        let memory = &mut Checker::default();
        let mut p2m = P2m::new(memory).expect("memory");
        // The model: page by page, and which of them were touched.
        let mut model: BTreeMap<u64, u64> = BTreeMap::new();
        let mut touched: BTreeSet<u64> = BTreeSet::new();
        for (action, gib, page, pa) in steps {
            let ipa = gib << 30 | page << 12;
            if action == 0 {
                let expected = model.remove(&ipa);
                touched.remove(&ipa);
                let unmapped = p2m.unmap(memory, Ipa(ipa), Order::Page);
                prop_assert_eq!(unmapped.ok().map(|(e, _)| e.base.0), expected);
            } else if action == 4 {
                let leaf = p2m.lookup(memory, Ipa(ipa)).map(|leaf| leaf.order.size());
                let ready = p2m.make_ready(memory, Ipa(ipa), true, |_, _| panic!("nothing is stale"));
                prop_assert_eq!(ready.is_ok(), model.contains_key(&ipa));
                let pages = leaf.map(|size| (ipa & !(size - 1)..).step_by(4096).take((size / PAGE_SIZE) as usize));
                touched.extend(pages.into_iter().flatten());
            } else {
                let order = if action == 1 { Order::Block } else { Order::Page };
                let (ipa, count) = (ipa & !(order.size() - 1), if action == 5 { 1 + pa as u32 % 40 } else { 1 });
                // Now and then what is behind it in the machine is behind it here.
                let pa = if pa % 3 == 0 { ipa | 1 << 40 } else { pa & (ADDRESS >> 1) & !(order.size() - 1) };
                let what = || Extent { count, ..extent(pa, order) };
                let pages = || (0..what().size()).step_by(4096);
                let is_one_table = page as usize % ENTRIES + count as usize <= ENTRIES;
                let free = is_one_table && pages().all(|at| !model.contains_key(&(ipa + at)));
                let done = p2m.map(memory, Ipa(ipa), what(), Content::Ready);
                // A block does not replace a table, even one that maps nothing any more.
                prop_assert!(done.is_ok() <= free && (order == Order::Block || done.is_ok() == free));
                prop_assert!(done.is_ok() || done.as_ref().is_err_and(|(_, back)| *back == what()));
                if done.is_ok() {
                    model.extend(pages().map(|at| (ipa + at, pa + at)));
                }
            }
            let probe = ipa & !0xfff;
            let leaf = p2m.lookup(memory, Ipa(probe));
            prop_assert_eq!(leaf.map(|leaf| leaf.pa.0), model.get(&probe).copied());
            prop_assert_eq!(leaf.is_some_and(|leaf| leaf.touched), touched.contains(&probe));
        }
        // Everything comes back once, in parts, and meanwhile what is left is where it was.
        let mut left: Vec<u64> = model.values().copied().collect();
        left.sort_unstable();
        let mut back = Vec::new();
        for part in parts.iter().cycle() {
            let is_clear = p2m.clear(memory, 1 + part, |extent, _| {
                back.extend((extent.base.0..extent.base.0 + extent.size()).step_by(4096));
            });
            let there = model.iter().filter(|(ipa, _)| p2m.lookup(memory, Ipa(**ipa)).is_some()).count();
            prop_assert!(there + back.len() == left.len() && (there == 0 || !is_clear));
            prop_assert!(model.iter().all(|(ipa, pa)| p2m.lookup(memory, Ipa(*ipa)).is_none_or(|leaf| leaf.pa.0 == *pa)));
            if is_clear {
                break;
            }
        }
        back.sort_unstable();
        prop_assert_eq!(back, left);
        prop_assert_eq!(memory.tables.len(), 1);
        prop_assert!(memory.next(p2m.root(), 0).is_none());
    }
}
