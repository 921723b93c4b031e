//! A guest that does to its devices' back ends what no driver does: one case after the other, each on rings of its own, and each with
//! the answer that the protocol has for it, or the end of that connection.
//!
//! `do=net`, `do=flood`, `do=disk` and `do=store` choose; several are done in turn, and `then=stay` does not end after them. A case that comes to something else than it should is a panic. What
//! has to be there besides: a neighbour at `near=` that answers ARP.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod device;
mod disk;
mod flip;
mod net;
mod store;

use core::time::Duration;

use mote_unikernel::executor::{self, Either, either, run, sleep};
use mote_unikernel::time::Instant;
use mote_unikernel::xen::store::Store;
use mote_unikernel::{Machine, println};

mote_unikernel::entry!(main);

/// How long anything may take that happens at once, on the slowest machine.
const SOON: Duration = Duration::from_secs(60);

fn main(machine: Machine) {
    let roles: alloc::vec::Vec<_> = machine.argument("do").unwrap_or("net").split(',').collect();
    run(async {
        if roles.contains(&"store") {
            store::break_the_ring().await;
        }
        let store = Store::connect().await.expect("a xenstore");
        for role in roles {
            match role {
                "net" => net::misbehave(&machine, &store).await,
                "flood" => net::flood::flood(&machine, &store).await,
                "disk" => disk::misbehave(&machine, &store).await,
                _ => store::take_all(&store).await,
            }
            println!("badring: {role} ok");
        }
        // Others want to see what was counted of it.
        while machine.argument("then") == Some("stay") {
            sleep(SOON).await;
        }
    });
}

/// Looks until `there` is true. Others' pages change without a sign.
async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !there() {
        assert!(Instant::now() < deadline, "no sign of {what}");
        sleep(Duration::from_micros(200)).await;
    }
}

/// What `future` comes to, in time.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match either(future, executor::sleep(SOON)).await {
        Either::First(value) => value,
        Either::Second(()) => panic!("no sign of {what}"),
    }
}
