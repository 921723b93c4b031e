//! Addresses that were seen behind ports: as many as fit, and for a while.

use alloc::vec::Vec;

use crate::packet::Mac;

/// Sets of places, and places in a set. An address has its place in one set, by its hash.
const SETS: usize = 64;
const WAYS: usize = 4;
/// Seconds after which an address is forgotten (IEEE 802.1D, 7.9.2).
const AGE_MAX: u32 = 300;

#[derive(Clone, Copy)]
struct Entry {
    mac: Mac,
    port: usize,
    seen: u32,
}

/// The table. It has no sets before it has an entry.
#[derive(Default)]
pub(super) struct Table(Vec<[Option<Entry>; WAYS]>);

impl Table {
    /// `mac` is behind `port`. In a set that is full it takes the place of the one that was not seen for longest.
    pub(super) fn learn(&mut self, mac: Mac, port: usize, now: u32) {
        self.0.resize(SETS, [None; WAYS]);
        let Some(set) = self.0.get_mut(set(mac)) else { return };
        let rank = |entry: &Option<Entry>| match entry {
            Some(entry) if entry.mac == mac => (0, 0),
            None => (1, 0),
            Some(entry) => (2, entry.seen),
        };
        if let Some(place) = set.iter_mut().min_by_key(|entry| rank(entry)) {
            *place = Some(Entry { mac, port, seen: now });
        }
    }

    /// The port behind which `mac` is.
    pub(super) fn find(&self, mac: Mac, now: u32) -> Option<usize> {
        let known = self.0.get(set(mac))?.iter().flatten().find(|entry| entry.mac == mac)?;
        (now.saturating_sub(known.seen) < AGE_MAX).then_some(known.port)
    }

    /// Nobody is behind `port` any more.
    pub(super) fn forget(&mut self, port: usize) {
        for entry in self.0.iter_mut().flatten() {
            entry.take_if(|entry| entry.port == port);
        }
    }
}

fn set(mac: Mac) -> usize {
    let [a, b, c, d, e, f] = mac.0;
    let mixed = u32::from_le_bytes([c, d, e, f]) ^ u32::from(u16::from_le_bytes([a, b]));
    (mixed.wrapping_mul(0x9e37_79b9) >> 16) as usize % SETS
}
