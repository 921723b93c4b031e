//! A binary heap of slots by key, in which a slot can be found and removed. It never allocates once it has room.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

/// Slots, the one with the smallest key first. A slot is in it at most once.
#[derive(Debug, Default)]
pub struct SlotHeap {
    // A heap by the first field; `place[slot]` is where in it a slot is.
    entries: Vec<(u64, usize)>,
    place: Vec<Option<usize>>,
}

impl SlotHeap {
    /// Makes room for slots below `slots`.
    pub fn reserve(&mut self, slots: usize) -> Result<(), TryReserveError> {
        self.entries.try_reserve(slots.saturating_sub(self.entries.len()))?;
        self.place.try_reserve(slots.saturating_sub(self.place.len()))?;
        if self.place.len() < slots {
            self.place.resize(slots, None);
        }
        Ok(())
    }

    /// The smallest key and its slot.
    pub fn first(&self) -> Option<(u64, usize)> {
        self.entries.first().copied()
    }

    /// Whether no slot is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many slots are in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Puts a slot in for which room was made; if it is in, with its new key.
    pub fn insert(&mut self, key: u64, slot: usize) {
        self.remove(slot);
        self.entries.push((key, slot));
        self.sift_up(self.entries.len() - 1);
    }

    /// Takes the first out.
    pub fn pop(&mut self) -> Option<usize> {
        let (_, slot) = self.first()?;
        self.remove(slot);
        Some(slot)
    }

    /// Takes a slot out, wherever it is.
    pub fn remove(&mut self, slot: usize) {
        let Some(index) = self.place.get_mut(slot).and_then(Option::take) else { return };
        self.entries.swap_remove(index);
        if index < self.entries.len() {
            let index = self.sift_up(index);
            self.sift_down(index);
        }
    }

    fn settle(&mut self, index: usize) {
        let (_, slot) = self.entries[index];
        self.place[slot] = Some(index);
    }

    fn sift_up(&mut self, mut index: usize) -> usize {
        while index > 0 && self.entries[index].0 < self.entries[(index - 1) / 2].0 {
            self.entries.swap(index, (index - 1) / 2);
            self.settle(index);
            index = (index - 1) / 2;
        }
        self.settle(index);
        index
    }

    fn sift_down(&mut self, mut index: usize) {
        loop {
            let children = 2 * index + 1..(2 * index + 3).min(self.entries.len());
            let Some(child) = children.min_by_key(|&child| self.entries[child].0) else { return };
            if self.entries[index].0 <= self.entries[child].0 {
                return;
            }
            self.entries.swap(index, child);
            self.settle(index);
            self.settle(child);
            index = child;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl SlotHeap {
        /// Whether a slot is in it.
        pub fn contains(&self, slot: usize) -> bool {
            self.place.get(slot).copied().flatten().is_some()
        }
    }

    proptest! {
        #[test]
        fn the_first_is_always_the_smallest(steps in prop::collection::vec((0u8..3, 0u64..50, 0usize..20), 0..200)) {
            let mut heap = SlotHeap::default();
            heap.reserve(20).expect("memory");
            let mut model: BTreeMap<usize, u64> = BTreeMap::new();
            for (action, key, slot) in steps {
                match action {
                    0 => { heap.insert(key, slot); model.insert(slot, key); }
                    1 => { heap.remove(slot); model.remove(&slot); }
                    _ => if let Some(slot) = heap.pop() {
                        let key = model.remove(&slot);
                        prop_assert!(model.values().all(|&other| key <= Some(other)));
                    }
                }
                prop_assert_eq!(heap.first().map(|(key, _)| key), model.values().min().copied());
                prop_assert_eq!(heap.is_empty(), model.is_empty());
            }
        }
    }
}
