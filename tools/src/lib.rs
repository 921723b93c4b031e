//! The `mote` command: everything that happens on the developer's machine.
//!
//! What belongs here: checking a configuration, putting a machine together, running QEMU, showing
//! consoles and reports. What does not: anything the hypervisor decides (that is `mote-core`,
//! which this crate asks, so that the two never disagree).
//!
//! A `run` passes through here as [`config`] (what is wanted, every mistake found), [`boot`]
//! (machine, modules placed, device trees merged), [`session`] (QEMU and its console), [`console`]
//! (what the lines mean) and [`report`] (what each guest cost). `bench` and `compare` are runs
//! whose reports are put side by side. The other commands find a machine that [`running`] knows and ask its control domain. Before any of it [`setup`] sees that everything is there, and
//! [`build`] makes the images.

pub mod boot;
pub mod build;
pub mod cli;
pub mod command;
pub mod config;
pub mod console;
pub mod disk;
pub mod failure;
pub mod load;
pub mod progress;
pub mod report;
pub mod running;
pub mod session;
pub mod setup;
pub mod workspace;
