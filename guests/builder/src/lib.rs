//! What a domain is to be, and how it is laid out: everything about building one that can be decided without touching it.
//!
//! What belongs here: reading definitions, images and trees, and working out what goes where. What does not: hypercalls, files, and the
//! domain's memory itself. The control domain builds with it, the host's tool checks with it what is to be built.
//!
//! A domain passes through here as `config` (its definition), `image` (what its kernel says of itself), [`passthrough`] (the devices
//! that it gets), [`plan`] and `layout` (what goes where in its memory), and `guest_tree` (what it is told).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod addr;
pub mod config;
pub mod guest_tree;
pub mod image;
pub mod layout;
pub mod passthrough;
pub mod plan;
pub mod random;
#[cfg(test)]
mod testing;
pub mod tree;

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;

/// The same in order. What is sorted here is short: a heap takes a small part of the code that a slice's `sort_unstable` does.
#[must_use]
pub fn sorted<T: Ord>(items: Vec<T>) -> Vec<T> {
    BinaryHeap::from(items).into_sorted_vec()
}
