//! A journal in memory that outlives its writer: a domain that dies at any moment and is built again finds there all that it had
//! written in whole, and nothing that it had only begun.
//!
//! What belongs here: how records lie in a region. What does not: what they mean, and where the region comes from.
//!
//! The region has two halves, of which one is in use: a header with its generation, and records one behind the other. Each record's
//! checksum begins with the generation and the record's place, so bytes of an earlier use are never taken for a record. When a half is
//! full its owner writes what it knows now into the other one ([`Journal::compact`]), whose header comes last: until then the old half
//! counts.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod checksum;
mod journal;

pub use journal::{Error, Journal, Memory};

#[cfg(test)]
mod tests;
