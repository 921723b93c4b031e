//! Requests of web servers, each over a connection of its own: how long one takes from the first segment to the last byte, and how long it
//! takes until the next can begin.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use mote_unikernel::net::tcp::{Buffers, Error};
use mote_unikernel::net::{Network, Stream};
use mote_unikernel::println;
use mote_unikernel::time::Instant;

use crate::connect;

const PORT: u16 = 80;
const ANSWER_MAX: usize = 2048;
const BUFFERS: Buffers = Buffers { receive: ANSWER_MAX, send: 128 };
/// Requests before those that count.
const WARM_UP: usize = 20;

/// Latencies that are told in one line.
const IN_A_LINE: usize = 16;

/// What is asked for, how often, and whether each latency is told.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Names and addresses of servers: `NAME@ADDRESS,NAME@ADDRESS`.
    pub servers: &'a str,
    /// The page.
    pub path: &'a str,
    /// Requests of each server.
    pub requests: usize,
    /// Whether each latency is told.
    pub each: bool,
}

/// Asks one server after the other. An address that is none is left out.
pub async fn ask(network: &Network, plan: Plan<'_>) {
    let servers = plan.servers.split(',').filter_map(|server| server.split_once('@'));
    for (name, server) in servers.filter_map(|(name, address)| Some((name, address.parse().ok()?))) {
        ask_one(network, name, server, plan).await;
    }
    println!("bench: done");
}

async fn ask_one(network: &Network, name: &str, server: Ipv4Addr, Plan { path, requests, each, .. }: Plan<'_>) {
    let words = format!("GET {path} HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n");
    // It may not be there yet.
    connect(network, server, PORT, BUFFERS).await.close();
    for _ in 0..WARM_UP {
        request(network, server, words.as_bytes()).await.expect("an answer");
    }
    let (began, mut times) = (Instant::now(), Vec::with_capacity(requests));
    for _ in 0..requests {
        times.push(request(network, server, words.as_bytes()).await.expect("an answer"));
    }
    let mean = began.elapsed().as_nanos() / requests.max(1) as u128;
    times.sort_unstable();
    if each {
        for some in times.chunks(IN_A_LINE) {
            println!("latencies: {name} {}", some.iter().map(|time| format!("{time} ")).collect::<String>());
        }
        return;
    }
    let part = |per_mille: usize| times.get(times.len() * per_mille / 1000).copied().unwrap_or(0);
    println!("bench: {name}_latency {}", part(500));
    println!("bench: {name}_latency_p999 {}", part(999));
    println!("bench: {name}_request {mean}");
}

/// One request, and the nanoseconds until its answer was whole.
async fn request(network: &Network, server: Ipv4Addr, words: &[u8]) -> Result<u64, Error> {
    let began = Instant::now();
    let stream = Stream::connect(network.stack(), server, PORT, BUFFERS).await?;
    let mut rest = words;
    while !rest.is_empty() {
        let sent = stream.send(rest).await?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    let (mut answer, mut there) = ([0; ANSWER_MAX], 0);
    loop {
        match stream.receive(answer.get_mut(there..).unwrap_or_default()).await? {
            0 => break,
            got => there += got,
        }
    }
    let took = began.elapsed().as_nanos() as u64;
    let is_page = answer.starts_with(b"HTTP/1.") && answer.get(8..13) == Some(b" 200 ");
    assert!(is_page, "not what is to be measured");
    stream.close();
    Ok(took)
}
