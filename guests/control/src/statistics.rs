//! What driver domains count of the devices that they serve: copied from the pages that they grant, when somebody asks.
//!
//! A driver domain may count what it likes: it is believed in that alone.

use alloc::collections::BTreeMap;
use alloc::vec;
use core::time::Duration;

use mote_protocols::statistics::{Counts, Device, NODE, PAGES_MAX, records};
use mote_unikernel::time::Instant;
use mote_unikernel::xen::copy::Copies;

use crate::domains::Domains;
use crate::store::Store;

const PAGE: usize = 4096;
/// How old an answer may be: so that of all domains' devices one look is enough.
const AGE: Duration = Duration::from_millis(20);

/// What was counted at the last look.
#[derive(Default)]
pub struct Statistics {
    looked: Option<Instant>,
    counts: BTreeMap<Device, Counts>,
}

impl Statistics {
    /// Looks again, unless it has just been done.
    pub fn refresh(&mut self, domains: &Domains, store: &Store) {
        if self.looked.is_some_and(|looked| looked.elapsed() < AGE) {
            return;
        }
        self.counts.clear();
        for (id, _) in domains.iter().filter(|(_, domain)| domain.definition.driver) {
            self.look(id, store);
        }
        self.looked = Some(Instant::now());
    }

    fn look(&mut self, driver: u16, store: &Store) {
        let named = store.peek(&alloc::format!("/local/domain/{driver}/{NODE}"));
        let Some(named) = named.and_then(|named| str::from_utf8(named).ok()) else { return };
        let mut page = vec![0; PAGE];
        for reference in named.split(' ').filter_map(|reference| reference.parse().ok()).take(PAGES_MAX) {
            let mut copies = Copies::new(driver);
            copies.fetch(reference, 0, &mut page);
            // What is not granted any more says nothing.
            if copies.make().is_ok() {
                self.counts.extend(records(&page));
            }
        }
    }

    /// The counters of a device; zeroes if nobody counts.
    pub fn of(&self, device: Device) -> Counts {
        self.counts.get(&device).copied().unwrap_or_default()
    }
}
