//! What this domain must not lose when it ends: a journal in the memory of another domain, which never runs. Whoever is built in this
//! one's place finds there what it has to go on with.
//!
//! The keeper's first page says where the journal is, so that it can be moved when it becomes too small. Elsewhere in its memory lie the
//! images of driver domains.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use mote_builder::config::MAX_PORT;
use mote_keep::{Journal, Memory};
use mote_unikernel::Machine;
use mote_unikernel::xen::foreign::{Mapping, Region};
use mote_unikernel::xen::{Errno, domains};
use xen_abi::Zeroed;
use xen_abi::domctl::{CreateDomain, create};

/// The keeper's number: the last but one that a domain can have.
pub const NUMBER: u16 = 0x7fee;
const PAGE: usize = 4096;
/// Where its memory is, in frames.
const FIRST_FRAME: u64 = 0x4_0000;
/// It may have as much as there is.
const LIMIT: u64 = 1 << 40;
/// In its first page: where the journal is, and the first frame at which it has never had memory.
const JOURNAL: usize = 0;
const END: usize = 8;
/// Frames that are asked for at once.
const PART: usize = 128;

/// What a part of a record is about.
pub mod kind {
    /// What has changed in xenstore.
    pub const STORE: u8 = 1;
    /// Where a domain's connection to xenstore is.
    pub const CONNECTION: u8 = 2;
    /// What is known of a domain.
    pub const DOMAIN: u8 = 3;
    /// A domain is gone.
    pub const GONE: u8 = 4;
    /// All that the configuration asks for has been built.
    pub const WHOLE: u8 = 5;
}

/// A part of a record.
pub fn part(record: &mut Vec<u8>, kind: u8, id: u16, contents: &[u8]) {
    record.push(kind);
    record.extend(id.to_le_bytes());
    record.extend((contents.len() as u32).to_le_bytes());
    record.extend(contents);
}

/// Calls `found` with each part of a record.
fn for_each_part(mut record: &[u8], mut found: impl FnMut(u8, u16, &[u8])) {
    while let Some(([kind, a, b, c, d, e, f], rest)) = record.split_first_chunk() {
        let length = u32::from_le_bytes([*c, *d, *e, *f]) as usize;
        let Some((contents, rest)) = rest.split_at_checked(length) else { return };
        found(*kind, u16::from_le_bytes([*a, *b]), contents);
        record = rest;
    }
}

struct Bytes(Region);

impl Memory for Bytes {
    fn size(&self) -> usize {
        self.0.size()
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) {
        self.0.read(offset, bytes);
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.0.write(offset, bytes);
    }
}

/// Frames of the keeper's in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The first.
    pub frame: u64,
    /// How many there are.
    pub pages: u32,
}

impl Place {
    const fn word(self) -> u64 {
        self.frame << 32 | self.pages as u64
    }

    const fn of(word: u64) -> Self {
        Self { frame: word >> 32, pages: word as u32 }
    }

    const fn end(self) -> u64 {
        self.frame + self.pages as u64
    }
}

/// What was found in the journal, besides what xenstore has.
#[derive(Default)]
pub struct Found {
    /// Domains' connections to xenstore.
    pub connections: BTreeMap<u16, Vec<u8>>,
    /// What was known of domains.
    pub domains: BTreeMap<u16, Vec<u8>>,
    /// Whether all was built that the configuration asks for.
    pub is_whole: bool,
}

/// The domain that keeps the journal.
pub struct Keeper {
    machine: Machine,
    first: Mapping,
    journal: Journal<Bytes>,
    place: Place,
    /// What is known of domains, as it is in the journal.
    pub domains: BTreeMap<u16, Vec<u8>>,
    /// Whether all was built that the configuration asks for.
    pub is_whole: bool,
}

impl Keeper {
    /// Makes a keeper with room for `bytes` of records.
    ///
    /// # Errors
    /// The hypervisor's.
    pub fn make(machine: &Machine, bytes: usize) -> Result<Self, Errno> {
        let asked = CreateDomain {
            flags: create::HVM | create::HAP,
            max_vcpus: 1,
            max_evtchn_port: MAX_PORT,
            grant_opts: 1,
            ..CreateDomain::new_zeroed()
        };
        domains::create(Some(NUMBER), asked)?;
        Self::fill(machine, bytes).inspect_err(|_| {
            let _ = domains::destroy(NUMBER);
        })
    }

