//! The guest's end of Xen's network protocol (`io/netif.h`) as plain state machines: rings, buffers and the handshake.
//!
//! A packet goes out by [`tx::Sender`], which finds it room in a pool of pages and puts requests on the ring, and comes in by
//! [`rx::Receiver`], whose pages the back end fills. Both work on pages as slices of atomic words, because the back end sees them as well
//! and may change them at any time: every response is read once and checked, and one that cannot be true is a [`Fault`]. The
//! connection ends then, as it does when [`handshake`] says so.
//!
//! Nothing here knows what a grant or an event is. All of it is tested on the host, against a back end that errs on purpose.

#![no_std]
#![forbid(unsafe_code)]

pub mod handshake;
mod ring;
pub mod rx;
pub mod tx;
pub mod wire;

#[cfg(test)]
mod tests;

use core::sync::atomic::AtomicU32;

/// Words in a page.
pub const WORDS: usize = 1024;
/// Bytes in a page.
pub const PAGE: usize = 4096;

/// A page that both ends see.
pub type Page = [AtomicU32; WORDS];

/// What a back end does that it must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers more than was asked.
    TooManyResponses,
    /// It answers what was not asked.
    UnknownResponse,
    /// It says that it wrote past the end of a page.
    BeyondPage,
}
