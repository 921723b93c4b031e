//! Byte streams in, byte streams out.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use core::cell::Cell;
use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use embedded_io_async::{ErrorType, Read, Write};

use crate::files::{self, File};
use crate::json::Text;
use crate::{Body, Clock, End, Handler, Limits, Request, Response, Source, serve};

/// A client: what it sends, piece by piece, and what it was sent.
struct Client {
    pieces: Vec<Vec<u8>>,
    /// Whether it stays when it has said all.
    stays: bool,
    /// Bytes that it accepts.
    accepts: usize,
    received: Vec<u8>,
}

impl Client {
    fn new(pieces: &[&[u8]]) -> Self {
        let pieces = pieces.iter().rev().map(|piece| piece.to_vec()).collect();
        Self { pieces, stays: false, accepts: usize::MAX, received: Vec::new() }
    }

    fn silent_at_the_end(mut self) -> Self {
        self.stays = true;
        self
    }

    fn text(&self) -> &str {
        core::str::from_utf8(&self.received).expect("text")
    }

    fn statuses(&self) -> Vec<&str> {
        self.text().split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect()
    }
}

impl ErrorType for Client {
    type Error = Infallible;
}

impl Read for Client {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|_| {
            let Some(piece) = self.pieces.last_mut() else {
                return if self.stays { Poll::Pending } else { Poll::Ready(Ok(0)) };
            };
            let length = piece.len().min(buffer.len());
            buffer[..length].copy_from_slice(&piece[..length]);
            piece.drain(..length);
            if piece.is_empty() {
                self.pieces.pop();
            }
            Poll::Ready(Ok(length))
        })
        .await
    }
}

