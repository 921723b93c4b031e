//! Requests of web servers, each over a connection of its own: how long one takes from the first segment to the last byte, and how long it
//! takes until the next can begin.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use mote_unikernel::net::tcp::{Buffers, Error};
use mote_unikernel::net::{Network, Stream};
use mote_unikernel::println;
use mote_unikernel::time::Instant;

use crate::connect;

const PORT: u16 = 80;
const REQUEST: &[u8] = b"GET /api/info HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n";
const ANSWER_MAX: usize = 1024;
const BUFFERS: Buffers = Buffers { receive: ANSWER_MAX, send: 128 };
/// Requests before those that count.
const WARM_UP: usize = 20;

/// Asks who is always there, and then who is launched for it, so many times each.
pub async fn ask(network: &Network, standing: Ipv4Addr, summoned: Ipv4Addr, requests: usize) {
    for (name, server) in [("standing", standing), ("summoned", summoned)] {
        // It may not be there yet.
        connect(network, server, PORT, BUFFERS).await.close();
        for _ in 0..WARM_UP {
            request(network, server).await.expect("an answer");
        }
        let (began, mut times) = (Instant::now(), Vec::with_capacity(requests));
        for _ in 0..requests {
            times.push(request(network, server).await.expect("an answer"));
        }
        let each = began.elapsed().as_nanos() / requests.max(1) as u128;
        times.sort_unstable();
        let part = |per_mille: usize| times.get(times.len() * per_mille / 1000).copied().unwrap_or(0);
        println!("bench: {name}_latency {}", part(500));
        println!("bench: {name}_latency_p999 {}", part(999));
        println!("bench: {name}_request {each}");
    }
}

/// One request, and the nanoseconds until its answer was whole.
async fn request(network: &Network, server: Ipv4Addr) -> Result<u64, Error> {
    let began = Instant::now();
    let mut stream = Stream::connect(network.stack(), server, PORT, BUFFERS).await?;
    let mut rest = REQUEST;
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
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "not what is to be measured");
    stream.close();
    Ok(took)
}
