//! Xenstore: the small tree of nodes through which domains and the toolstack find each other (`docs/misc/xenstore.txt`).
//!
//! This room holds the protocol's two ends as plain state machines: no hypercall, no clock, no page of its own. A guest that
//! serves or uses a store ties them to pages and event channels; here, tests do.
//!
//! The path of a request: [`Connection`] takes its bytes from a domain's ring page, [`Server::handle`] dispatches it
//! (`requests`), a `View` asks permissions and quotas and changes the tree or a transaction, watches that match leave events for their
//! clients, and [`Connection`] puts answers and events into rings, as far as there is room. [`Client`] is the other end.
//!
//! What comes from a domain is hostile: nothing here panics on it, nothing loops or grows without a bound ([`Limits`]).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod client;
mod connection;
mod error;
mod ledger;
pub mod libxl;
mod local;
mod node;
mod path;
mod permissions;
mod requests;
mod ring;
mod saved;
mod server;
mod session;
mod transaction;
mod tree;
mod trie;
mod view;
mod watch;

pub use client::{Client, TooLong};
pub use connection::{Connection, Turn};
pub use error::Error;
pub use ledger::{Limits, Usage};
pub use local::{Event, Local};
pub use permissions::{Access, Permission, Permissions};
pub use saved::Malformed;
pub use server::{Effect, INTRODUCED, RELEASED, Server};
pub use session::Name;
pub use view::Leaf;

#[cfg(test)]
mod tests;
