//! Measures a network between two unikernels: one sends as many bytes as it is asked for, the other takes them and says how long it took.
//!
//! Arguments: `ip=10.0.2.30/24`, and on the end that asks `server=10.0.2.31 bytes=10000000`, and `times=10` to ask
//! so many times; `pages=10.0.2.31` for the pages of a web server; or `servers=standing@10.0.2.31,summoned@10.0.2.32 requests=1000` for
//! requests of one server after the other, over connections of their own, with `path=/` for another page than `/api/info`, and `each` to be
//! told each latency; or `host` to do what the machine outside says, which connects.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod host;
mod pages;
mod requests;

use alloc::vec::Vec;
use core::cell::OnceCell;
use core::net::Ipv4Addr;

use mote_unikernel::executor::{self, Executor};
use mote_unikernel::net::tcp::Buffers;
use mote_unikernel::net::{Address, Fixed, Listener, Network, Stream};
use mote_unikernel::time::Instant;
use mote_unikernel::xen::store::Store;
use mote_unikernel::{Machine, power, println};

use requests::Plan;

mote_unikernel::entry!(main);

const PORT: u16 = 5001;
/// How long a domain is there after its last figure: Xen's console daemon may lose the words of one that ends at once.
const PAUSE: core::time::Duration = core::time::Duration::from_millis(100);
/// Bytes of data in a full frame.
const FRAME: u128 = 1460;
const BUFFERS: Buffers = Buffers { receive: 65535, send: 65535 };

fn main(machine: Machine) {
    let network = OnceCell::new();
    executor::run(async {
        let fixed = machine.argument("ip").and_then(|ip| Fixed::read(ip, machine.argument("gateway"), None));
        let store = Store::connect().await.expect("a xenstore");
        match Network::open(&store, &machine, fixed.map_or(Address::Dhcp, Address::Fixed)).await {
            Ok(found) => {
                let _ = network.set(found);
            }
            Err(trouble) => println!("netload: {trouble}"),
        }
    });
    let Some(network) = network.get() else { return };
    let mut executor = Executor::new();
    executor.spawn(network.run());
    executor.spawn(network.follow());
    executor.spawn(async {
        let address = |name| machine.argument(name).and_then(|address| address.parse().ok());
        let is_told = |wanted| machine.arguments().split_ascii_whitespace().any(|word| word == wanted);
        if let Some(server) = address("server") {
            let bytes = machine.number("bytes").unwrap_or(1_000_000);
            ask(network, server, bytes, machine.number("times").unwrap_or(1)).await;
        } else if let Some(server) = address("pages") {
            pages::ask(network, server).await;
        } else if let Some(servers) = machine.argument("servers") {
            let path = machine.argument("path").unwrap_or("/api/info");
            let requests = machine.number("requests").unwrap_or(1000) as usize;
            requests::ask(network, Plan { servers, path, requests, each: is_told("each") }).await;
        } else if is_told("host") {
            host::serve(network).await;
        } else {
            answer(network).await;
        }
        executor::sleep(PAUSE).await;
        power::shutdown();
    });
    executor.run();
}

/// What is sent, and once more, so that there is a part of it from each byte on: nothing can be missing or there twice unseen.
struct Pattern(Vec<u8>);

impl Pattern {
    const PERIOD: usize = 16381;

    fn new() -> Self {
        let byte = |place: usize| ((place % Self::PERIOD) as u32).wrapping_mul(0x9e37_79b1).to_be_bytes()[0];
        Self((0..2 * Self::PERIOD).map(byte).collect())
    }

    /// At most `most` bytes that come after the first `sent`.
    fn after(&self, sent: u64, most: u64) -> &[u8] {
        let start = (sent % Self::PERIOD as u64) as usize;
        &self.0[start..start + most.min(Self::PERIOD as u64) as usize]
    }
}

async fn ask(network: &Network, server: Ipv4Addr, bytes: u64, times: u64) {
    let began = Instant::now();
    let mut stream = connect(network, server, PORT, BUFFERS).await;
    println!("netload: connected after {} us", began.elapsed().as_micros());
    let mut ping = [0; 1];
    let began = Instant::now();
    for _ in 0..100 {
        stream.send(&[1]).await.expect("sent");
        stream.receive(&mut ping).await.expect("an answer");
    }
    let round_trip = began.elapsed().as_nanos() / 100;
    println!("netload: {round_trip} ns per round trip");
    println!("bench: tcp_round_trip {round_trip}");
    for _ in 0..times {
        take(&mut stream, bytes).await;
    }
    println!("bench: done");
    stream.close();
}

/// Asks for so many bytes, and looks at them.
async fn take(stream: &mut Stream<'_>, bytes: u64) {
    stream.send(&[0]).await.expect("sent");
    stream.send(&bytes.to_le_bytes()).await.expect("sent");
    let pattern = Pattern::new();
    let mut buffer = alloc::vec![0; Pattern::PERIOD];
    let (mut taken, mut wrong) = (0, 0);
    let began = Instant::now();
    while taken < bytes {
        let len = stream.receive(&mut buffer).await.expect("bytes");
        if len == 0 {
            break;
        }
        let expected = pattern.after(taken, len as u64);
        if buffer[..len] != *expected {
            wrong += buffer.iter().zip(expected).filter(|(byte, expected)| byte != expected).count();
        }
        taken += len as u64;
    }
    let nanoseconds = began.elapsed().as_nanos().max(1);
    println!(
        "netload: {taken} bytes, {wrong} wrong, {nanoseconds} ns, {} ns per KiB",
        nanoseconds * 1024 / u128::from(bytes)
    );
    println!("bench: tcp_frame {}", nanoseconds * FRAME / u128::from(bytes));
}

/// A connection to a server that may not be there yet.
async fn connect(network: &Network, server: Ipv4Addr, port: u16, buffers: Buffers) -> Stream<'_> {
    loop {
        match Stream::connect(network.stack(), server, port, buffers).await {
            Ok(stream) => return stream,
            Err(error) => println!("netload: {error}"),
        }
        executor::sleep(core::time::Duration::from_millis(10)).await;
    }
}

async fn answer(network: &Network) {
    let Ok(listener) = Listener::bind(network.stack(), PORT, BUFFERS, 2) else { return };
    println!("ready");
    let stream = listener.accept().await;
    let pattern = Pattern::new();
    let mut byte = [1; 1];
    while stream.receive(&mut byte).await.is_ok_and(|len| len > 0) {
        if byte != [0] {
            stream.send(&byte).await.expect("sent");
            continue;
        }
        let mut number = [0; 8];
        for byte in &mut number {
            stream.receive(core::slice::from_mut(byte)).await.expect("a number");
        }
        let (bytes, mut done) = (u64::from_le_bytes(number), 0);
        while done < bytes {
            match stream.send(pattern.after(done, bytes - done)).await {
                Ok(sent) => done += sent as u64,
                Err(_) => return,
            }
        }
    }
}
