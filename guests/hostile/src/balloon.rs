//! Memory that is given up and taken back in patterns that leave no block whole.

use alloc::vec::Vec;
use core::iter;
use core::sync::atomic::Ordering;

use mote_unikernel::println;
use xen_abi::memory::op;
use xen_abi::xen::{domid, hypercall};

use crate::wild::{self, Land, PAGE, WINDOW};

extern crate alloc;

/// Blocks of 2 MiB, and pages of one.
const BLOCKS: usize = 4;
const BLOCK: usize = 512;

/// Gives up one page of every block there is, so that the hypervisor has to keep account of all of them page by page.
pub fn shatter() {
    const BLOCKS_AT_ONCE: u64 = 16;
    let pieces = iter::from_fn(|| wild::claim((BLOCKS_AT_ONCE * BLOCK as u64 * PAGE) as usize));
    let blocks = pieces.flat_map(|first| (0..BLOCKS_AT_ONCE).map(move |block| first + block * BLOCK as u64));
    let mut shattered = 0;
    for frame in blocks {
        assert_eq!(wild::reserve(op::DECREASE_RESERVATION, &[frame + 1], 0), 1, "block {shattered}");
        shattered += 1;
    }
    println!("hostile: shattered {shattered} blocks");
}

/// Breaks memory into pages and mends it.
pub fn fragment() {
    wild::vacate();
    let land = Land::new(BLOCKS * BLOCK * PAGE as usize);
    let all = BLOCKS * BLOCK;
    (0..all).for_each(|page| land.page(page).store(page as u64 + 1, Ordering::Relaxed));
    let has = pages();
    every_other(&land, all);
    assert_eq!(pages(), has);
    odd_orders(&land);
    assert_eq!(pages(), has);
    more_than_it_may(&land);
    assert_eq!(pages(), has);
    scatter(&land);
    assert_eq!(pages(), has);
    println!("hostile: fragmented {all} pages");
}

/// How many pages the domain has.
fn pages() -> u64 {
    let mut number = domid::SELF;
    wild::call(hypercall::MEMORY_OP, op::CURRENT_RESERVATION, &mut number).expect("its own number")
}

fn every_other(land: &Land, all: usize) {
    let mut frames: Vec<u64> = (0..all as u64).step_by(2).map(|page| land.frame() + page).collect();
    let count = frames.len() as u64;
    assert_eq!(wild::reserve(op::DECREASE_RESERVATION, &frames, 0), count);
    assert_eq!(wild::reserve(op::DECREASE_RESERVATION, &frames, 0), 0, "twice");
    for page in (1..all).step_by(2) {
        assert_eq!(land.page(page).load(Ordering::Relaxed), page as u64 + 1, "the wrong page went");
    }
    frames.reverse();
    assert_eq!(wild::reserve(op::POPULATE_PHYSMAP, &frames, 0), count);
    for page in (0..all).step_by(2) {
        assert_eq!(land.page(page).load(Ordering::Relaxed), 0, "somebody's secret");
    }
}

/// Extents that lie across blocks, and larger than the hole that they are to fill.
fn odd_orders(land: &Land) {
    for order in 0..=8 {
        let frames: Vec<u64> = [3_u64, 509, 1021].map(|page| land.frame() + page).into();
        assert_eq!(wild::reserve(op::DECREASE_RESERVATION, &frames, order), 3);
        // There is no room for so much, and what was put there meanwhile goes again.
        assert_eq!(wild::reserve(op::POPULATE_PHYSMAP, &frames, order + 1), 0);
        assert_eq!(wild::reserve(op::POPULATE_PHYSMAP, &frames, order), 3);
    }
    let block = [land.frame() + 3 * BLOCK as u64];
    assert_eq!(wild::reserve(op::DECREASE_RESERVATION, &block, 9), 1);
    assert_eq!(wild::reserve(op::POPULATE_PHYSMAP, &block, 9), 1);
    assert_eq!(wild::reserve(op::POPULATE_PHYSMAP, &block, 10), 0);
}

/// Memory beyond what the domain was given. What others see in place of its own pages it may have elsewhere.
fn more_than_it_may(land: &Land) {
    let more: Vec<u64> = (0..BLOCK as u64).map(|page| WINDOW / PAGE + page).collect();
    let done = wild::reserve(op::POPULATE_PHYSMAP, &more, 0);
    println!("hostile: pages more: {done}");
    assert!(done < BLOCK as u64, "there is no end of memory");
    assert_eq!(wild::reserve(op::POPULATE_PHYSMAP, &[land.frame()], 0), 0, "over its own");
    assert_eq!(wild::reserve(op::DECREASE_RESERVATION, &more[..done as usize], 0), done);
}

/// Single pages so far apart that each needs a table of its own.
fn scatter(land: &Land) {
    let count = BLOCK as u64;
    let home: Vec<u64> = (0..count).map(|page| land.frame() + page).collect();
    let far: Vec<u64> = (0..count).map(|page| (WINDOW / PAGE) + page * BLOCK as u64).collect();
    assert_eq!(wild::reserve(op::DECREASE_RESERVATION, &home, 0), count);
    let done = wild::reserve(op::POPULATE_PHYSMAP, &far, 0);
    println!("hostile: pages with a table each: {done} of {count}");
    assert!(done < count, "there is no end of tables");
    assert_eq!(wild::reserve(op::DECREASE_RESERVATION, &far[..done as usize], 0), done);
    assert_eq!(wild::reserve(op::POPULATE_PHYSMAP, &home, 0), count);
}
