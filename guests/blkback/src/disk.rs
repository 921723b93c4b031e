//! What the backend asks of a disk.

use alloc::vec::Vec;

use crate::Buffer;

/// What a disk is like. Sectors are of 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// How many sectors there are.
    pub sectors: u64,
    /// Bytes that are read or written at least: a power of two from 512 to 4,096.
    pub sector_size: u32,
    /// It cannot be written.
    pub read_only: bool,
    /// It has a cache that can be told to write everything down.
    pub flush: bool,
    /// It can forget sectors.
    pub discard: Option<Discarding>,
}

/// How a disk forgets sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discarding {
    /// Bytes that it forgets at least.
    pub granularity: u32,
    /// Sectors that it forgets at most at once.
    pub sectors_max: u64,
}

/// What a disk can do.
pub enum Command {
    /// Read from this sector on into these buffers.
    Read(u64, Vec<Buffer>),
    /// Write from this sector on what is in these buffers.
    Write(u64, Vec<Buffer>),
    /// Put on the medium all that was written.
    Flush,
    /// Forget, from this sector on, so many.
    Discard(u64, u64),
}

impl Command {
    /// Its buffers.
    #[must_use]
    pub fn into_buffers(self) -> Vec<Buffer> {
        match self {
            Self::Read(_, buffers) | Self::Write(_, buffers) => buffers,
            Self::Flush | Self::Discard(..) => Vec::new(),
        }
    }
}

/// A command that was started and is done.
pub struct Finished {
    /// By which it was started.
    pub token: u16,
    /// Its buffers.
    pub buffers: Vec<Buffer>,
    /// Whether the disk did it.
    pub done: bool,
}

/// A disk: commands are started and end later, in any order. The disk holds a command's buffers until then.
pub trait Disk {
    /// What it is like. That does not change.
    fn geometry(&self) -> Geometry;

    /// Starts `command`, whose end will carry `token`.
    ///
    /// # Errors
    /// The command, if there is no room for it now: there is when one has ended.
    fn start(&mut self, token: u16, command: Command) -> Result<(), Command>;

    /// Tells the device of what was started.
    fn kick(&mut self);

    /// One command that ended.
    fn finished(&mut self) -> Option<Finished>;
}
