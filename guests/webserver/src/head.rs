//! A request's line and headers, and what they say of the rest (RFC 9112).

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
        Some(value) if lists(value, b"close") => false,
        Some(value) if lists(value, b"keep-alive") => true,
        _ => modern,
    };
    let framing = framing(one("Transfer-Encoding")?, one("Content-Length")?, modern)?;
    let expects_continue = modern && one("Expect")?.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
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
pub(crate) fn single<'b>(headers: &[Header<'b>], name: &str) -> Result<Option<&'b [u8]>, Refusal> {
    let mut all = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(header), None) => Ok(Some(header.value.trim_ascii())),
        _ => Err(400),
    }
}

/// Whether `word` is in a list separated by commas.
fn lists(value: &[u8], word: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(word))
}

fn framing(encoding: Option<&[u8]>, length: Option<&[u8]>, modern: bool) -> Result<Framing, Refusal> {
    match (encoding, length) {
        (None, None) => Ok(Framing::Length(0)),
        (None, Some(length)) => number(length, 10).map(Framing::Length),
        (Some(encoding), None) if modern => {
            if encoding.eq_ignore_ascii_case(b"chunked") {
                Ok(Framing::Chunked)
            } else {
                Err(501)
            }
        }
        _ => Err(400),
    }
}

/// Digits and nothing else: no sign, no space.
pub(crate) fn number(digits: &[u8], radix: u8) -> Result<usize, Refusal> {
    if digits.is_empty() {
        return Err(400);
    }
    digits.iter().try_fold(0_usize, |number, digit| {
        let digit = char::from(*digit).to_digit(radix.into()).ok_or(400_u16)?;
        // What has too many digits is too long as well.
        number.checked_mul(radix.into()).and_then(|number| number.checked_add(digit as usize)).ok_or(413)
    })
}
