//! A request's body: where it ends, and chunks joined in place (RFC 9112, 7.1).

use core::ops::Range;

use crate::head::{Framing, Refusal, number};

/// Bytes of a chunk's line at most, extensions included.
const LINE_MAX: usize = 256;

/// A body that is all there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// Where it is in the buffer.
    pub body: Range<usize>,
    /// Where the next request begins.
    pub end: usize,
}

/// A body on its way in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    framing: Framing,
    start: usize,
    /// Where the body found so far ends, and from where on the buffer was not looked at yet.
    joined: usize,
    next: usize,
    limit: usize,
}

impl Reader {
    /// The body that begins at `start` and may take `limit` bytes.
    pub(crate) const fn new(framing: Framing, start: usize, limit: usize) -> Self {
        Self { framing, start, joined: start, next: start, limit }
    }

    /// Looks at what came; `None` says that there must be more. Chunks are moved together in `buffer`.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<Whole>, Refusal> {
        match self.framing {
            Framing::Length(length) => {
                if length > self.limit {
                    return Err(413);
                }
                let end = self.start + length;
                Ok((buffer.len() >= end).then_some(Whole { body: self.start..end, end }))
            }
            Framing::Chunked => match self.chunks(buffer)? {
                None if buffer.len().saturating_sub(self.start) > self.limit => Err(413),
                found => Ok(found),
            },
        }
    }

    fn chunks(&mut self, buffer: &mut [u8]) -> Result<Option<Whole>, Refusal> {
        loop {
            let rest = buffer.get(self.next..).unwrap_or_default();
            let Some((line, length)) = chunk_line(rest)? else { return Ok(None) };
            if length == 0 {
                return self.trailer(rest.get(line..).unwrap_or_default(), line);
            }
            if length > self.limit - (self.joined - self.start) {
                return Err(413);
            }
            let Some(end) = rest.get(line + length..line + length + 2) else { return Ok(None) };
            if end != b"\r\n" {
                return Err(400);
            }
            let from = self.next + line;
            buffer.copy_within(from..from + length, self.joined);
            self.joined += length;
            self.next = from + length + 2;
        }
    }

    /// Trailers are allowed and ignored.
    fn trailer(&self, rest: &[u8], line: usize) -> Result<Option<Whole>, Refusal> {
        let mut position = 0;
        loop {
            let Some(length) = line_length(rest.get(position..).unwrap_or_default())? else { return Ok(None) };
            position += length;
            if length == 2 {
                let end = self.next + line + position;
                return Ok(Some(Whole { body: self.start..self.joined, end }));
            }
        }
    }
}

/// The length of a chunk's line with its end, and the length that it gives the chunk.
fn chunk_line(rest: &[u8]) -> Result<Option<(usize, usize)>, Refusal> {
    let Some(length) = line_length(rest)? else { return Ok(None) };
    let line = rest.get(..length - 2).unwrap_or_default();
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    Ok(Some((length, number(digits, 16)?)))
}

/// The length of the line that `rest` begins with, its end included.
fn line_length(rest: &[u8]) -> Result<Option<usize>, Refusal> {
    match rest.iter().take(LINE_MAX).position(|byte| *byte == b'\n') {
        Some(position) if position > 0 && rest.get(position - 1) == Some(&b'\r') => Ok(Some(position + 1)),
        Some(_) => Err(400),
        None if rest.len() >= LINE_MAX => Err(400),
        None => Ok(None),
    }
}
