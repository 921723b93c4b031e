//! Grants beside a plain model of them, under random operations of a granter and its users.

use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::testing::Shared;

const LIMITS: Limits = Limits { frames: 2, mappings: 5 };
const REFERENCES: u32 = 6;
/// The first reference of the table's second frame, and others: few, so that they meet often.
const FIRST: u32 = ENTRIES_PER_FRAME - 3;

fn domain(number: u16) -> DomainId {
    DomainId::new(number).expect("a small number")
}

/// A grant as the granter wrote it, and how often it is used for reading and for writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Granted {
    user: u16,
    permits: bool,
    read_only: bool,
    frame: u32,
    used: [u16; 2],
}

struct World {
    table: GrantTable<Shared>,
    pages: Vec<Shared>,
    model: Vec<Granted>,
    mapped: BTreeMap<u32, Mapping>,
}

impl World {
    fn new() -> Self {
        let pages: Vec<Shared> = (0..3).map(|_| Shared::new()).collect();
        let mut table = GrantTable::new(LIMITS);
        for page in &pages[..2] {
            assert!(table.add_frame(page.clone()).is_ok());
        }
        assert!(table.add_frame(pages[2].clone()).is_err(), "as many as there may be");
        let model = (0..REFERENCES).map(|_| Granted::default()).collect();
        Self { table, pages, model, mapped: BTreeMap::new() }
    }

    fn word(&self, reference: u32, offset: usize) -> &core::sync::atomic::AtomicU32 {
        let page = &self.pages[(reference / ENTRIES_PER_FRAME) as usize];
        page.word((reference % ENTRIES_PER_FRAME) as usize * 8 + offset)
    }

    /// The granter writes an entry, as it may while nobody uses it.
    fn write(&mut self, pick: u32, user: u16, kind: u32, frame: u32) {
        let granted = Granted { user, permits: kind & 3 == 1, read_only: kind & 4 != 0, frame, used: [0; 2] };
        if self.model[pick as usize].used == [0; 2] {
            self.model[pick as usize] = granted;
            self.word(FIRST + pick, 4).store(frame, Ordering::Relaxed);
            let header = u32::from(user) << 16 | kind & 7;
            self.word(FIRST + pick, 0).store(header, Ordering::Relaxed);
        }
    }

    fn pin(&mut self, pick: u32, user: u16, access: Access) -> Result<Ipa, GrantStatus> {
        let granted = &mut self.model[pick as usize];
        let allowed = granted.permits && granted.user == user && !(access == Access::Full && granted.read_only);
        let expected = if allowed {
            granted.used[usize::from(access == Access::Full)] += 1;
            Ok(Ipa(u64::from(granted.frame) * PAGE_SIZE))
        } else {
            Err(GrantStatus::GeneralError)
        };
        let pinned = self.table.pin(FIRST + pick, domain(user), access);
        assert_eq!(pinned, expected);
        pinned
    }

    fn unpin(&mut self, pick: u32, access: Access) {
        self.model[pick as usize].used[usize::from(access == Access::Full)] -= 1;
        self.table.unpin(FIRST + pick, access);
    }

    fn map(&mut self, pick: u32, user: u16, access: Access, ipa: u32) {
        let handle = self.table.take_handle();
        let full = self.mapped.len() == LIMITS.mappings as usize;
        assert_eq!(handle.err(), full.then_some(GrantStatus::NoDeviceSpace));
        let Ok(handle) = handle else { return };
        assert!(!self.mapped.contains_key(&handle), "a handle is given once");
        let Ok(frame) = self.pin(pick, user, access) else { return self.table.free_handle(handle) };
        let (ipa, frame) = (Ipa(ipa.into()), Pa(frame.0));
        let mapping = Mapping { granter: (domain(1), 1), reference: FIRST + pick, access, ipa, frame };
        self.table.set_mapping(handle, mapping);
        self.mapped.insert(handle, mapping);
    }

    fn unmap(&mut self, handle: u32) {
        let expected = self.mapped.remove(&handle).ok_or(GrantStatus::BadHandle);
        assert_eq!(self.table.take_mapping(handle), expected);
        assert_eq!(self.table.take_mapping(handle), Err(GrantStatus::BadHandle), "taken once");
        if let Ok(mapping) = expected {
            self.table.free_handle(handle);
            self.unpin(mapping.reference - FIRST, mapping.access);
        }
    }

    fn swap(&mut self, a: u32, b: u32) {
        let in_use = |pick: u32| self.model[pick as usize].used != [0; 2];
        let expected = if a != b && (in_use(a) || in_use(b)) { Err(GrantStatus::Again) } else { Ok(()) };
        assert_eq!(self.table.swap(FIRST + a, FIRST + b), expected);
        if expected.is_ok() {
            self.model.swap(a as usize, b as usize);
        }
    }

    /// The entries say what is in use and nothing else.
    fn check(&self) {
        for (pick, granted) in (0..).zip(&self.model) {
            let header = self.word(FIRST + pick, 0).load(Ordering::Relaxed);
            let [reads, writes] = granted.used.map(|count| count > 0);
            let used = header as u16 & (flags::READING | flags::WRITING);
            let mut expected = if reads || writes { flags::READING } else { 0 };
            expected |= if writes { flags::WRITING } else { 0 };
            assert_eq!(used, expected, "{granted:?}");
            assert_eq!(self.table.is_pinned(FIRST + pick), reads || writes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    /// 100,000 steps in all.
    #[test]
    fn core_does_what_the_model_does(steps in prop::collection::vec((0u8..8, 0..REFERENCES, 0..REFERENCES, 2u16..4, any::<u32>()), 2000)) {
        let mut world = World::new();
        for (what, pick, other, user, number) in steps {
            let access = if number & 1 == 0 { Access::Read } else { Access::Full };
            match what {
                0 | 1 => world.write(pick, user, number >> 1, number >> 8),
                2 => if world.pin(pick, user, access).is_ok() { world.unpin(pick, access) },
                3 | 4 => world.map(pick, user, access, number),
                5 | 6 => world.unmap(number % 7),
                _ => world.swap(pick, other),
            }
            world.check();
        }
        // A domain that ends gives everything back.
        while let Some(mapping) = world.table.take_any() {
            world.unpin(mapping.reference - FIRST, mapping.access);
        }
        world.check();
        prop_assert!((FIRST..FIRST + REFERENCES).all(|reference| !world.table.is_pinned(reference)));
    }
}

#[test]
fn references_past_the_table_are_refused() {
    let mut world = World::new();
    for reference in [2 * ENTRIES_PER_FRAME, u32::MAX] {
        let pinned = world.table.pin(reference, domain(2), Access::Read);
        assert_eq!(pinned, Err(GrantStatus::BadGrantReference));
        assert_eq!(world.table.swap(0, reference), Err(GrantStatus::BadGrantReference));
        world.table.unpin(reference, Access::Full);
    }
    assert_eq!((world.table.frames(), world.table.limits.frames), (2, 2));
}

#[test]
fn a_frame_is_where_the_guest_put_it_until_it_takes_it_away() {
    let mut world = World::new();
    world.table.frame(1).expect("there are two").ipa = Some(Ipa(0x7000));
    assert_eq!(world.table.frame(1).and_then(|frame| frame.ipa), Some(Ipa(0x7000)));
    world.table.forget_ipa(Ipa(0x8000));
    world.table.forget_ipa(Ipa(0x7000));
    assert_eq!(world.table.frame(1).and_then(|frame| frame.ipa), None);
    assert!(world.table.frame(2).is_none());
}
