//! Networks: every `backend/vif` node that the toolstack makes for this domain is a port of one switch, whose way out is each virtio network
//! card that the domain was given.

mod connection;
mod interface;
mod machine;
mod orders;
mod summoning;

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::RefCell;

use mote_netback::{Lan, PortId, Turn};
use mote_unikernel::executor::{Spawner, yield_now};
use mote_unikernel::time::Instant;
use mote_unikernel::virtio::virtio_drivers::transport::DeviceType;
use mote_unikernel::virtio::{Interrupt, Net, devices};
use mote_unikernel::xen::grants::Mapping;
use mote_unikernel::xen::store::Store;
use mote_unikernel::{Machine, println};

use crate::offers;
use crate::statistics::{Record, Statistics};
use connection::Guest;
use interface::Interface;
use summoning::Summoning;

/// Where the toolstack puts interfaces that this domain is to serve, below its own node.
const DIRECTORY: &str = "backend/vif";
/// Interfaces that are served at most, of all guests together.
const INTERFACES_MAX: usize = 1024;
/// Pages for frames on their way, made when they are needed first: at least 1.25 MiB, or this part of all pages.
const PAGES_MIN: usize = 320;
const PART: usize = 8;
const PAGE: usize = 4096;

/// The switch. It is borrowed for a turn, never while a task waits.
type SharedLan = Rc<RefCell<Lan<Mapping, Guest, Box<Net>, Tallied>>>;

/// Where what goes through a port is counted, if it is a guest's.
type Tallied = Rc<Option<Record>>;

/// Serves interfaces for as long as there is a xenstore.
pub async fn serve(machine: Machine, store: Store, statistics: Statistics, spawner: Spawner<'static>) {
    let lan: SharedLan = Rc::new(RefCell::new(Lan::new(pages(&machine))));
    for device in devices(&machine, DeviceType::Network) {
        match Net::new(device) {
            Ok(card) => add_uplink(&lan, card, &spawner),
            Err(error) => println!("a network card cannot be used: {error:?}"),
        }
    }
    let summoning = Summoning::new(&machine, &lan);
    spawner.spawn(summoning.clone().serve());
    spawner.spawn(orders::place(summoning.clone(), store.clone()));
    // All of them before the first is connected: after a restart guests go on at once.
    for purpose in offers::purposes(&store, DIRECTORY, DIRECTORY, INTERFACES_MAX).await {
        if let Some(mac) = interface::mac(&store, purpose).await {
            lan.borrow_mut().expect(purpose, mac);
        }
    }
    let serve_one = |purpose| {
        let (lan, store, spawner, statistics) = (lan.clone(), store.clone(), spawner.clone(), statistics.clone());
        let summoning = summoning.clone();
        async move {
            if Interface::serve(&lan, &summoning, &store, &spawner, &statistics, purpose).await.is_err() {
                println!("network interface {} of domain {}: gone", purpose.1, purpose.0);
            }
            lan.borrow_mut().forget(purpose);
        }
    };
    offers::follow(&store, &spawner, DIRECTORY, INTERFACES_MAX, serve_one).await;
}

fn add_uplink(lan: &SharedLan, card: Box<Net>, spawner: &Spawner<'static>) {
    let interrupt = card.interrupt();
    if let Some(port) = lan.borrow_mut().add_uplink(card, Rc::default()) {
        spawner.spawn(serve_uplink(lan.clone(), port, interrupt));
    }
}

async fn serve_uplink(lan: SharedLan, port: PortId, interrupt: Interrupt) {
    loop {
        let turn = lan.borrow_mut().serve_uplink(port, seconds());
        match turn {
            Turn::Again => yield_now().await,
            Turn::Wait => interrupt.event().await,
        }
    }
}

fn pages(machine: &Machine) -> usize {
    PAGES_MIN.max(machine.memory_size() / PAGE / PART)
}

/// The time in seconds, for what is forgotten after a while.
fn seconds() -> u32 {
    (Instant::now().ticks() / mote_unikernel::time::frequency()) as u32
}
