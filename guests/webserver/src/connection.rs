//! A connection: requests in, answers out, one after the other.

use alloc::vec::Vec;
use core::future::Future;
use core::ops::Range;

use embedded_io_async::{Read, Write};
use httparse::EMPTY_HEADER;

use crate::body::{Reader, Whole};
use crate::head::{self, HEADERS_MAX, Head, Refusal};
use crate::limit::{Clock, Limits, before};
use crate::request::Request;
use crate::response::{Body, Response};
use crate::write::{self, Manner};

/// What answers requests.
pub trait Handler {
    /// The answer to `request`.
    fn handle(&self, request: Request<'_>) -> impl Future<Output = Response>;
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All was said.
    Done,
    /// The client closed it, or it broke.
    Gone,
    /// The client took too long.
    Slow,
    /// The client was refused with this status.
    Refused(u16),
}

/// Bytes by which the buffer grows.
const STEP: usize = 1024;

/// Serves the requests that come in by `stream` until one side has enough. The caller closes the stream.
pub async fn serve<S: Read + Write>(
    stream: &mut S,
    handler: &impl Handler,
    clock: &impl Clock,
    limits: &Limits,
) -> End {
    let mut incoming = Incoming { stream, clock, limits, buffer: Vec::new(), filled: 0 };
    for number in 1..=limits.requests {
        match incoming.serve_one(handler, number == limits.requests).await {
            Ok(true) => {}
            Ok(false) => return End::Done,
            Err(end) => return end,
        }
    }
    End::Done
}

struct Incoming<'a, S, C> {
    stream: &'a mut S,
    clock: &'a C,
    limits: &'a Limits,
    /// What came in and was not dealt with yet is in its first `filled` bytes.
    buffer: Vec<u8>,
    filled: usize,
}

impl<S: Read + Write, C: Clock> Incoming<'_, S, C> {
    /// Serves a request, and says whether another may follow.
    async fn serve_one(&mut self, handler: &impl Handler, last: bool) -> Result<bool, End> {
        if self.filled == 0 {
            let clock = self.clock;
            match before(clock.sleep(self.limits.idle), self.more()).await {
                Some(Ok(())) => {}
                // Between two requests it may go.
                Some(Err(_)) => return Ok(false),
                None => return Err(End::Slow),
            }
        }
        let clock = self.clock;
        let read = before(clock.sleep(self.limits.request), self.request()).await;
        let (head, whole) = match read {
            Some(Ok(request)) => request,
            Some(Err(Trouble::Refused(status))) => return self.refuse(status, End::Refused(status)).await,
            Some(Err(Trouble::End(end))) => return Err(end),
            None => return self.refuse(408, End::Slow).await,
        };
        let keep_alive = head.keep_alive && !last;
        let (response, manner) = self.answer(handler, head.length, whole.body, keep_alive).await;
        write::response(self.stream, self.clock, self.limits, response, manner).await?;
        self.forget(whole.end);
        Ok(manner.keep_alive)
    }

    /// Reads a request to its end.
    async fn request(&mut self) -> Result<(Head, Whole), Trouble> {
        let head = loop {
            match head::read(self.received()) {
                Ok(Some(head)) if head.length <= self.limits.head => break head,
                Ok(None) if self.filled < self.limits.head => self.more().await?,
                Ok(_) => return Err(Trouble::Refused(431)),
                Err(status) => return Err(Trouble::Refused(status)),
            }
        };
        let mut reader = Reader::new(head.framing, head.length, self.limits.body);
        let mut told = !head.expects_continue;
        loop {
            let received = self.buffer.get_mut(..self.filled).unwrap_or_default();
            if let Some(whole) = reader.read(received)? {
                return Ok((head, whole));
            }
            if !told {
                told = true;
                write::bytes(self.stream, self.clock, self.limits, b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            self.more().await?;
        }
    }

    async fn answer(
        &self,
        handler: &impl Handler,
        head: usize,
        body: Range<usize>,
        keep_alive: bool,
    ) -> (Response, Manner) {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let parsed = head::parse(self.buffer.get(..head).unwrap_or_default(), &mut headers);
        let Ok(Some((_, parsed))) = parsed else {
            // It was read before.
            return (Response::empty(500), Manner { keep_alive: false, head_only: false, chunks: false });
        };
        let request = Request {
            method: parsed.method.unwrap_or_default(),
            target: parsed.path.unwrap_or_default(),
            body: self.buffer.get(body).unwrap_or_default(),
            headers: parsed.headers,
        };
        let chunks = parsed.version == Some(1);
        let head_only = request.method == "HEAD";
        let response = handler.handle(request).await;
        let has_end = chunks || !matches!(response.body, Body::Stream(_));
        (response, Manner { keep_alive: keep_alive && has_end, head_only, chunks })
    }

    /// Tells the client why it is refused, as far as it listens.
    async fn refuse(&mut self, status: u16, end: End) -> Result<bool, End> {
        let manner = Manner { keep_alive: false, head_only: false, chunks: false };
        write::response(self.stream, self.clock, self.limits, Response::empty(status), manner).await?;
        Err(end)
    }

    fn received(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    /// Reads something. A buffer never has more room than the limits allow, and one step.
    async fn more(&mut self) -> Result<(), End> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.filled + STEP, 0);
        }
        let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
        match self.stream.read(room).await {
            Ok(0) | Err(_) => Err(End::Gone),
            Ok(length) => {
                self.filled = self.buffer.len().min(self.filled + length);
                Ok(())
            }
        }
    }

    /// Drops the first `length` bytes, which were dealt with.
    fn forget(&mut self, length: usize) {
        self.buffer.copy_within(length..self.filled, 0);
        self.filled -= length;
        if self.buffer.len() > 2 * STEP && self.filled <= STEP {
            self.buffer.truncate(STEP);
            self.buffer.shrink_to_fit();
        }
    }
}

/// Why a request was not read.
enum Trouble {
    Refused(Refusal),
    End(End),
}

impl From<End> for Trouble {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<Refusal> for Trouble {
    fn from(status: Refusal) -> Self {
        Self::Refused(status)
    }
}