    fn fill(machine: &Machine, bytes: usize) -> Result<Self, Errno> {
        let pages = (2 * bytes).div_ceil(PAGE) as u32;
        let place = Place { frame: FIRST_FRAME + 1, pages };
        domains::limit_memory(NUMBER, LIMIT)?;
        populate(Place { frame: FIRST_FRAME, pages: 1 + pages })?;
        let region = Bytes(Region::new(machine, NUMBER, place.frame, pages as usize)?);
        let journal = Journal::open(region, |_| ()).map_err(|_| Errno::EINVAL)?;
        let first = Mapping::new(NUMBER, FIRST_FRAME)?;
        first.page().double(END).store(place.end(), Ordering::Release);
        first.page().double(JOURNAL).store(place.word(), Ordering::Release);
        Ok(Self { machine: *machine, first, journal, place, domains: BTreeMap::new(), is_whole: false })
    }

    /// Finds the keeper that another made, and all that it has: what is xenstore's goes to `replay`.
    ///
    /// # Errors
    /// There is none.
    pub fn find(machine: &Machine, mut replay: impl FnMut(&[u8])) -> Result<(Self, Found), Errno> {
        let first = Mapping::new(NUMBER, FIRST_FRAME)?;
        let place = Place::of(first.page().double(JOURNAL).load(Ordering::Acquire));
        let region = Bytes(Region::new(machine, NUMBER, place.frame, place.pages as usize)?);
        let mut found = Found::default();
        let journal = Journal::open(region, |record| {
            for_each_part(record, |kind, id, contents| match kind {
                kind::STORE => replay(contents),
                kind::CONNECTION => drop(found.connections.insert(id, contents.into())),
                kind::DOMAIN => drop(found.domains.insert(id, contents.into())),
                kind::GONE => {
                    found.connections.remove(&id);
                    found.domains.remove(&id);
                }
                kind::WHOLE => found.is_whole = true,
                _ => {}
            });
        });
        let journal = journal.map_err(|_| Errno::EINVAL)?;
        let (domains, is_whole) = (found.domains.clone(), found.is_whole);
        Ok((Self { machine: *machine, first, journal, place, domains, is_whole }, found))
    }

    /// Writes a record; whether there was room.
    pub fn append(&mut self, record: &[u8]) -> bool {
        self.journal.append(record).is_ok()
    }

    /// Writes down all there is in place of what was, and gets more room if need be.
    ///
    /// # Errors
    /// There is no memory for it; then what was is still there.
    pub fn rewrite(&mut self, records: &[Vec<u8>]) -> Result<(), Errno> {
        let half = self.place.pages as usize / 2 * PAGE;
        let fits = self.journal.compact(records).is_ok();
        // What is nearly full would be full again soon.
        if fits && self.journal.room() >= half / 4 {
            return Ok(());
        }
        self.grow(records).or_else(|error| if fits { Ok(()) } else { Err(error) })
    }

    /// Moves the journal to where it has more room.
    fn grow(&mut self, records: &[Vec<u8>]) -> Result<(), Errno> {
        let half = self.place.pages as usize / 2 * PAGE;
        let needed: usize = records.iter().map(|record| record.len() + 8).sum();
        let place = self.allocate(4 * needed.max(half))?;
        let region = Bytes(Region::new(&self.machine, NUMBER, place.frame, place.pages as usize)?);
        let mut journal = Journal::open(region, |_| ()).map_err(|_| Errno::EINVAL)?;
        journal.compact(records).map_err(|_| Errno::ENOMEM)?;
        self.first.page().double(JOURNAL).store(place.word(), Ordering::Release);
        // What was mapped goes first.
        drop(core::mem::replace(&mut self.journal, journal));
        let before = core::mem::replace(&mut self.place, place);
        free(before);
        Ok(())
    }

    /// Gets memory for so many bytes.
    ///
    /// # Errors
    /// There is none.
    pub fn allocate(&mut self, bytes: usize) -> Result<Place, Errno> {
        let pages = u32::try_from(bytes.div_ceil(PAGE)).map_err(|_| Errno::ENOMEM)?;
        let place = Place { frame: self.first.page().double(END).load(Ordering::Acquire), pages };
        // What is got before an error, or before this domain ends, is used by nobody and goes with the keeper.
        self.first.page().double(END).store(place.end(), Ordering::Release);
        populate(place)?;
        Ok(place)
    }

    /// Ends it, because there is nothing left to go on with.
    pub fn end(self) {
        let Self { first, journal, .. } = self;
        // What is mapped keeps it.
        drop((first, journal));
        let _ = domains::destroy(NUMBER);
    }
}

fn populate(place: Place) -> Result<(), Errno> {
    let mut frames = (place.frame..place.end()).collect::<Vec<u64>>();
    frames.chunks_mut(PART).try_for_each(|part| domains::populate(NUMBER, part, 0))
}

/// Gives memory of the keeper's back.
pub fn free(place: Place) {
    let mut frames = (place.frame..place.end()).collect::<Vec<u64>>();
    for part in frames.chunks_mut(PART) {
        // What is not taken goes with the keeper.
        let _ = domains::depopulate(NUMBER, part, 0);
    }
}
