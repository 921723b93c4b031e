//! The template's side, and its clones'.

use alloc::vec::Vec;

use mote_unikernel::template::{Identity, become_template};
use mote_unikernel::xen::events::Port;
use mote_unikernel::xen::grants::Grant;
use mote_unikernel::xen::page::Page;
use mote_unikernel::xen::{self, Errno};
use mote_unikernel::{Machine, arch, println};
use xen_abi::xen::virq;

use crate::work;

/// Words in a page.
const WORDS: usize = 512;
/// What a private page has in it before the snapshot.
const PRIVATE: u64 = 0x5ec2_e7ab_cdef_0123;

pub fn run(machine: &Machine) {
    let pages = machine.number("ballast").unwrap_or(0) as usize;
    let mut ballast: Vec<u64> = (0..pages * WORDS).map(|word| word as u64).collect();
    let port = Port::virq(virq::DEBUG).expect("a virtual interrupt");
    let grant = Grant::new(0, Page::new(), true).expect("a grant");
    let private = Page::new();
    private.double(8).store(PRIVATE, core::sync::atomic::Ordering::Relaxed);
    let before = machine.seed();
    println!("template: ready");
    let identity = become_template(&[&private]).expect("to become a template");
    assert_eq!(private.double(8).load(core::sync::atomic::Ordering::Relaxed), 0, "a private page is a clone's own");
    let [what, number, ..] = identity.argument;
    match what {
        work::NOTHING => {}
        work::WRITE => write(&mut ballast, number),
        work::SEARCH => search(&ballast, number),
        work::SPIN => loop {
            core::hint::spin_loop();
        },
        work::SLEEP => loop {
            arch::wait_for_interrupt();
        },
        work::SNAPSHOT => assert_eq!(become_template(&[]), Err(Errno::EPERM)),
        work::EVENTS => events(&port, &grant),
        work::SPEAK => speak(machine, &identity, before),
        work::BALLOON => balloon(),
        work::KEEP => keep(&mut ballast, number),
        _ => panic!("no such work"),
    }
    // They end with the domain: nothing of them is to be done.
    core::mem::forget((port, grant));
}

fn write(ballast: &mut [u64], number: u64) {
    for (word, value) in ballast.iter_mut().enumerate() {
        assert_eq!(*value, word as u64, "another's content");
        *value = number;
    }
    assert!(ballast.iter().all(|value| *value == number));
}

/// Also new memory is looked at, to which nobody here has written: a page's first content is the library's zeroes.
fn search(ballast: &[u64], number: u64) {
    assert!(!ballast.contains(&number), "a secret in memory that was copied");
    let pages: Vec<Page> = (0..32).map(|_| Page::new()).collect();
    for page in &pages {
        page.release().expect("to give a page back");
        page.populate().expect("to get one");
        let is_there = |at: usize| page.double(at * 8).load(core::sync::atomic::Ordering::Relaxed) == number;
        assert!(!(0..WORDS).any(is_there), "a secret in new memory");
    }
}

/// Also a page comes and goes, so that its VMID is invalidated by while others get theirs.
fn keep(ballast: &mut [u64], number: u64) {
    let page = Page::new();
    for round in 0..20 {
        for (word, value) in ballast.iter_mut().enumerate() {
            let (before, after) = (number + round - 1, number + round);
            assert_eq!(*value, if round == 0 { word as u64 } else { before }, "another's content");
            *value = after;
        }
        page.double(0).store(number, core::sync::atomic::Ordering::Relaxed);
        xen::yield_now();
        page.release().expect("to give a page back");
        xen::yield_now();
        page.populate().expect("to get one");
        assert_eq!(page.double(0).load(core::sync::atomic::Ordering::Relaxed), 0, "what was given back");
    }
}

fn events(old: &Port, grant: &Grant) {
    assert_eq!(old.notify(), Err(Errno::EINVAL), "a port of the template's");
    let port = Port::virq(virq::DEBUG).expect("a virtual interrupt");
    assert_eq!(port.number(), 1, "the first port: there was none");
    let own = Grant::new(0, Page::new(), false).expect("a grant of its own");
    assert_ne!(own.reference(), grant.reference());
    drop(own);
}

fn speak(machine: &Machine, identity: &Identity, before: u64) {
    let [a, b, c, d] = identity.seed;
    assert!(a != b && b != c && c != d && machine.seed() != before, "seeds");
    assert!(xen::version().is_ok());
    println!("I am {} with {}", identity.domain, identity.argument[7]);
    println!("seed {a:016x}{b:016x}{c:016x}{d:016x}");
}

fn balloon() {
    let page = Page::new();
    for _ in 0..2000 {
        page.release().expect("to give a page back");
        page.populate().expect("to get one");
    }
    page.double(0).store(1, core::sync::atomic::Ordering::Relaxed);
}
