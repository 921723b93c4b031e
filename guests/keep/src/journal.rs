//! Records in a region.

use alloc::vec;
use alloc::vec::Vec;

use thiserror::Error;

use crate::checksum;

/// Bytes that stay when their writer ends.
///
/// What is written becomes visible in the order of the calls to whoever comes after the writer.
pub trait Memory {
    /// How many there are.
    fn size(&self) -> usize;
    /// Reads those at `offset`, which are within the size.
    fn read(&self, offset: usize, bytes: &mut [u8]);
    /// Writes at `offset`, within the size.
    fn write(&mut self, offset: usize, bytes: &[u8]);
}

/// Why something cannot be kept.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The half in use has no room for it. After [`Journal::compact`] there may be.
    #[error("the journal is full")]
    Full,
    /// The region has no room for two headers and a record in each half.
    #[error("the region of the journal is too small")]
    TooSmall,
}

/// What a half begins with: this, its generation, and the checksum of both.
const MAGIC: [u8; 4] = *b"mkp1";
const HEADER: usize = 12;
/// What a record begins with: its length, and the checksum of generation, place and contents.
const RECORD: usize = 8;

/// A region with records.
// Private: `end` is where the last whole record ends, within the half.
#[derive(Debug)]
pub struct Journal<M> {
    memory: M,
    half: usize,
    generation: u32,
    end: usize,
}

impl<M: Memory> Journal<M> {
    /// Opens a region, and hands all records that are whole to `replay`, in order. A region with none, for example one of zeros, becomes
    /// one without records.
    ///
    /// # Errors
    /// [`Error::TooSmall`].
    pub fn open(memory: M, mut replay: impl FnMut(&[u8])) -> Result<Self, Error> {
        if memory.size() / 2 <= HEADER + RECORD {
            return Err(Error::TooSmall);
        }
        let mut journal = Self { memory, half: 0, generation: 0, end: HEADER };
        let found = [0, 1].map(|half| journal.header(half));
        match found {
            [Some(first), Some(second)] if is_later(second, first) => (journal.half, journal.generation) = (1, second),
            [Some(first), _] => journal.generation = first,
            [None, Some(second)] => (journal.half, journal.generation) = (1, second),
            [None, None] => {
                journal.publish();
                return Ok(journal);
            }
        }
        while let Some(record) = journal.next() {
            replay(&record);
            journal.end += RECORD + record.len();
        }
        Ok(journal)
    }

    /// Bytes of records that still fit, each with 8 more, before the half is full.
    #[must_use]
    pub fn room(&self) -> usize {
        self.capacity() - self.end
    }

    /// Writes a record: it is kept in whole or not at all.
    ///
    /// # Errors
    /// [`Error::Full`]; then nothing has changed.
    pub fn append(&mut self, record: &[u8]) -> Result<(), Error> {
        let (half, generation, at) = (self.half, self.generation, self.end);
        self.end = self.put(half, generation, at, record)?;
        Ok(())
    }

    /// Replaces all records by these, at once: whoever opens the region finds the old ones or all of these.
    ///
    /// # Errors
    /// [`Error::Full`] if they have no room in a half; then the old ones stay.
    pub fn compact<R: AsRef<[u8]>>(&mut self, records: impl IntoIterator<Item = R>) -> Result<(), Error> {
        let (half, generation) = (1 - self.half, self.generation.wrapping_add(1));
        // Until its header is there it does not count.
        self.memory.write(half * self.capacity(), &[0; HEADER]);
        let mut end = HEADER;
        for record in records {
            end = self.put(half, generation, end, record.as_ref())?;
        }
        self.erase_length(half, end);
        (self.half, self.generation, self.end) = (half, generation, end);
        self.publish();
        Ok(())
    }

    /// Bytes of a half.
    fn capacity(&self) -> usize {
        self.memory.size() / 2
    }

    /// Writes a record at a place in a half. The answer is the place behind it.
    fn put(&mut self, half: usize, generation: u32, at: usize, record: &[u8]) -> Result<usize, Error> {
        let end = at.checked_add(RECORD).and_then(|start| start.checked_add(record.len())).ok_or(Error::Full)?;
        let length = u32::try_from(record.len()).map_err(|_| Error::Full)?;
        if end > self.capacity() {
            return Err(Error::Full);
        }
        let base = half * self.capacity() + at;
        let sum = sum(generation, at, record);
        // The contents come first, so that as a rule a record that is cut off has no head at all.
        self.memory.write(base + RECORD, record);
        self.memory.write(base + 4, &sum.to_le_bytes());
        self.memory.write(base, &length.to_le_bytes());
        Ok(end)
    }

    /// Has nothing of an earlier use stand where the next record's length is.
    fn erase_length(&mut self, half: usize, at: usize) {
        if at + RECORD <= self.capacity() {
            let base = half * self.capacity() + at;
            self.memory.write(base, &[0; RECORD]);
        }
    }

    /// Makes the half the one in use.
    fn publish(&mut self) {
        let base = self.half * self.capacity();
        let generation = self.generation.to_le_bytes();
        self.memory.write(base + 4, &generation);
        self.memory.write(base + 8, &checksum::of(&[&MAGIC, &generation]).to_le_bytes());
        self.memory.write(base, &MAGIC);
    }

    /// The generation of a half, if its header is whole.
    fn header(&self, half: usize) -> Option<u32> {
        let mut bytes = [0; HEADER];
        self.memory.read(half * self.capacity(), &mut bytes);
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        let (magic, generation, sum) = ([a, b, c, d], [e, f, g, h], u32::from_le_bytes([i, j, k, l]));
        let is_whole = magic == MAGIC && sum == checksum::of(&[&magic, &generation]);
        is_whole.then(|| u32::from_le_bytes(generation))
    }

    /// The record at the end, if there is a whole one.
    fn next(&self) -> Option<Vec<u8>> {
        let room = self.room().checked_sub(RECORD)?;
        let base = self.half * self.capacity() + self.end;
        let mut head = [0; RECORD];
        self.memory.read(base, &mut head);
        let [a, b, c, d, e, f, g, h] = head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > room {
            return None;
        }
        let mut record = vec![0; length];
        self.memory.read(base + RECORD, &mut record);
        (sum(self.generation, self.end, &record) == u32::from_le_bytes([e, f, g, h])).then_some(record)
    }
}

/// The checksum of a record at a place.
fn sum(generation: u32, at: usize, record: &[u8]) -> u32 {
    // The length is in it too: a record of zeros is not the beginning of another.
    let [generation, at, length] = [generation, at as u32, record.len() as u32].map(u32::to_le_bytes);
    checksum::of(&[&MAGIC, &generation, &at, &length, record])
}

/// Whether a generation came after another; they wrap.
fn is_later(generation: u32, than: u32) -> bool {
    generation.wrapping_sub(than).cast_signed() > 0
}