impl Write for Client {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        poll_fn(|_| {
            let length = bytes.len().min(self.accepts).min(100);
            if length == 0 {
                return Poll::Pending;
            }
            self.accepts -= length;
            self.received.extend_from_slice(&bytes[..length]);
            Poll::Ready(Ok(length))
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A second passes whenever nobody can go on.
#[derive(Default)]
struct Seconds(Cell<u64>);

impl Clock for Seconds {
    async fn sleep(&self, length: Duration) {
        let until = self.0.get() + length.as_secs();
        poll_fn(|_| if self.0.get() >= until { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// Tells the client what it asked for.
struct Mirror;

impl Handler for Mirror {
    async fn handle(&self, request: Request<'_>) -> Response {
        match request.path() {
            "/missing" => Response::text(404, "missing\n"),
            "/empty" => Response::empty(204),
            "/large" => Response::new(200, "text/plain", Body::Static(&[b'x'; 10_000])),
            "/stream" => Response::new(200, "text/plain", Body::Stream(Box::new(Pieces(3)))),
            "/endless" => Response::new(200, "text/plain", Body::Stream(Box::new(Pieces(usize::MAX)))),
            "/split" => Response::empty(200).with("X-Evil", "a\r\nX-Other: b").with("X-Good", "c"),
            path => {
                let body = String::from_utf8_lossy(request.body);
                Response::text(200, format!("{} {path} {body}", request.method))
            }
        }
    }
}

struct Pieces(usize);

impl Source for Pieces {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<Vec<u8>>> + '_>> {
        Box::pin(async move {
            self.0 = self.0.checked_sub(1)?;
            if self.0 > 1000 {
                core::future::pending::<()>().await;
            }
            Some(self.0.to_string().into_bytes())
        })
    }
}

fn run_with(client: &mut Client, limits: &Limits) -> (End, u64) {
    let clock = Seconds::default();
    let mut work = pin!(serve(client, &Mirror, &clock, limits));
    for _ in 0..10_000 {
        if let Poll::Ready(end) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return (end, clock.0.get());
        }
        clock.0.set(clock.0.get() + 1);
    }
    panic!("it never ends");
}

fn run(client: &mut Client) -> End {
    run_with(client, &Limits::default()).0
}

/// What comes back for `request` alone.
fn answer(request: &[u8]) -> String {
    let mut client = Client::new(&[request]);
    run(&mut client);
    client.text().to_string()
}

#[test]
fn a_request_is_answered() {
    let answer = answer(b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\nContent-Length: 7\r\n") && answer.ends_with("\r\n\r\nGET /a "), "{answer}");
}

#[test]
fn requests_in_one_piece_and_in_pieces_of_one_byte_are_the_same() {
    let requests = b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
        POST /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x=y\r\nf\r\n0\r\nT: u\r\n\r\n\
        GET /4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut whole = Client::new(&[requests]);
    assert_eq!(run(&mut whole), End::Done);
    let bytes: Vec<&[u8]> = requests.chunks(1).collect();
    let mut pieces = Client::new(&bytes);
    assert_eq!(run(&mut pieces), End::Done);
    assert_eq!(whole.text(), pieces.text());
    for expected in ["GET /1 ", "POST /2 abc", "POST /3 def", "GET /4 "] {
        assert!(whole.text().contains(expected), "{expected}");
    }
    assert_eq!(whole.statuses(), ["200"; 4]);
    assert!(whole.text().contains("Connection: close\r\n"));
}

#[test]
fn a_head_request_gets_the_head_alone() {
    let answer = answer(b"HEAD /large HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.contains("Content-Length: 10000\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn no_content_has_neither_length_nor_body() {
    let answer = answer(b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(answer, "HTTP/1.1 204 No Content\r\n\r\n");
}

#[test]
fn a_stream_is_sent_in_chunks_and_to_an_old_client_until_the_end() {
    let chunked = answer(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(chunked.contains("Transfer-Encoding: chunked\r\n"), "{chunked}");
    assert!(chunked.ends_with("\r\n\r\n1\r\n2\r\n1\r\n1\r\n1\r\n0\r\n0\r\n\r\n"), "{chunked}");
    let plain = answer(b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(plain.contains("Connection: close\r\n") && plain.ends_with("\r\n\r\n210"), "{plain}");
}

#[test]
fn a_stream_ends_with_its_client() {
    let mut client = Client::new(&[b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"]);
    assert_eq!(run(&mut client), End::Gone);
}

#[test]
fn an_old_client_stays_only_if_it_says_so() {
    let mut client = Client::new(&[b"GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n"]);
    assert_eq!(run(&mut client), End::Done);
    assert_eq!(client.statuses(), ["200"]);
    let mut client = Client::new(&[b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n"]);
    assert_eq!(run(&mut client), End::Done);
    assert_eq!(client.statuses(), ["200"; 2]);
}

#[test]
fn what_is_wrong_is_refused_with_its_status() {
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(5000));
    let many_headers = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(40));
    let long_chunk_line = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;{}\r\nx\r\n0\r\n\r\n",
        "y".repeat(300)
    );
    let cases: &[(u16, &[u8])] = &[
        (400, b"nonsense\r\n\r\n"),
        (400, b"\x00\x01\x02\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
        (505, b"GET / HTTP/2.0\r\nHost: x\r\n\r\n"),
        (431, long_target.as_bytes()),
        (431, many_headers.as_bytes()),
        (413, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n"),
        (413, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\nx"),
        (400, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
        (400, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx"),
        (501, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\nx"),
        (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n"),
        (413, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"),
        (413, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffffff\r\n"),
        (400, long_chunk_line.as_bytes()),
    ];
    for (status, request) in cases {
        let mut client = Client::new(&[request, b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"]);
        let end = run(&mut client);
        let shown = String::from_utf8_lossy(request).chars().take(90).collect::<String>();
        assert_eq!(end, End::Refused(*status), "{shown}");
        assert_eq!(client.statuses(), [status.to_string().as_str()], "{shown}");
        assert!(client.text().contains("Connection: close"), "{shown}");
    }
}

#[test]
fn many_small_chunks_cannot_exceed_the_limit() {
    let mut request = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    request.extend(b"1\r\nx\r\n".repeat(10_000));
    let mut client = Client::new(&[&request]);
    assert_eq!(run(&mut client), End::Refused(413));
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut client = Client::new(&[head, b"ok"]);
    assert_eq!(run(&mut client), End::Done);
    assert_eq!(client.statuses(), ["100", "200"]);
    let mut client = Client::new(&[&head[..head.len() - 4], b"0000\r\n\r\n"]);
    assert_eq!(run(&mut client), End::Refused(413));
    assert_eq!(client.statuses(), ["413"]);
}

#[test]
fn a_silent_client_loses_its_connection() {
    let limits = Limits::default();
    let mut client = Client::new(&[]).silent_at_the_end();
    assert_eq!(run_with(&mut client, &limits), (End::Slow, limits.idle.as_secs()));
    assert_eq!(client.text(), "");
}

#[test]
fn a_client_that_stops_in_the_middle_is_told_so() {
    for piece in [&b"GET / HT"[..], b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"] {
        let mut client = Client::new(&[piece]).silent_at_the_end();
        assert_eq!(run(&mut client), End::Slow);
        assert_eq!(client.statuses(), ["408"]);
    }
}

#[test]
fn a_client_that_does_not_read_loses_its_connection() {
    let limits = Limits::default();
    let mut client = Client::new(&[b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"]).silent_at_the_end();
    client.accepts = 5000;
    assert_eq!(run_with(&mut client, &limits), (End::Slow, limits.piece.as_secs()));
    assert_eq!(client.received.len(), 5000);
}

#[test]
fn a_connection_carries_no_more_requests_than_it_may() {
    let requests = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(5);
    let mut client = Client::new(&[&requests]);
    let (end, _) = run_with(&mut client, &Limits { requests: 3, ..Limits::default() });
    assert_eq!(end, End::Done);
    assert_eq!(client.statuses(), ["200"; 3]);
    assert_eq!(client.text().matches("Connection: close").count(), 1);
}

#[test]
fn a_header_cannot_smuggle_another() {
    let answer = answer(b"GET /split HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(!answer.contains("X-Other") && answer.contains("X-Good: c\r\n"), "{answer}");
}

#[test]
fn any_request_cut_anywhere_or_changed_anywhere_ends_in_bounded_time() {
    let request = b"POST /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n";
    for position in 0..request.len() {
        run(&mut Client::new(&[&request[..position]]));
        for byte in [0, b'\n', b'\r', b' ', b':', b'f', b';', 0x80, 0xff] {
            let mut changed = request.to_vec();
            changed[position] = byte;
            run(&mut Client::new(&[&changed]));
        }
    }
    let mut noise = vec![0_u8; 4000];
    let mut state = 1_u32;
    for _ in 0..200 {
        for byte in &mut noise {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        run(&mut Client::new(&[&noise]));
    }
}

#[test]
fn a_file_is_sent_once_to_whoever_remembers_it() {
    const FILES: &[File] = &[File::new("/", "text/html", b"<html>"), File::new("/b", "text/css", b"")];
    let ask = |method, target, known: Option<&str>| {
        let header = known.map(|known| httparse::Header { name: "If-None-Match", value: known.as_bytes() });
        let headers: Vec<_> = header.into_iter().collect();
        files::answer(FILES, &Request::new(method, target, &headers, b""))
    };
    let first = ask("GET", "/?query", None).expect("a file");
    assert_eq!((first.status(), first.bytes()), (200, Some(&b"<html>"[..])));
    let tag = first.header("ETag").expect("a tag").to_string();
    let second = ask("GET", "/", Some(&format!("\"other\", {tag}"))).expect("a file");
    assert_eq!((second.status(), second.bytes()), (304, Some(&b""[..])));
    assert_eq!(ask("GET", "/b", Some(&tag)).expect("a file").status(), 200);
    assert_eq!(ask("POST", "/b", None).expect("a file").status(), 405);
    assert!(ask("GET", "/c", None).is_none() && ask("GET", "/../b", None).is_none());
}

#[test]
fn text_in_json_is_one_string() {
    assert_eq!(Text("a\"b\\c\n\u{e9}").to_string(), "\"a\\\"b\\\\c\\u000a\u{e9}\"");
}
