//! What is answered.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;

/// An answer. Length, connection and framing headers are the server's business.
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, Cow<'static, str>)>,
    pub(crate) body: Body,
}

/// The content of an answer.
pub enum Body {
    /// Bytes that were there before.
    Static(&'static [u8]),
    /// Bytes that were made for it.
    Made(Vec<u8>),
    /// Piece by piece, sent in chunks, until the source ends or the client goes.
    Stream(Box<dyn Source>),
}

/// Where a body comes from piece by piece.
pub trait Source {
    /// The next piece, `None` at the end.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<Vec<u8>>> + '_>>;
}

impl Response {
    /// An answer with `body`, which is of media type `kind`.
    #[must_use]
    pub fn new(status: u16, kind: &'static str, body: Body) -> Self {
        Self { status, headers: Vec::new(), body }.with("Content-Type", kind)
    }

    /// An answer with nothing in it.
    #[must_use]
    pub const fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Static(b"") }
    }

    /// An answer of one line of text.
    #[must_use]
    pub fn text(status: u16, text: impl Into<Vec<u8>>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", Body::Made(text.into()))
    }

    /// An answer in JSON.
    #[must_use]
    pub fn json(status: u16, json: impl Into<Vec<u8>>) -> Self {
        Self::new(status, "application/json", Body::Made(json.into()))
    }

    /// The same with one more header. A value that would end the header is not sent.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        let value = value.into();
        if !value.bytes().any(|byte| byte.is_ascii_control()) {
            self.headers.push((name, value));
        }
        self
    }

    /// Its status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The body, if it is not a stream.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Static(bytes) => Some(bytes),
            Body::Made(bytes) => Some(bytes),
            Body::Stream(_) => None,
        }
    }

    /// The value of the first header with `name`.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// Whether the body is never sent with this status (RFC 9110, 6.4.1).
    pub(crate) const fn is_bodyless(&self) -> bool {
        matches!(self.status, 100..=199 | 204 | 304)
    }
}

/// The reason phrase that goes with a status, empty if there is none known: it tells a client nothing (RFC 9112, 4).
pub(crate) const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}
