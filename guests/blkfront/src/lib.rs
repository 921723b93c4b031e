//! The frontend of Xen's block protocol: what a guest has asked of a disk and what became of it.
//!
//! [`Front`] hands out pages for data and places for requests, writes requests into the ring and takes the answers. The pages are granted
//! once, for as long as the connection lasts, as the protocol's persistent grants want it. When the backend goes and another comes, the
//! ring is a new one, and what was not answered is asked again: reading and writing twice is as good as once.
//!
//! The backend may be hostile: an answer to nothing that was asked ends the connection
//! ([`Broken`](mote_protocols::ring::Broken)), and the pages of a request are not used again before its answer.
//!
//! This room knows no hypercall and no xenstore; the library OS waits and calls.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod front;
mod span;
#[cfg(test)]
mod tests;

pub use front::{Ended, Front, Token};
pub use span::{Span, spans};
