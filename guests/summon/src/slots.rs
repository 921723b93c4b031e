//! A table whose places are used again, but not their names.

use alloc::vec::Vec;

/// A name: a place, and how often the place had been used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    place: u32,
    generation: u32,
}

impl Id {
    pub const fn place(self) -> usize {
        self.place as usize
    }
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// The table. Fields are private because `free` has every place without a value exactly once.
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    limit: u32,
}

impl<T> Slots<T> {
    /// An empty one for `limit` values.
    pub const fn new(limit: u32) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), limit }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many places there are: those of old values among them.
    pub fn places(&self) -> usize {
        self.slots.len()
    }

    pub fn is_full(&self) -> bool {
        self.len() >= self.limit as usize
    }

    /// Keeps `value`, unless the table is full.
    pub fn insert(&mut self, value: T) -> Option<Id> {
        if self.is_full() {
            return None;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            (self.slots.len() - 1) as u32
        });
        let slot = self.slots.get_mut(place as usize)?;
        slot.value = Some(value);
        Some(Id { place, generation: slot.generation })
    }

    /// Takes a value out; its name is nobody's from then on.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        let slot = self.slots.get_mut(id.place()).filter(|slot| slot.generation == id.generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.place);
        Some(value)
    }

    pub fn get(&self, id: Id) -> Option<&T> {
        self.slots.get(id.place()).filter(|slot| slot.generation == id.generation)?.value.as_ref()
    }

    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        self.slots.get_mut(id.place()).filter(|slot| slot.generation == id.generation)?.value.as_mut()
    }

    /// The value at a place, and its name.
    pub fn at(&self, place: usize) -> Option<(Id, &T)> {
        let slot = self.slots.get(place)?;
        Some((Id { place: place as u32, generation: slot.generation }, slot.value.as_ref()?))
    }
}
