//! The backend of Xen's network protocol, and the Ethernet switch behind it.
//!
//! A frame that a guest transmits is taken from its ring as requests ([`queue`](Queue)), which are checked and copied, all of a batch by one
//! hypercall, into pages of the backend's own ([`Frame`]). The [`Switch`] looks at its addresses and says where it goes; there it
//! waits until the guest asks to receive, and is copied into that guest's pages, or until the device has room ([`Uplink`]). [`Lan`] ties
//! these together and does everything in turns; it never waits. Who drives it waits, for a guest's event or the device's interrupt.
//!
//! What a frame lacks is done when it leaves, and only if whoever gets it cannot: the checksum is completed, a large one is cut into
//! segments. Between two Linux guests neither is ever done.
//!
//! The guests are hostile. A request that makes no sense is answered with an error; a ring that makes no sense ends that connection
//! ([`Broken`](mote_protocols::ring::Broken)). Memory is bounded by the [`Pool`], of which no port can have so much that others
//! are left with nothing.
//!
//! This room knows no hypercall, no device and no xenstore: a page that is shared, [`Frontend`] and [`Uplink`] are what it needs of the world.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod frame;
mod lan;
mod negotiation;
mod packet;
mod pool;
mod queue;
mod segments;
mod switch;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use frame::{Checksum, Frame, HEADROOM};
pub use lan::{Lan, PortId, Turn, Uplink};
pub use negotiation::{Abilities, Agreement, Events, Node, QUEUES_MAX, QueueKeys, before_connection};
pub use packet::{Layer4, Mac};
pub use pool::{Page, Pool};
pub use queue::{Frontend, Local, Queue, Transfer};
pub use switch::{Device, Identity, Switch};
