//! Sends numbers to `guests/pong` and has each back, greater by one: through a page that it grants and an event channel.
//!
//! Arguments: `peer=` the other domain's number, `rounds=` how often. With `static=` instead, a port that the configuration has connected with
//! one of another such program, the two wake each other and say so, for as long as they are there.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::sync::atomic::Ordering;
use core::time::Duration;

use mote_unikernel::executor::{self, Executor, sleep};
use mote_unikernel::time::Instant;
use mote_unikernel::xen::events::Port;
use mote_unikernel::xen::grants::Grant;
use mote_unikernel::xen::page::Page;
use mote_unikernel::{Machine, println, xen};

mote_unikernel::entry!(main);

/// Where in the page the number is, and where this end's port: see `guests/pong`.
const NUMBER: usize = 0;
const PORT: usize = 8;
/// Says that there is nothing yet, and that there is no more.
const NOTHING: u64 = END - 1;
const END: u64 = u64::MAX;

fn main(machine: Machine) {
    let (major, minor) = xen::version().expect("a hypervisor that speaks Xen's ABI");
    println!("ping: Xen's ABI {major}.{minor}");
    if let Some(port) = machine.number("static") {
        return executor::run(wake_each_other(Port::existing(port as u32)));
    }
    let peer = machine.number("peer").expect("peer=N") as u16;
    let rounds = machine.number("rounds").unwrap_or(100);

    let port = Port::offer(peer).expect("a port");
    let grant = Grant::new(peer, Page::new(), true).expect("a grant");
    grant.page().double(NUMBER).store(NOTHING, Ordering::Relaxed);
    println!("ping: grant {}, port {}", grant.reference(), port.number());
    grant.page().double(PORT).store(port.number().into(), Ordering::Release);

    let (done, naps) = (Cell::new(false), Cell::new(0));
    let mut executor = Executor::new();
    executor.spawn(async {
        play(&port, grant.page(), rounds).await;
        done.set(true);
    });
    // Another task runs all the while.
    executor.spawn(async {
        while !done.get() {
            sleep(Duration::from_millis(1)).await;
            naps.set(naps.get() + 1);
        }
    });
    executor.run();
    assert!(naps.get() > 0, "the other task never ran");
    reclaim(grant);
    println!("ping: ok");
}

async fn wake_each_other(port: Port) {
    loop {
        // The other end may not be there yet, or not any more: it begins when it is.
        let _ = port.notify();
        port.event().await;
        println!("ping: was woken");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn play(port: &Port, page: &Page, rounds: u64) {
    // The other end says that it is there.
    port.event().await;
    let began = Instant::now();
    for round in 0..rounds {
        page.double(NUMBER).store(round * 2, Ordering::Release);
        port.notify().expect("connected");
        port.event().await;
        assert_eq!(page.double(NUMBER).load(Ordering::Acquire), round * 2 + 1);
    }
    println!("ping: {rounds} rounds, {} ns each", began.elapsed().as_nanos() as u64 / rounds.max(1));
    page.double(NUMBER).store(END, Ordering::Release);
    port.notify().expect("connected");
}

/// Takes the page back, as soon as the other end has unmapped it.
fn reclaim(mut grant: Grant) {
    loop {
        match grant.end() {
            Ok(page) => return assert_eq!(page.double(NUMBER).load(Ordering::Acquire), END),
            Err(still_used) => grant = still_used,
        }
        xen::yield_now();
    }
}
