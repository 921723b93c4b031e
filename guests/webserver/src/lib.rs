//! An HTTP/1.1 server for one connection, over whatever reads and writes bytes: requests come in one after the other, each is handed to
//! a [`Handler`], and its [`Response`] goes out.
//!
//! The way of a request: [`serve`] reads into one buffer until `head` finds a whole head in it, then until `body` finds the whole body,
//! both within [`Limits`]; the handler answers; `write` says it to the client. A client that is slow, silent, too long-winded or plainly
//! wrong gets an answer that says so, if it can be told, and loses its connection; it costs no more than the limits allow.
//!
//! Nothing here knows what a socket or a clock is: those are the caller's, behind [`embedded_io_async`] and [`Clock`]. All of
//! it is tested on the host.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod body;
mod connection;
pub mod files;
mod head;
mod host;
pub mod json;
mod limit;
mod request;
mod response;
mod write;

#[cfg(test)]
mod tests;

pub use connection::{End, Handler, serve};
pub use host::host;
pub use limit::{Clock, Limits};
pub use request::Request;
pub use response::{Body, Response, Source};
