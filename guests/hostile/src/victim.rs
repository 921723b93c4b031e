//! The peer of those that mean harm: it grants them pages, offers them ports, maps what they grant, and is still there when they
//! are not.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use core::time::Duration;

use mote_unikernel::xen::Errno;
use mote_unikernel::xen::events::Port;
use mote_unikernel::xen::grants::{Grant, Mapping};
use mote_unikernel::xen::page::Page;
use mote_unikernel::{Machine, println, time};

use crate::{ASKED, MAGIC, MINE, THEIRS, ports};

extern crate alloc;

/// The first grant that the attackers' library gives out.
const REFERENCE: u32 = 8;
const PORTS: usize = 4;

/// What the victim has to do with one attacker.
struct Enemy {
    number: u16,
    // What it may use.
    _grant: Grant,
    ports: Vec<Port>,
    // What it lent.
    page: Mapping,
}

/// Lives until all attackers are gone.
pub fn endure(machine: &Machine) {
    let peers = machine.argument("peers").expect("peers=N,N");
    let numbers: Vec<u16> = peers.split(',').map(|peer| peer.parse().expect("a number")).collect();
    let grant = |&peer: &u16| Grant::new(peer, Page::new(), true).expect("a grant");
    let grants: Vec<Grant> = numbers.iter().map(grant).collect();
    let enemies: Vec<Enemy> = numbers.into_iter().zip(grants).map(|(peer, grant)| meet(peer, grant)).collect();
    println!("victim: holds {} pages", enemies.len());

    let mut events = 0;
    while !enemies.iter().all(|enemy| is_gone(enemy.number)) {
        events += enemies.iter().flat_map(|enemy| &enemy.ports).filter(|port| port.take()).count();
        time::sleep(Duration::from_millis(1));
    }
    for enemy in &enemies {
        assert_eq!(enemy.page.page().double(MINE).load(Ordering::Acquire), MAGIC, "what was lent is not there");
    }
    println!("victim: heard {events} times of events");
    drop(enemies);
    println!("victim: ok");
}

fn meet(number: u16, grant: Grant) -> Enemy {
    let ports = (0..PORTS).map(|_| Port::offer(number).expect("a port")).collect();
    let page = loop {
        match Mapping::new(number, REFERENCE, true) {
            Ok(page) => break page,
            Err(_) => time::sleep(Duration::from_millis(1)),
        }
    };
    page.page().double(THEIRS).store(MAGIC, Ordering::Release);
    while page.page().double(ASKED).load(Ordering::Acquire) != MAGIC {
        time::sleep(Duration::from_millis(1));
    }
    Enemy { number, _grant: grant, ports, page }
}

/// Ports can be offered to domains that are there.
fn is_gone(number: u16) -> bool {
    match ports::offer(number) {
        Ok(port) => {
            ports::close(port).expect("a port of its own");
            false
        }
        Err(error) => {
            assert_eq!(error, Errno::ESRCH);
            true
        }
    }
}
