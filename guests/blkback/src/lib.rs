//! The backend of Xen's block protocol: what stands between a guest's ring and a disk.
//!
//! A request is taken from the ring as a copy, checked as a whole (`request`), given pages of the backend's own, and started on the disk
//! ([`Disk`]); when the disk is done, what was read is copied to the guest and the answer goes into the ring. [`Backend`] does all this in
//! turns and never waits: who drives it waits, for the guest's event or the disk's interrupt, and gives it the next turn.
//!
//! The guest is hostile. A request that makes no sense is answered with an error; a ring that makes no sense ends the
//! connection ([`Broken`](mote_protocols::ring::Broken)). Memory is bounded by [`Limits`], and a turn by the size of the ring.
//!
//! This room knows no hypercall, no device and no xenstore: a page that is shared, [`Frontend`] and [`Disk`] are what it needs of the world.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod backend;
mod disk;
mod features;
mod pages;
mod request;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use backend::{Backend, Frontend, Limits, NoAccess, Order, Turn};
pub use disk::{Command, Discarding, Disk, Finished, Geometry};
pub use features::{before_connection, on_connection, speaks_our_layouts};
pub use pages::{Buffer, Page};
pub use request::{INDIRECT_SEGMENTS, Part};
