//! Sending an answer.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::mem;

use embedded_io_async::{Read, Write};

use crate::connection::End;
use crate::limit::{Clock, Limits, before};
use crate::response::{Body, Response, reason};

/// How an answer is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Whether the connection stays.
    pub keep_alive: bool,
    /// Whether the client wants the head alone.
    pub head_only: bool,
    /// Whether the client knows what chunks are.
    pub chunks: bool,
}

/// Sends `response`: its head, and then what there is of its body.
pub(crate) async fn response<S: Read + Write>(
    stream: &mut S,
    clock: &impl Clock,
    limits: &Limits,
    response: Response,
    manner: Manner,
) -> Result<(), End> {
    let mut piece = Cow::Owned(head(&response, manner).into_bytes());
    let mut body = if manner.head_only || response.is_bodyless() { Body::Static(b"") } else { response.body };
    loop {
        bytes(stream, clock, limits, &piece).await?;
        piece = match &mut body {
            Body::Static(b"") => return Ok(()),
            Body::Static(content) => Cow::Borrowed(mem::take(content)),
            Body::Made(content) => {
                let content = mem::take(content);
                body = Body::Static(b"");
                Cow::Owned(content)
            }
            // A client that says anything meanwhile is one that has no more interest.
            Body::Stream(source) => match before(said_something(stream), source.next()).await.ok_or(End::Gone)? {
                Some(content) => Cow::Owned(framed(content, manner.chunks)),
                None => {
                    body = Body::Static(b"");
                    Cow::Borrowed(if manner.chunks { b"0\r\n\r\n" } else { b"" })
                }
            },
        };
    }
}

/// The status line and the headers.
fn head(response: &Response, manner: Manner) -> String {
    let mut head = String::with_capacity(256);
    let mut line = |line: core::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = head.write_fmt(line);
    };
    line(format_args!("HTTP/1.1 {} {}\r\n", response.status, reason(response.status)));
    for (name, value) in &response.headers {
        line(format_args!("{name}: {value}\r\n"));
    }
    match response.bytes() {
        _ if response.is_bodyless() => {}
        Some(content) => line(format_args!("Content-Length: {}\r\n", content.len())),
        None if manner.chunks => line(format_args!("Transfer-Encoding: chunked\r\n")),
        // The end of the connection is the end of the body.
        None => {}
    }
    head.push_str(if manner.keep_alive { "\r\n" } else { "Connection: close\r\n\r\n" });
    head
}

/// A piece of a stream as it is sent: nothing if there is nothing in it, for an empty chunk would be the end.
fn framed(content: Vec<u8>, chunks: bool) -> Vec<u8> {
    if !chunks || content.is_empty() {
        return content;
    }
    let mut chunk = format!("{:x}\r\n", content.len()).into_bytes();
    chunk.extend_from_slice(&content);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// Sends `content`, for each piece of which the client has a time.
pub(crate) async fn bytes<S: Write>(
    stream: &mut S,
    clock: &impl Clock,
    limits: &Limits,
    content: &[u8],
) -> Result<(), End> {
    for piece in content.chunks(Limits::PIECE) {
        let work = async {
            stream.write_all(piece).await?;
            stream.flush().await
        };
        match before(clock.sleep(limits.piece), work).await {
            Some(Ok(())) => {}
            Some(Err(_)) => return Err(End::Gone),
            None => return Err(End::Slow),
        }
    }
    Ok(())
}

async fn said_something(stream: &mut impl Read) {
    let mut said = [0; 1];
    let _ = stream.read(&mut said).await;
}
