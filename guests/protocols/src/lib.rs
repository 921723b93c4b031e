//! What guests say to each other over shared pages: Xen's device protocols and xenstore, as the public headers in
//! `xen/include/public/io/` have them. Facts, and what both ends must do alike; each module is named after its header.
//!
//! A page is shared with somebody who may change it at any time: what is read from it is read once, and checked.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod blkif;
pub mod console;
pub mod netif;
pub mod reserve;
pub mod ring;
pub mod service;
pub mod statistics;
pub mod xenbus;
pub mod xs_wire;
