//! Machines that run: how one is found, and how it is asked and told.
//!
//! `run` writes a [`State`] file while its machine runs; the other commands find the machine by it and talk to its control domain through a
//! [`Client`] of the API that `mote-api` describes.

mod client;
mod state;

pub use client::{Client, Console};
pub use state::{Announced, Service, State, Token};

use crate::failure::Result;

/// A client of the one machine that runs, or of the one called `name`.
///
/// # Errors
///
/// None runs, or several and it is not said which, or it has no network.
pub fn connect(name: Option<&str>) -> Result<Client> {
    Client::new(&State::find(name)?)
}
