//! `memory_op`.

use xen_abi::memory::{
    AddToPhysmap, AddToPhysmapBatch, Exchange, RemoveFromPhysmap, Reservation, op,
    space::{self, GRANT_TABLE, SHARED_INFO},
};
use xen_abi::xen::{domid, hypercall::MEMORY_OP};

use crate::pages::{Answer, LIST, Pages, SCRATCH, call};
use crate::wild::{self, Outcome, Width};
use crate::{Guests, NOBODY, say};

/// Pages that are given up and got back.
static SPARE: Pages<4> = Pages::new();
/// Where nothing is: in the range for grants.
const HOLE: u64 = 0x3_8000;
/// Beyond what stage 2 translates, and beyond what an address has bits for.
const FAR: [u64; 4] = [1 << 24, 1 << 36, 1 << 52, u64::MAX];

const OWN: Reservation =
    Reservation { extent_start: 0, nr_extents: 1, extent_order: 0, mem_flags: 0, domid: domid::SELF, pad: [0; 3] };

/// Asks all of it.
#[inline(never)]
pub fn probe(guests: Guests) {
    for op in 0..64 {
        say(format_args!("memory {op}, null"), wild::hypercall(MEMORY_OP, [op, 0, 0, 0, 0]));
        // The shared page at a frame 0 would be in the way of nobody.
        if op != op::ADD_TO_PHYSMAP {
            say(format_args!("memory {op}, zeroes"), call(MEMORY_OP, op, [0_u64; 16]).0);
        }
    }
    sizes(guests);
    reservations(guests);
    maps(guests);
    batches(guests);
    exchange();
}

/// How much memory a domain has.
#[inline(never)]
fn sizes(guests: Guests) {
    let domains = [domid::SELF, guests.me, guests.peer].into_iter().chain(NOBODY);
    for (op, what) in [
        (op::CURRENT_RESERVATION, "current reservation"),
        (op::MAXIMUM_RESERVATION, "maximum reservation"),
        (op::MAXIMUM_GPFN, "maximum gpfn"),
    ] {
        for domid in domains.clone() {
            say(format_args!("memory {what} of {domid:#x}"), call(MEMORY_OP, op, domid).0);
        }
    }
    for op in [op::CURRENT_RESERVATION, op::MAXIMUM_RESERVATION, op::MAXIMUM_GPFN, op::MAXIMUM_RAM_PAGE, op::EXCHANGE] {
        say(format_args!("memory {op}, to go on"), call(MEMORY_OP, op | 1 << 6, [0_u64; 16]).0);
    }
    say("memory maximum ram page > 0", wild::hypercall(MEMORY_OP, [op::MAXIMUM_RAM_PAGE, 0, 0, 0, 0]).0 > 0);
}

fn reserve(op: u64, asked: Reservation) -> Answer {
    call(MEMORY_OP, op, asked).0
}

/// Puts a list of frames where a reservation finds it.
fn list(frames: &[u64]) -> Reservation {
    (0..).zip(frames).for_each(|(index, frame)| {
        SCRATCH.put(LIST + index * 8, frame);
    });
    Reservation { extent_start: SCRATCH.address(LIST), nr_extents: frames.len() as u64, ..OWN }
}

