//! Files that are part of the program.

use alloc::format;
use alloc::string::String;

use crate::request::Request;
use crate::response::{Body, Response};

/// A file.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Where it is found: `/style.css`.
    path: &'static str,
    /// Its media type.
    kind: &'static str,
    content: &'static [u8],
    /// Says which version it is.
    tag: u64,
}

impl File {
    /// The file with `content`, of media type `kind`, that is found at `path`.
    #[must_use]
    pub const fn new(path: &'static str, kind: &'static str, content: &'static [u8]) -> Self {
        Self { path, kind, content, tag: fingerprint(content) }
    }

    fn tag(&self) -> String {
        format!("\"{:016x}\"", self.tag)
    }
}

/// Answers with the file that `request` asks for, `None` if there is none. A client that has it already is told so.
#[must_use]
pub fn answer(files: &[File], request: &Request<'_>) -> Option<Response> {
    let file = files.iter().find(|file| file.path == request.path())?;
    if !matches!(request.method, "GET" | "HEAD") {
        return Some(Response::empty(405).with("Allow", "GET, HEAD"));
    }
    let tag = file.tag();
    let known = request.header("If-None-Match").unwrap_or_default().as_bytes();
    let is_known = |known: &[u8]| known == tag.as_bytes() || known == b"*";
    let response = if known.split(|byte| *byte == b',').any(|known| is_known(known.trim_ascii())) {
        Response::empty(304)
    } else {
        Response::new(200, file.kind, Body::Static(file.content))
    };
    Some(response.with("ETag", tag).with("Cache-Control", "no-cache"))
}

/// FNV-1a: different for different versions of a file, which nobody makes alike on purpose.
const fn fingerprint(content: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut index = 0;
    while index < content.len() {
        hash = (hash ^ content[index] as u64).wrapping_mul(0x0100_0000_01b3);
        index += 1;
    }
    hash
}
