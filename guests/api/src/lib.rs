//! The control domain's HTTP API: what a client may ask, and what it is answered.
//!
//! What belongs here: routes, the check of the token, what requests and answers look like, and every reason to refuse one. What does not:
//! how bytes come and go, which `mote-webserver` knows, and how domains are made, which is behind [`Toolstack`].
//!
//! The way of a request: [`Api::handle`] checks the token, `route` finds who answers, and one function of `domains`, `images` or `machine`
//! asks the toolstack and writes the answer. Whatever is refused is refused before anything is changed, with a [`model::Problem`] in it
//! that says what is wrong and what to do. `openapi.yaml` describes all of it; a test holds it against the code.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod definition;
mod domains;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod image_store;
mod images;
mod json;
mod machine;
mod metrics;
pub mod model;
mod problem;
mod route;
mod scrollback;
mod tally;
#[cfg(test)]
mod tests;
mod token;
mod toolstack;

use mote_webserver::{Request, Response};

pub use definition::MAX_TREE;
pub use domains::MAX_INPUT;
pub use image_store::ImageStore;
pub use images::PIECE;
pub use problem::Refusal;
pub use route::ROUTES;
pub use scrollback::Scrollback;
pub use tally::{End, Tally};
pub use token::Token;
pub use toolstack::{Modules, Own, Said, Toolstack, Work};

/// Bytes of a request's body that the API can need.
pub const MAX_BODY: usize = PIECE;

/// The API of a machine.
#[derive(Clone, Debug)]
pub struct Api {
    token: Token,
}

impl Api {
    /// An API for who knows `token`.
    #[must_use]
    pub const fn new(token: Token) -> Self {
        Self { token }
    }

    /// Answers a request, with what `toolstack` knows and does.
    pub fn handle(&self, request: &Request<'_>, toolstack: &mut impl Toolstack) -> Response {
        let answer = route::answer(request, toolstack, |request| self.token.is_in(request));
        answer.unwrap_or_else(Into::into)
    }
}
