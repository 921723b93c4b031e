//! The other end of `guests/ping`: maps the page that it grants, connects to the port that the page names, and adds one to each
//! number that comes.
//!
//! Arguments: `peer=` the other domain's number.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering;
use core::time::Duration;

use mote_unikernel::executor::{run, sleep};
use mote_unikernel::xen::events::Port;
use mote_unikernel::xen::grants::Mapping;
use mote_unikernel::{Machine, println};

mote_unikernel::entry!(main);

/// Where in the page the number is, and where the other end's port.
const NUMBER: usize = 0;
const PORT: usize = 8;
/// Says that there is no more.
const END: u64 = u64::MAX;
/// The first grant that the library gives out.
const REFERENCE: u32 = 8;

fn main(machine: Machine) {
    let peer = machine.number("peer").expect("peer=N") as u16;
    run(async {
        let (mapping, port) = meet(peer).await;
        let number = mapping.page().double(NUMBER);
        let mut rounds = 0;
        port.notify().expect("connected");
        loop {
            port.event().await;
            match number.load(Ordering::Acquire) {
                END => break,
                // The first event comes of connecting, before there is a number.
                value if value != rounds * 2 => continue,
                value => number.store(value + 1, Ordering::Release),
            }
            rounds += 1;
            port.notify().expect("connected");
        }
        println!("pong: {rounds} rounds");
    });
    println!("pong: ok");
}

/// Waits until the other end is there.
async fn meet(peer: u16) -> (Mapping, Port) {
    loop {
        if let Ok(mapping) = Mapping::new(peer, REFERENCE, true) {
            let port = mapping.page().double(PORT).load(Ordering::Acquire) as u32;
            if port != 0
                && let Ok(port) = Port::connect(peer, port)
            {
                return (mapping, port);
            }
        }
        sleep(Duration::from_millis(1)).await;
    }
}
