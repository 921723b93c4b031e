//! A request's line and headers, and what they say of the rest (RFC 9112).

use core::str;

use httparse::{EMPTY_HEADER, Error, Header, Status};

/// Headers that a request may have.
pub(crate) const HEADERS_MAX: usize = 32;

/// How the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes.
    Length(usize),
    /// With the chunk of length 0.
    Chunked,
}

/// What is known of a request when its head is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of the head.
    pub length: usize,
    pub framing: Framing,
    /// Whether the client wants the connection to stay.
    pub keep_alive: bool,
    /// Whether the client waits for a word before it sends the body.
    pub expects_continue: bool,
}

/// The status with which a request is refused.
pub(crate) type Refusal = u16;

/// Reads the head at the start of `bytes`, or says that it is not all there.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Head>, Refusal> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let Some((length, request)) = parse(bytes, &mut headers)? else { return Ok(None) };
    let modern = request.version == Some(1);
    let one = |name| single(request.headers, name);
    if modern && one("Host")?.is_none() {
        return Err(400);
    }
    let keep_alive = match one("Connection")? {
        Some(value) if lists(value, "close") => false,
        Some(value) if lists(value, "keep-alive") => true,
        _ => modern,
    };
    let framing = framing(one("Transfer-Encoding")?, one("Content-Length")?, modern)?;
    let expects_continue = modern && one("Expect")?.is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
    Ok(Some(Head { length, framing, keep_alive, expects_continue }))
}

/// The request at the start of `bytes`, and how long it is.
pub(crate) fn parse<'h, 'b>(
    bytes: &'b [u8],
    headers: &'h mut [Header<'b>; HEADERS_MAX],
) -> Result<Option<(usize, httparse::Request<'h, 'b>)>, Refusal> {
    let mut request = httparse::Request::new(headers);
    match request.parse(bytes) {
        Ok(Status::Complete(length)) => Ok(Some((length, request))),
        Ok(Status::Partial) => Ok(None),
        Err(Error::TooManyHeaders) => Err(431),
        Err(Error::Version) => Err(505),
        Err(_) => Err(400),
    }
}

/// A header that may be there once: two of them are what request smuggling is made of.
fn single<'b>(headers: &[Header<'b>], name: &str) -> Result<Option<&'b str>, Refusal> {
    let mut all = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(header), None) => str::from_utf8(header.value).map(|value| Some(value.trim())).map_err(|_| 400),
        _ => Err(400),
    }
}

/// Whether `word` is in a list separated by commas.
fn lists(value: &str, word: &str) -> bool {
    value.split(',').any(|item| item.trim().eq_ignore_ascii_case(word))
}

fn framing(encoding: Option<&str>, length: Option<&str>, modern: bool) -> Result<Framing, Refusal> {
    match (encoding, length) {
        (None, None) => Ok(Framing::Length(0)),
        (None, Some(length)) => number(length, 10).map(Framing::Length),
        (Some(encoding), None) if modern => {
            if encoding.eq_ignore_ascii_case("chunked") {
                Ok(Framing::Chunked)
            } else {
                Err(501)
            }
        }
        _ => Err(400),
    }
}

/// Digits and nothing else: no sign, no space.
pub(crate) fn number(digits: &str, radix: u32) -> Result<usize, Refusal> {
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(400);
    }
    // What has too many digits is too long as well.
    usize::from_str_radix(digits, radix).map_err(|_| 413)
}
