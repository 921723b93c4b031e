//! Templates and clones: a template's tables stay as they are, and its clones begin with nothing but a root that leads there.
//!
//! A template's leaves are pages, and none may be written. Of those whose access flag is clear a clone gets none of the content: it
//! finds zeroes there (memory that was never touched, private pages), or pages that the hypervisor gives it in their place (foreign
//! ones). Before anything changes for a clone, the tables on the way there are copied: a copy leads to the same tables and leaves as
//! before, which are marked as the template's.

use super::{ACCESSED, Cell, Content, ENTRIES, FOREIGN, NOWHERE, P2m, Role, SHARED, STALE, TableMemory, WRITE, each};
use crate::addr::{Ipa, PAGE_SIZE, Pa};
use crate::frames::{Order, Result};
use xen_abi::errno::Errno;

/// What clones find in a page of their template's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherited {
    /// The page.
    Page,
    /// What is in it now: others use it, who may change it.
    Copy,
    /// Zeroes.
    Nothing,
}

impl P2m {
    /// Makes it a template's: nothing changes any more. What of it clones have `inherited` says. No vCPU uses the map again.
    ///
    /// # Errors
    /// If blocks cannot be made pages or a page cannot be copied; then the domain cannot go on.
    pub fn freeze(&mut self, memory: &mut impl TableMemory, mut inherited: impl FnMut(Ipa, Pa) -> Inherited) -> Result {
        each(memory, self.root, Order::Gib, Ipa(0), &mut |memory, entry, ipa| match entry.order {
            Order::Block if entry.next().is_none() => self.split(memory, ipa, entry),
            _ => Ok(()),
        })?;
        each(memory, self.root, Order::Gib, Ipa(0), &mut |memory, entry, ipa| {
            let frozen = match entry.next() {
                Some(_) => entry.raw,
                None if entry.order != Order::Page => return Err(Errno::EINVAL),
                None if entry.raw & (STALE | FOREIGN) != 0 => entry.raw & !(WRITE | ACCESSED),
                None => match inherited(ipa, entry.output()) {
                    Inherited::Page => entry.raw & !WRITE | ACCESSED,
                    Inherited::Copy => {
                        let copy = memory.page(Some(entry.output())).ok_or(Errno::ENOMEM)?;
                        memory.free(entry.output());
                        (entry.raw ^ entry.output().0 ^ copy.0) & !WRITE | ACCESSED
                    }
                    Inherited::Nothing => entry.raw & !(WRITE | ACCESSED),
                },
            };
            memory.write(entry.table, entry.index, frozen | SHARED);
            Ok(())
        })?;
        (self.role, self.recent) = (Role::Template, Cell::new(NOWHERE));
        Ok(())
    }

    /// The map of a clone of this template's domain.
    ///
    /// # Errors
    /// If there is no memory for its root.
    pub fn clone_of(&self, memory: &mut impl TableMemory) -> Result<Self> {
        Self::with(memory, Some(self.root), Role::Clone)
    }

    /// The clone has ended and its tables may be another's: nothing is mapped any more.
    pub fn abandon(&mut self) {
        (self.role, self.recent) = (Role::Gone, Cell::new(NOWHERE));
    }

    /// Gives a clone a page of its own in place of its template's at `ipa`, with the same in it, or zeroes.
    ///
    /// # Errors
    /// If there is no memory, or nothing of a template's; `NotOwned` if the hypervisor has a page for that place.
    pub fn own(&mut self, memory: &mut impl TableMemory, ipa: Ipa) -> Result {
        let leaf = self.path(memory, ipa.page(), Order::Page, false)?;
        if !leaf.is_shared() {
            return Err(if leaf.is_valid() { Errno::EEXIST } else { Errno::ENOENT });
        }
        if leaf.raw & FOREIGN != 0 {
            return Err(Errno::EACCES);
        }
        let content = (leaf.raw & ACCESSED != 0).then(|| leaf.output());
        let page = memory.page(content).ok_or(Errno::ENOMEM)?;
        leaf.replace(memory, ipa, super::leaf(page, Order::Page, Content::Ready) | ACCESSED);
        Ok(())
    }
}

