//! Pages of a web server: how long one takes that is asked for alone, and how long each takes where several clients ask.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::net::Ipv4Addr;
use core::pin::Pin;
use core::task::Poll;

use mote_unikernel::net::tcp::{Buffers, Error};
use mote_unikernel::net::{Network, Stream};
use mote_unikernel::println;
use mote_unikernel::time::Instant;

use crate::connect;

const PORT: u16 = 80;
const REQUEST: &[u8] = b"GET /style.css HTTP/1.1\r\nHost: server\r\n\r\n";
/// Room for an answer: its head and the page.
const ANSWER_MAX: usize = 8192;
const BUFFERS: Buffers = Buffers { receive: ANSWER_MAX, send: 2048 };
/// Requests before those that count, those that count of one client, and those of each of several.
const WARM_UP: usize = 20;
const ALONE: usize = 200;
const CLIENTS: usize = 8;
const EACH: usize = 50;

/// Asks `server` for pages, over connections that are kept.
pub async fn ask(network: &Network, server: Ipv4Addr) {
    let mut first = Client::new(network, server).await;
    first.ask(WARM_UP).await;
    let began = Instant::now();
    first.ask(ALONE).await;
    println!("bench: http_latency {}", began.elapsed().as_nanos() / ALONE as u128);

    let mut clients = vec![first];
    while clients.len() < CLIENTS {
        let mut client = Client::new(network, server).await;
        client.ask(1).await;
        clients.push(client);
    }
    let began = Instant::now();
    all(clients.iter_mut().map(|client| Box::pin(client.ask(EACH)) as Pin<Box<_>>).collect()).await;
    println!("bench: http_request {}", began.elapsed().as_nanos() / (CLIENTS * EACH) as u128);
    println!("bench: done");
    clients.into_iter().for_each(|client| client.stream.close());
}

/// A connection.
struct Client<'a> {
    stream: Stream<'a>,
    answer: Vec<u8>,
}

impl<'a> Client<'a> {
    async fn new(network: &'a Network, server: Ipv4Addr) -> Self {
        Self { stream: connect(network, server, PORT, BUFFERS).await, answer: vec![0; ANSWER_MAX] }
    }

    /// Asks so many times, each time when the answer before is there.
    async fn ask(&mut self, times: usize) {
        for _ in 0..times {
            self.page().await.expect("an answer");
        }
    }

    async fn page(&mut self) -> Result<(), Error> {
        let mut rest = REQUEST;
        while !rest.is_empty() {
            let sent = self.stream.send(rest).await?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        let (mut there, mut whole) = (0, None);
        while whole.is_none_or(|whole| there < whole) {
            let got = self.stream.receive(&mut self.answer[there..]).await?;
            assert!(got > 0, "the server closed the connection");
            there += got;
            whole = whole.or_else(|| length(&self.answer[..there]));
        }
        Ok(())
    }
}

/// The bytes of an answer as soon as its head, which says so, is there. Anything but a page is not what is to be measured.
fn length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n")?;
    let text = core::str::from_utf8(answer.get(..head)?).expect("a head in ASCII");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    let name = |line: &&str| line.get(..16).is_some_and(|name| name.eq_ignore_ascii_case("content-length: "));
    let length: usize = text.lines().find(name)?.get(16..)?.trim().parse().ok()?;
    Some(head + 4 + length)
}

/// Does all of these at once.
async fn all(mut tasks: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>) {
    poll_fn(|context| {
        tasks.retain_mut(|task| task.as_mut().poll(context).is_pending());
        if tasks.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
