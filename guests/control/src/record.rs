//! What is written down of a domain, so that whoever goes on knows it as this one did.

use alloc::vec::Vec;

use mote_builder::config::Definition;

use crate::keeper::Place;
use crate::orders::Order;

/// The images that a driver domain is built from again, as they lie in the keeper: one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where.
    pub place: Place,
    /// The bytes of kernel, RAM disk and device tree.
    pub sizes: [u64; 3],
}

/// What is known of a domain.
pub struct Record {
    /// What it was asked to be.
    pub definition: Definition,
    /// Its port for xenstore, or 0.
    pub store: u32,
    /// Its port for its console, or 0.
    pub console: u32,
    /// What it is built from again, or its machines are.
    pub kept: Option<Kept>,
    /// Who asked for it, if a driver domain did.
    pub order: Option<Order>,
    /// Whether its end was reported.
    pub is_reported: bool,
    /// Whether it has the machine's keyboard.
    pub has_keyboard: bool,
}

const NUMBERS: usize = 12;

impl Record {
    /// It as bytes.
    pub fn save(&self) -> Vec<u8> {
        let kept = self.kept.unwrap_or(Kept { place: Place::default(), sizes: [0; 3] });
        let [kernel, ramdisk, tree] = kept.sizes;
        // No service has the number 0.
        let order = self.order.unwrap_or(Order { driver: 0, number: 0, service: 0 });
        let numbers: [u64; NUMBERS] = [
            self.store.into(),
            self.console.into(),
            kept.place.frame,
            kept.place.pages.into(),
            kernel,
            ramdisk,
            tree,
            self.is_reported.into(),
            self.has_keyboard.into(),
            order.driver.into(),
            order.number.into(),
            order.service.into(),
        ];
        let mut bytes: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
        bytes.extend(self.definition.save());
        bytes
    }

    /// Reads what [`Record::save`] has written.
    pub fn load(bytes: &[u8]) -> Option<Self> {
        let (numbers, definition) = bytes.split_first_chunk::<{ NUMBERS * 8 }>()?;
        let (numbers, _) = numbers.as_chunks::<8>();
        let number = |index: usize| numbers.get(index).map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let place = Place { frame: number(2), pages: number(3) as u32 };
        let kept = Kept { place, sizes: [4, 5, 6].map(number) };
        let order = Order { driver: number(9) as u16, number: number(10) as u32, service: number(11) as u16 };
        Some(Self {
            definition: Definition::load(definition)?,
            store: number(0) as u32,
            console: number(1) as u32,
            kept: (place.pages > 0).then_some(kept),
            is_reported: number(7) != 0,
            has_keyboard: number(8) != 0,
            order: (order.service > 0).then_some(order),
        })
    }
}