const _: () = assert!(PAGE_SIZE == ENTRIES as u64 * size_of::<u64>() as u64);

#[cfg(test)]
mod tests {
    use super::super::tests::Checker;
    use super::*;
    use crate::frames::Extent;
    use crate::p2m::{Access, Leaf};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::vec::Vec;

    const PRIVATE: Ipa = Ipa(0x3900_1000);
    const TEXT: Ipa = Ipa(0x4000_3000);
    const UNTOUCHED: Ipa = Ipa(0x4060_5000);
    const GIVEN: Ipa = Ipa(0x3800_0000);

    /// A template: a block that it touched, one that it did not, a private page and one of the hypervisor's.
    fn template(memory: &mut Checker) -> P2m {
        let mut p2m = P2m::new(memory).expect("memory");
        for (ipa, pa, order, content) in [
            (0x4000_0000, 0x8000_0000, Order::Block, Content::Ready),
            (0x4060_0000, 0x8020_0000, Order::Block, Content::Stale),
            (PRIVATE.0, 0x8040_0000, Order::Page, Content::Ready),
            (GIVEN.0, 0x8040_1000, Order::Page, Content::Foreign(Access::Full)),
        ] {
            p2m.map(memory, Ipa(ipa), Extent::kept(Pa(pa), order), content).expect("room");
        }
        freeze(&mut p2m, memory);
        p2m
    }

    fn freeze(p2m: &mut P2m, memory: &mut Checker) {
        memory.freezing = WRITE | SHARED | ACCESSED;
        let inherited = |ipa, _| if ipa == PRIVATE { Inherited::Nothing } else { Inherited::Page };
        p2m.freeze(memory, inherited).expect("memory");
        memory.freezing = 0;
        memory.frozen = memory.tables.keys().copied().collect();
    }

    fn seen(p2m: &P2m, memory: &Checker, ipa: Ipa) -> Leaf {
        p2m.lookup(memory, ipa).expect("mapped")
    }

    #[test]
    fn nothing_of_a_template_can_be_changed() {
        let memory = &mut Checker::default();
        let mut p2m = template(memory);
        for ipa in [TEXT, UNTOUCHED, PRIVATE, GIVEN] {
            let leaf = seen(&p2m, memory, ipa);
            assert!((leaf.order, leaf.writable, leaf.shared) == (Order::Page, false, true));
            assert_eq!(leaf.touched, ipa == TEXT);
            assert_eq!(p2m.make_ready(memory, ipa, true, |_, _| panic!("it is shared")), Ok(0));
            assert_eq!(p2m.unmap(memory, ipa, Order::Page), Err(Errno::EINVAL));
            assert_eq!(p2m.own(memory, ipa), Err(Errno::EINVAL));
        }
        let page = Extent::kept(Pa(0x9000_0000), Order::Page);
        assert!(p2m.map(memory, Ipa(0x5000_0000), page, Content::Ready).is_err());
        memory.frozen.clear();
        let mut back = Vec::new();
        while !p2m.clear(memory, 99, |extent, content| {
            let pages = (extent.base.0..extent.base.0 + extent.size()).step_by(PAGE_SIZE as usize);
            back.extend(pages.map(|page| (Pa(page), content)));
        }) {}
        assert_eq!(back.len(), 1024 + 2);
        assert!(back.contains(&(Pa(0x8040_0000), Content::Ready)), "what was private is scrubbed");
        assert!(back.contains(&(Pa(0x8040_1000), Content::Foreign(Access::Read))));
        assert!(back.contains(&(Pa(0x8020_0000), Content::Stale)));
    }

