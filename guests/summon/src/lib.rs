//! A machine for every TCP connection: the proxy that stands between the network and machines that are launched when somebody calls.
//!
//! A [`Service`] is a template and the address that its clones have. Whoever calls that address speaks with the [`Summoner`] first: it
//! answers ARP, ICMP echo and SYNs itself, the latter with cookies, for which nothing is kept. An ACK with a right cookie proves that the
//! caller is where he says, and only that launches a machine. The machine finds the caller's SYN in its ring as if it had come from the
//! network; its SYN-ACK is swallowed, for the caller has had one. From there on frames are passed on with sequence numbers shifted by
//! what is between the cookie and the number that the machine chose.
//!
//! # How it is driven
//! Who drives it owns the links and the machines. It hands in what happens, and then does what [`Actions`] say, in their order:
//!
//! - [`Summoner::from_outside`] with each frame of the network, before the switch looks at it; what comes back is not for a service.
//! - On [`Action::Launch`] it clones the template, still paused, and calls [`Summoner::launched`], or [`Summoner::gone`] if it cannot.
//!   What follows until the actions are done are the first frames of the machine's ring: it should run only then.
//! - [`Summoner::from_machine`] with each frame that a machine sends.
//! - [`Summoner::gone`] when a machine has ended, by itself or on [`Action::End`], which may come while it is still being launched. Each
//!   [`Action::Launch`] has exactly one `gone`.
//! - [`Summoner::tick`] at the time that [`Summoner::next_tick`] says.
//!
//! ```text
//! while let Some(action) = actions.pop_front() {
//!     match action {
//!         Action::Launch { machine, service, template } => match clone(template) {
//!             Ok(clone) => { clones.insert(machine, clone); summoner.launched(machine, now, &mut actions) }
//!             Err(_) => summoner.gone(machine, now, &mut actions),
//!         },
//!         Action::End(machine) => …, // and `gone` when it is
//!         Action::ToMachine(machine, parcel) => …,
//!         Action::ToOutside(parcel) => …, // to the switch, by its destination
//!         Action::Discard(frame) => pool.give(frame),
//!     }
//! }
//! ```
//!
//! A machine should end only when the client has acknowledged all that it has sent: what gets lost after that is repeated by nobody but
//! for its FIN, and without a FIN the client's connection is reset.
//!
//! # What is bounded
//! All frames are hostile. Nothing is allocated for a frame of an open connection, nothing is kept for a SYN or a wrong ACK; connections,
//! machines, frames that wait and memories of what has ended are limited by [`Limits`] and the constants beside what they bound.
//! Frames are changed in place. A frame's lengths are checked against what of it is there, and what is odd is dropped: TCP repairs it.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod action;
mod calls;
mod checksum;
mod client;
mod connection;
mod cookie;
mod flow;
mod inside;
mod limiter;
mod machine;
mod make;
mod outside;
mod packet;
mod placing;
mod service;
mod services;
mod slots;
mod summoner;
mod time;
mod wire;

#[cfg(test)]
mod tests;

pub use action::{Action, Actions, MachineId, Parcel, Short};
pub use mote_netback::{Checksum, Mac};
pub use packet::Packet;
pub use service::{Counters, Network, Policy, Refusal, Service, ServiceId};
pub use summoner::{Limits, Summoner};
