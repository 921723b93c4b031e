//! The guest's end of Xen's network protocol (`io/netif.h`) as plain state machines: rings, buffers and the handshake.
//!
//! A packet goes out by [`tx::Sender`], which finds it room in a pool of pages and puts requests on the ring, and comes in by
//! [`rx::Receiver`], whose pages the back end fills. Every response is read once and checked, and one that cannot be true is a [`Fault`].
//! The connection ends then, as it does when [`handshake`] says so.
//!
//! Nothing here knows what a grant or an event is. All of it is tested on the host, against a back end that errs on purpose.

#![no_std]
#![forbid(unsafe_code)]

pub mod handshake;
pub mod rx;
pub mod tx;
pub mod wire;

#[cfg(test)]
mod tests;

use mote_protocols::ring::Broken;

/// Bytes in a page.
pub const PAGE: usize = 4096;

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

impl From<Broken> for Fault {
    fn from(_: Broken) -> Self {
        Self::TooManyResponses
    }
}
