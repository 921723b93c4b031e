//! A guest that means harm: it takes all that it can get of everything, changes arguments while they are read, and calls with
//! whatever comes to its mind. It says what it got, and is content if that is a defined error each time.
//!
//! `do=` chooses what to be:
//! - `all` (as without it): every attack in turn, then an ordinary end with everything still in use;
//! - `crash`: an end in the middle of it;
//! - `victim`: the peer that both of them attack, which has to stay what it is and to keep what it was granted;
//! - `shatter`: one that breaks all its memory into pages and ends.
//!
//! Further arguments: `me=` its own number, `peers=` whom it is joined with, `stranger=` somebody whom it is not,
//! `seed=` with which random numbers to begin.
//!
//! `wild` holds what is unsafe. Frames and addresses that are given to the hypervisor lie where this guest has nothing, so that
//! what an attack brings about is the hypervisor's affair and not the end of the attacker.

#![no_std]
#![no_main]
#![deny(unsafe_code)]

mod balloon;
mod fuzz;
mod grants;
mod ports;
mod races;
mod random;
mod victim;
#[allow(unsafe_code)]
mod wild;

use core::sync::atomic::Ordering;
use core::time::Duration;

use mote_unikernel::xen::grants::Grant;
use mote_unikernel::xen::page::Page;
use mote_unikernel::{Machine, power, println, time};

mote_unikernel::entry!(main);

/// Who is who, by number.
#[derive(Clone, Copy)]
pub struct Cast {
    /// This guest.
    pub me: u16,
    /// The one that it is joined with and attacks.
    pub victim: u16,
    /// One that it has nothing to do with.
    pub stranger: u16,
}

/// What an attacker writes into the page that it grants, and the victim once it has mapped it.
pub const MAGIC: u64 = 0x0ddb_a115_0ddb_a115;
/// Where the attacker writes it.
pub const MINE: usize = 0;
/// Where the victim does.
pub const THEIRS: usize = 8;
/// Where the attacker says that it has asked for what a stranger has.
pub const ASKED: usize = 16;

fn main(machine: Machine) {
    let role = machine.argument("do").unwrap_or("all");
    if role == "victim" {
        return victim::endure(&machine);
    }
    if role == "shatter" {
        return balloon::shatter();
    }
    let number = |name| machine.number(name).unwrap_or_else(|| panic!("{name}=N")) as u16;
    let cast = Cast { me: number("me"), victim: number("peers"), stranger: number("stranger") };
    lend(cast);
    races::begin(cast);
    if role == "crash" {
        grants::map_without_end(cast);
        ports::fill_and_keep(cast);
        races::churn();
        time::sleep(Duration::from_millis(20));
        panic!("in the middle of it");
    }
    ports::without_end(cast);
    grants::grow_without_end();
    grants::map_without_end(cast);
    grants::unmap_all();
    ports::storm(cast);
    races::run(cast);
    balloon::fragment();
    fuzz::call_anything(cast, machine.number("seed"));
    println!("hostile: ok");
    // Ends with all it can have, while the other vCPU is in the middle of calls.
    ports::fill_and_keep(cast);
    grants::map_without_end(cast);
    races::churn();
    time::sleep(Duration::from_millis(20));
    power::shutdown();
}

/// Grants the victim a page and waits until it has it. It is never taken back. The victim meets the next attacker only when
/// this one has asked for what that one has, so that it is still there.
fn lend(cast: Cast) {
    let grant = Grant::new(cast.victim, Page::new(), true).expect("a grant");
    grant.page().double(MINE).store(MAGIC, Ordering::Release);
    while grant.page().double(THEIRS).load(Ordering::Acquire) != MAGIC {
        time::sleep(Duration::from_millis(1));
    }
    ports::to_others(cast);
    grant.page().double(ASKED).store(MAGIC, Ordering::Release);
    core::mem::forget(grant);
}