    #[test]
    fn a_clone_begins_with_a_root_and_gets_what_it_touches() {
        let memory = &mut Checker::default();
        let template = template(memory);
        let (tables, mut clone) = (memory.tables.len(), template.clone_of(memory).expect("memory"));
        assert_eq!((memory.tables.len(), clone.table_bytes()), (tables + 1, PAGE_SIZE));
        assert_eq!(seen(&clone, memory, TEXT).pa, Pa(0x8000_3000));
        assert_eq!(clone.own(memory, Ipa(TEXT.0 + 8)), Ok(()));
        assert_eq!(memory.tables.len(), tables + 3);
        let own = seen(&clone, memory, TEXT);
        assert_eq!(memory.pages.get(&own.pa.0), Some(&Some(Pa(0x8000_3000))));
        assert_eq!((own.writable, own.shared, own.touched), (true, false, true));
        assert_eq!(clone.own(memory, TEXT), Err(Errno::EEXIST), "once");
        assert!(seen(&clone, memory, Ipa(TEXT.0 + PAGE_SIZE)).shared);
        for ipa in [UNTOUCHED, PRIVATE] {
            assert_eq!(clone.own(memory, ipa), Ok(()));
            assert_eq!(memory.pages.get(&seen(&clone, memory, ipa).pa.0), Some(&None), "zeroes");
        }
        assert_eq!(clone.own(memory, GIVEN), Err(Errno::EACCES));
        assert_eq!(clone.own(memory, Ipa(0x5000_0000)), Err(Errno::ENOENT));
        assert_eq!(clone.own(memory, Ipa(u64::MAX)), Err(Errno::EINVAL));
        let shared = clone.unmap(memory, GIVEN, Order::Page).expect("mapped").1;
        assert_eq!(shared, Content::Shared);
        let page = Extent::kept(Pa(0x9000_0000), Order::Page);
        assert_eq!(clone.map(memory, GIVEN, page, Content::Foreign(Access::Full)), Ok(()));
        assert_eq!(clone.unmap(memory, TEXT, Order::Page).expect("mapped").1, Content::Ready);
        clone.abandon();
        assert!(clone.lookup(memory, UNTOUCHED).is_none() && clone.own(memory, TEXT).is_err());
    }

    #[test]
    fn without_memory_a_clone_is_as_it_was() {
        let memory = &mut Checker::default();
        let template = template(memory);
        for budget in 0..3 {
            memory.budget = None;
            let mut clone = template.clone_of(memory).expect("memory");
            memory.budget = Some(budget);
            assert_eq!(clone.own(memory, TEXT), Err(Errno::ENOMEM), "{budget}");
            assert!(seen(&clone, memory, TEXT).shared);
        }
        memory.budget = Some(0);
        assert!(template.clone_of(memory).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn no_page_is_two_clones(steps in prop::collection::vec((0usize..4, 0u8..5, 0u64..3, 0u64..1100), 1..150)) {
            let memory = &mut Checker::default();
            let template = template(memory);
            let mut clones: Vec<P2m> = (0..4).map(|_| template.clone_of(memory).expect("memory")).collect();
            // What each clone has of its own, and what it has taken away.
            let mut owned: BTreeMap<(usize, u64), u64> = BTreeMap::new();
            let mut gone: BTreeSet<(usize, u64)> = BTreeSet::new();
            for (who, action, block, page) in steps {
                let ipa = Ipa(0x4000_0000 + (block << 21) + (page << 12));
                let place = (who, ipa.0);
                let in_template = template.lookup(memory, ipa).filter(|_| !gone.contains(&place));
                let clone = &mut clones[who];
                if action == 0 {
                    let had = clone.unmap(memory, ipa, Order::Page).ok().map(|(extent, content)| (extent.base, content));
                    let expected = owned.remove(&place).map(|page| (Pa(page), Content::Ready));
                    prop_assert_eq!(had, expected.or(in_template.map(|leaf| (leaf.pa, Content::Shared))));
                    gone.insert(place);
                } else {
                    let is_new = in_template.is_some() && !owned.contains_key(&place);
                    prop_assert_eq!(clone.own(memory, ipa).is_ok(), is_new);
                    if is_new {
                        owned.insert(place, seen(clone, memory, ipa).pa.0);
                    }
                }
                for (who, clone) in clones.iter().enumerate() {
                    let place = (who, ipa.0);
                    let expected = owned.get(&place).map(|page| Pa(*page));
                    let shared = template.lookup(memory, ipa).filter(|_| !gone.contains(&place)).map(|leaf| leaf.pa);
                    prop_assert_eq!(clone.lookup(memory, ipa).map(|leaf| leaf.pa), expected.or(shared));
                }
            }
            let pages: BTreeSet<u64> = owned.values().copied().collect();
            prop_assert_eq!(pages.len(), owned.len());
        }
    }
}