#[inline(never)]
fn reservations(guests: Guests) {
    let (decrease, populate) = (op::DECREASE_RESERVATION, op::POPULATE_PHYSMAP);
    let pages = [SPARE.frame(0), SPARE.frame(1)];
    say("memory decrease two pages", reserve(decrease, list(&pages)));
    say("memory read what was given up", Outcome(wild::load(SPARE.address(0) as usize, Width::Word)));
    say("memory decrease them again", reserve(decrease, list(&pages)));
    say("memory reservation without them", call(MEMORY_OP, op::CURRENT_RESERVATION, domid::SELF).0);
    say("memory populate a page and one that is there", reserve(populate, list(&[pages[0], SPARE.frame(2)])));
    say("memory populate the other", reserve(populate, list(&pages[1..])));
    say("memory read what came back", Outcome(wild::load(SPARE.address(0) as usize, Width::Word)));
    say("memory reservation with them", call(MEMORY_OP, op::CURRENT_RESERVATION, domid::SELF).0);
    say("memory populate more than there may be", reserve(populate, list(&[HOLE])));
    say("memory decrease a hole", reserve(decrease, list(&[HOLE])));
    for far in FAR {
        say(format_args!("memory decrease frame {far:#x}"), reserve(decrease, list(&[far])));
        say(format_args!("memory populate frame {far:#x}"), reserve(populate, list(&[far])));
    }
    for (name, op) in [("decrease", decrease), ("populate", populate), ("increase", op::INCREASE_RESERVATION)] {
        let hole = list(&[HOLE]);
        for extent_order in [1, 9, 10, 18, 30, 64, u32::MAX] {
            say(
                format_args!("memory {name} a hole, order {extent_order}"),
                reserve(op, Reservation { extent_order, ..hole }),
            );
        }
        for nr_extents in [0, 1 << 26, 1 << 32, u64::MAX] {
            let asked = Reservation { nr_extents, extent_start: 0, ..hole };
            say(format_args!("memory {name} {nr_extents:#x} of null"), reserve(op, asked));
        }
        for domid in [guests.me, guests.peer].into_iter().chain(NOBODY) {
            say(format_args!("memory {name} a hole of {domid:#x}"), reserve(op, Reservation { domid, ..hole }));
        }
        for mem_flags in [32, 1 << 8, 1 << 16, 1 << 17, u32::MAX] {
            let asked = Reservation { mem_flags, nr_extents: 0, ..hole };
            say(format_args!("memory {name} none, flags {mem_flags:#x}"), reserve(op, asked));
        }
        for start in [1, 2, 1000, 1 << 26] {
            say(format_args!("memory {name} a hole from {start} on"), reserve(op | start << 6, hole));
        }
    }
}

fn add(space: u32, idx: u64, gpfn: u64) -> Answer {
    call(MEMORY_OP, op::ADD_TO_PHYSMAP, AddToPhysmap { domid: domid::SELF, size: 0, space, idx, gpfn }).0
}

fn remove(domid: u16, gpfn: u64) -> Answer {
    call(MEMORY_OP, op::REMOVE_FROM_PHYSMAP, RemoveFromPhysmap { domid, pad: [0; 3], gpfn }).0
}

#[inline(never)]
fn maps(guests: Guests) {
    let (shared, grants) = (u32::from(SHARED_INFO), u32::from(GRANT_TABLE));
    for space in (0..8).chain([255, 1 << 16, u32::MAX]) {
        if space != shared && space != grants {
            say(format_args!("memory add space {space:#x}"), add(space, 0, HOLE));
        }
    }
    say("memory add shared page", add(shared, 0, HOLE));
    say("memory read it", Outcome(wild::load((HOLE << 12) as usize, Width::Word)));
    say("memory add shared page 1", add(shared, 1, HOLE + 1));
    say("memory add shared page again", add(shared, 0, HOLE));
    say("memory add shared page elsewhere", add(shared, 0, HOLE + 2));
    say("memory read it where it was", Outcome(wild::load((HOLE << 12) as usize, Width::Word)));
    say("memory remove it", remove(domid::SELF, HOLE + 2));
    say("memory remove it again", remove(domid::SELF, HOLE + 2));
    say("memory remove where it was", remove(domid::SELF, HOLE));
    say("memory read it then", Outcome(wild::load(((HOLE + 2) << 12) as usize, Width::Word)));
    for idx in [0, 1, 63, 64, 1 << 16, 1 << 31, 1 << 32, 1 << 63, u64::MAX] {
        say(format_args!("memory add grant frame {idx:#x}"), add(grants, idx, HOLE + 3));
    }
    say("memory read a grant frame", Outcome(wild::load(((HOLE + 3) << 12) as usize, Width::Word)));
    say("memory add grant frame 0 elsewhere", add(grants, 0, HOLE + 4));
    say("memory read it where it was last", Outcome(wild::load(((HOLE + 3) << 12) as usize, Width::Word)));
    say("memory remove grant frame 0", remove(domid::SELF, HOLE + 4));
    say("memory remove the other", remove(domid::SELF, HOLE + 3));
    for far in FAR {
        say(format_args!("memory add shared page at {far:#x}"), add(shared, 0, far));
        say(format_args!("memory add grant frame at {far:#x}"), add(grants, 5, far));
        say(format_args!("memory remove {far:#x}"), remove(domid::SELF, far));
    }
    for domid in [guests.me, guests.peer].into_iter().chain(NOBODY) {
        let asked = AddToPhysmap { domid, size: 0, space: shared, idx: 1, gpfn: HOLE };
        say(format_args!("memory add for {domid:#x}"), call(MEMORY_OP, op::ADD_TO_PHYSMAP, asked).0);
        let asked = AddToPhysmap { domid, size: 0, space: space::GMFN_FOREIGN.into(), idx: 1, gpfn: HOLE };
        say(format_args!("memory add foreign for {domid:#x}"), call(MEMORY_OP, op::ADD_TO_PHYSMAP, asked).0);
        say(format_args!("memory remove for {domid:#x}"), remove(domid, HOLE));
    }
    say("memory remove, to go on", call(MEMORY_OP, op::REMOVE_FROM_PHYSMAP | 1 << 6, [0_u64; 2]).0);
    say("memory add, to go on", call(MEMORY_OP, op::ADD_TO_PHYSMAP | 1 << 6, [0_u64; 3]).0);
    say("memory remove a page", remove(domid::SELF, SPARE.frame(3)));
    say("memory reservation without it", call(MEMORY_OP, op::CURRENT_RESERVATION, domid::SELF).0);
    say("memory populate it", reserve(op::POPULATE_PHYSMAP, list(&[SPARE.frame(3)])));
}

