//! What a driver domain counts for each device that it serves, in pages that it grants to the control domain. Mote's own: Xen's back ends
//! keep such counters to themselves.
//!
//! A page has records of 8 words of 64 bits each: which device, then its counters. A record is written by the driver domain alone, at any
//! time, and the control domain copies whole pages when it wants to know; nothing is sent. In a record without a device the counters
//! mean nothing.

/// The node in the driver domain's directory that names the pages: their grant references, with blanks between.
pub const NODE: &str = "data/statistics";
/// Bytes in a record.
pub const RECORD: usize = 64;
/// Records in a page.
pub const RECORDS: usize = 4096 / RECORD;
/// Pages of one driver domain at most.
pub const PAGES_MAX: usize = 24;
/// Counters of a record.
pub const COUNTERS: usize = 7;

/// What is counted of a network interface, seen from the guest: the counter's place in the record.
pub mod interface {
    /// Bytes that it received.
    pub const RECEIVED_BYTES: usize = 0;
    /// Frames that it received.
    pub const RECEIVED_FRAMES: usize = 1;
    /// Frames for it for which there was no room.
    pub const RECEIVED_DROPPED: usize = 2;
    /// Bytes that it sent.
    pub const SENT_BYTES: usize = 3;
    /// Frames that it sent.
    pub const SENT_FRAMES: usize = 4;
    /// Frames that it must not send.
    pub const REFUSED: usize = 5;
    /// Connections that ended because its rings made no sense.
    pub const BROKEN: usize = 6;
}

/// What is counted of a disk.
pub mod disk {
    /// Bytes that were read.
    pub const READ_BYTES: usize = 0;
    /// Requests to read that were done.
    pub const READS: usize = 1;
    /// Bytes that were written.
    pub const WRITTEN_BYTES: usize = 2;
    /// Requests to write that were done.
    pub const WRITES: usize = 3;
    /// Other requests that were done: flushes, discards.
    pub const OTHERS: usize = 4;
    /// Requests that failed.
    pub const ERRORS: usize = 5;
    /// Connections that ended because its ring made no sense.
    pub const BROKEN: usize = 6;
}

/// What is counted of a service.
pub mod service {
    /// Connections that no machine has accepted yet, now.
    pub const WAITING: usize = 0;
    /// Those whose caller was where he says, and that were refused because there were too many, or no machine.
    pub const REFUSED: usize = 1;
    /// Those on which a machine began to answer.
    pub const ANSWERED: usize = 2;
    /// Milliseconds that all of these waited for that.
    pub const ANSWER_SUM: usize = 3;
    /// Milliseconds that any of these waited for that, at most.
    pub const ANSWER_MOST: usize = 4;
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A network interface.
    Interface = 1,
    /// A disk.
    Disk = 2,
    /// A service, at an interface with the same number.
    Service = 3,
}

/// A device of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// What it is.
    pub kind: Kind,
    /// Whose it is.
    pub domain: u16,
    /// Its number in the domain, as in xenstore.
    pub number: u32,
}

impl Device {
    /// As it stands in a record: never 0.
    #[must_use]
    pub const fn word(self) -> u64 {
        (self.kind as u64) << 48 | (self.domain as u64) << 32 | self.number as u64
    }

    /// The device of a record; `None` if it has none.
    #[must_use]
    pub const fn of_word(word: u64) -> Option<Self> {
        let kind = match word >> 48 {
            1 => Kind::Interface,
            2 => Kind::Disk,
            3 => Kind::Service,
            _ => return None,
        };
        Some(Self { kind, domain: (word >> 32) as u16, number: word as u32 })
    }
}

/// The counters of a device.
pub type Counts = [u64; COUNTERS];

/// The records of a page that have a device.
pub fn records(page: &[u8]) -> impl Iterator<Item = (Device, Counts)> {
    let (records, _) = page.as_chunks::<RECORD>();
    records.iter().filter_map(|record| {
        let (words, _) = record.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let device = Device::of_word(words.next()?)?;
        let mut counts = [0; COUNTERS];
        counts.iter_mut().zip(words).for_each(|(count, word)| *count = word);
        Some((device, counts))
    })
}

/// Where something is counted.
pub trait Tally {
    /// Adds to the counter at this place, which is below [`COUNTERS`].
    fn add(&self, counter: usize, by: u64);
}

/// Nothing is counted where there is no room for it.
impl<T: Tally> Tally for Option<T> {
    #[inline]
    fn add(&self, counter: usize, by: u64) {
        if let Some(tally) = self {
            tally.add(counter, by);
        }
    }
}

impl<T: Tally> Tally for alloc::rc::Rc<T> {
    #[inline]
    fn add(&self, counter: usize, by: u64) {
        (**self).add(counter, by);
    }
}

/// Counters that nobody else sees.
#[derive(Debug, Default)]
pub struct Counters([core::cell::Cell<u64>; COUNTERS]);

impl Counters {
    /// What they say.
    #[must_use]
    pub fn get(&self, counter: usize) -> u64 {
        self.0.get(counter).map_or(0, core::cell::Cell::get)
    }
}

impl Tally for Counters {
    fn add(&self, counter: usize, by: u64) {
        if let Some(count) = self.0.get(counter) {
            count.set(count.get().wrapping_add(by));
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn a_record_says_whose_counters_it_has() {
        let disk = Device { kind: Kind::Disk, domain: 0x7fef, number: 1 << 28 | 51712 };
        let interface = Device { kind: Kind::Interface, domain: 0, number: 0 };
        let mut page = std::vec![0; 4096];
        for (place, device) in [(3, disk), (63, interface)] {
            page[place * RECORD..][..8].copy_from_slice(&device.word().to_le_bytes());
            page[place * RECORD + 8..][..8].copy_from_slice(&(place as u64).to_le_bytes());
            page[place * RECORD + 56..][..8].copy_from_slice(&u64::MAX.to_le_bytes());
        }
        page[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        let counts = |first| [first, 0, 0, 0, 0, 0, u64::MAX];
        assert!(records(&page).eq([(disk, counts(3)), (interface, counts(63))]));
        assert_eq!(records(&page[..100]).count(), 0);
    }
}
