//! Sending an answer.

use alloc::string::String;
use core::fmt::Write as _;
use core::future::Future;

use embedded_io_async::{Read, Write};

use crate::connection::End;
use crate::limit::{Clock, Limits, before};
use crate::response::{Body, Response, Source, reason};

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

/// Sends `response`.
pub(crate) async fn response<S: Read + Write>(
    stream: &mut S,
    clock: &impl Clock,
    limits: &Limits,
    response: Response,
    manner: Manner,
) -> Result<(), End> {
    let head = head(&response, manner);
    bytes(stream, clock, limits, head.as_bytes()).await?;
    if !manner.head_only && !response.is_bodyless() {
        match response.body {
            Body::Static(content) => bytes(stream, clock, limits, content).await?,
            Body::Made(content) => bytes(stream, clock, limits, &content).await?,
            Body::Stream(mut source) => chunks(stream, clock, limits, &mut *source, manner.chunks).await?,
        }
    }
    in_time(clock, limits, stream.flush()).await
}

/// The status line and the headers.
fn head(response: &Response, manner: Manner) -> String {
    let mut head = String::with_capacity(256);
    // Writing to a string does not fail.
    let _ = write!(head, "HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
    for (name, value) in &response.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    match response.bytes() {
        _ if response.is_bodyless() => {}
        Some(content) => drop(write!(head, "Content-Length: {}\r\n", content.len())),
        None if manner.chunks => head.push_str("Transfer-Encoding: chunked\r\n"),
        // The end of the connection is the end of the body.
        None => {}
    }
    head.push_str(if manner.keep_alive { "\r\n" } else { "Connection: close\r\n\r\n" });
    head
}

/// Sends `content`, for each piece of which the client has a time.
pub(crate) async fn bytes<S: Write>(
    stream: &mut S,
    clock: &impl Clock,
    limits: &Limits,
    content: &[u8],
) -> Result<(), End> {
    for piece in content.chunks(Limits::PIECE) {
        in_time(clock, limits, stream.write_all(piece)).await?;
    }
    Ok(())
}

async fn in_time<E>(clock: &impl Clock, limits: &Limits, work: impl Future<Output = Result<(), E>>) -> Result<(), End> {
    match before(clock.sleep(limits.piece), work).await {
        Some(Ok(())) => Ok(()),
        Some(Err(_)) => Err(End::Gone),
        None => Err(End::Slow),
    }
}

/// Sends what `source` gives, until it ends or the client does.
async fn chunks<S: Read + Write>(
    stream: &mut S,
    clock: &impl Clock,
    limits: &Limits,
    source: &mut dyn Source,
    framed: bool,
) -> Result<(), End> {
    loop {
        // A client that says anything meanwhile is one that has no more interest.
        let piece = before(said_something(stream), source.next()).await.ok_or(End::Gone)?;
        let Some(piece) = piece else { break };
        if piece.is_empty() {
            continue;
        }
        if framed {
            let mut size = String::with_capacity(10);
            let _ = write!(size, "{:x}\r\n", piece.len());
            bytes(stream, clock, limits, size.as_bytes()).await?;
        }
        bytes(stream, clock, limits, &piece).await?;
        if framed {
            bytes(stream, clock, limits, b"\r\n").await?;
        }
        in_time(clock, limits, stream.flush()).await?;
    }
    if framed { bytes(stream, clock, limits, b"0\r\n\r\n").await } else { Ok(()) }
}

async fn said_something(stream: &mut impl Read) {
    let mut said = [0; 1];
    let _ = stream.read(&mut said).await;
}
