//! What a client asks for.

use core::str;

/// A request. All of it comes from the client.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET`, `POST` …
    pub method: &'a str,
    /// The path and the query as they were sent.
    pub target: &'a str,
    /// The body; empty if there was none.
    pub body: &'a [u8],
    pub(crate) headers: &'a [httparse::Header<'a>],
}

impl<'a> Request<'a> {
    /// A request as a client could send it, for tests of handlers.
    #[must_use]
    pub const fn new(method: &'a str, target: &'a str, headers: &'a [httparse::Header<'a>], body: &'a [u8]) -> Self {
        Self { method, target, body, headers }
    }

    /// The part of the target before the query, not decoded.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// The part of the target behind the question mark, not decoded.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The first header with `name`, if its value is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let header = self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        str::from_utf8(header.value).ok()
    }

    /// All headers, in the order in which they came: name and value.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.headers.iter().map(|header| (header.name, header.value))
    }
}