#[inline(never)]
fn batches(guests: Guests) {
    let (idxs, gpfns, errs) = (LIST, LIST + 64, LIST + 128);
    let batch = |space, size, foreign_domid, domid| AddToPhysmapBatch {
        domid,
        space,
        size,
        foreign_domid,
        idxs: SCRATCH.address(idxs),
        gpfns: SCRATCH.address(gpfns),
        errs: SCRATCH.address(errs),
    };
    let fill = || {
        for index in 0..4 {
            SCRATCH.put(idxs + index * 8, &(index as u64));
            SCRATCH.put(gpfns + index * 8, &(HOLE + 8 + index as u64));
            SCRATCH.put(errs + index * 4, &77_i32);
        }
    };
    for space in [0, 1, 2, 3, 4, 5, 6, 255, u16::MAX] {
        for size in [0, 3] {
            fill();
            let asked = batch(space, size, guests.peer, domid::SELF);
            say(format_args!("batch of {size}, space {space}"), call(MEMORY_OP, op::ADD_TO_PHYSMAP_BATCH, asked).0);
            for index in 0..usize::from(size) {
                let error: i32 = SCRATCH.get(errs + index * 4);
                say(format_args!("batch of {size}, space {space}, error {index}"), error);
            }
            (0..3).for_each(|index| {
                remove(domid::SELF, HOLE + 8 + index);
            });
        }
    }
    for domid in [guests.me, guests.peer].into_iter().chain(NOBODY) {
        fill();
        let asked = batch(SHARED_INFO, 0, 0, domid);
        say(format_args!("batch for {domid:#x}"), call(MEMORY_OP, op::ADD_TO_PHYSMAP_BATCH, asked).0);
        let asked = batch(space::GMFN_FOREIGN, 1, domid, domid::SELF);
        say(format_args!("batch of frames of {domid:#x}"), call(MEMORY_OP, op::ADD_TO_PHYSMAP_BATCH, asked).0);
    }
    let good = batch(SHARED_INFO, 1, 0, domid::SELF);
    for (name, asked) in [
        ("indices", AddToPhysmapBatch { idxs: 0, ..good }),
        ("frames", AddToPhysmapBatch { gpfns: 0, ..good }),
        ("errors", AddToPhysmapBatch { errs: 0, ..good }),
        ("errors but no size", AddToPhysmapBatch { errs: 0, size: 0, ..good }),
    ] {
        fill();
        say(format_args!("batch without {name}"), call(MEMORY_OP, op::ADD_TO_PHYSMAP_BATCH, asked).0);
    }
    say("batch, to go on behind the end", call(MEMORY_OP, op::ADD_TO_PHYSMAP_BATCH | 9 << 6, good).0);
    remove(domid::SELF, HOLE + 8);
}

#[inline(never)]
fn exchange() {
    let one = list(&[HOLE]);
    let asked = Exchange { input: one, output: one, nr_exchanged: 0 };
    say("memory exchange", call(MEMORY_OP, op::EXCHANGE, asked).0);
    say("memory exchange, some done", call(MEMORY_OP, op::EXCHANGE, Exchange { nr_exchanged: 9, ..asked }).0);
    let other = Reservation { domid: 77, ..one };
    say(
        "memory exchange for nobody",
        call(MEMORY_OP, op::EXCHANGE, Exchange { input: other, output: other, ..asked }).0,
    );
}
