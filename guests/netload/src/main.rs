//! Measures a network between two unikernels: one sends as many bytes as it is asked for, the other takes them and says how long it took.
//!
//! Arguments: `ip=10.0.2.30/24`, and on the end that asks `server=10.0.2.31 bytes=10000000`.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use core::cell::OnceCell;

use mote_unikernel::executor::{self, Executor};
use mote_unikernel::net::tcp::{Buffers, Stream};
use mote_unikernel::net::{Address, Fixed, Listener, Network};
use mote_unikernel::time::Instant;
use mote_unikernel::xen::store::Store;
use mote_unikernel::{Machine, power, println};

mote_unikernel::entry!(main);

const PORT: u16 = 5001;
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
        match machine.argument("server").and_then(|server| server.parse().ok()) {
            Some(server) => ask(network, server, machine.number("bytes").unwrap_or(1_000_000)).await,
            None => answer(network).await,
        }
        power::shutdown();
    });
    executor.run();
}

async fn ask(network: &Network, server: core::net::Ipv4Addr, bytes: u64) {
    let began = Instant::now();
    let mut stream = loop {
        match Stream::connect(network.stack(), server, PORT, BUFFERS).await {
            Ok(stream) => break stream,
            Err(error) => println!("netload: {error}"),
        }
        executor::sleep(core::time::Duration::from_millis(10)).await;
    };
    println!("netload: connected after {} us", began.elapsed().as_micros());
    let mut buffer = alloc::vec![0; 16384];
    let mut ping = [0; 1];
    let began = Instant::now();
    for _ in 0..100 {
        stream.send(&[1]).await.expect("sent");
        stream.receive(&mut ping).await.expect("an answer");
    }
    println!("netload: {} ns per round trip", began.elapsed().as_nanos() / 100);
    stream.send(&[0]).await.expect("sent");
    stream.send(&bytes.to_le_bytes()).await.expect("sent");
    let (mut left, mut wrong) = (bytes, 0);
    let began = Instant::now();
    while left > 0 {
        let len = stream.receive(&mut buffer).await.expect("bytes");
        if len == 0 {
            break;
        }
        wrong += buffer[..len].iter().filter(|byte| **byte != 0x5a).count();
        left -= len as u64;
    }
    let nanoseconds = began.elapsed().as_nanos().max(1);
    println!(
        "netload: {} bytes, {wrong} wrong, {nanoseconds} ns, {} ns per KiB",
        bytes - left,
        nanoseconds * 1024 / u128::from(bytes)
    );
    stream.close();
    executor::sleep(core::time::Duration::from_millis(10)).await;
}

async fn answer(network: &Network) {
    let Ok(listener) = Listener::bind(network.stack(), PORT, BUFFERS, 2) else { return };
    println!("ready");
    let mut stream = listener.accept().await;
    let mut byte = [1; 1];
    while byte != [0] {
        stream.receive(&mut byte).await.expect("a byte");
        if byte != [0] {
            stream.send(&byte).await.expect("sent");
        }
    }
    let mut number = [0; 8];
    for byte in &mut number {
        stream.receive(core::slice::from_mut(byte)).await.expect("a number");
    }
    let mut left = u64::from_le_bytes(number);
    let data = alloc::vec![0x5a; 16384];
    while left > 0 {
        let len = left.min(data.len() as u64) as usize;
        match stream.send(&data[..len]).await {
            Ok(sent) => left -= sent as u64,
            Err(_) => break,
        }
    }
    let _ = stream.receive(&mut byte).await;
}
