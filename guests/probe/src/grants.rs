//! `grant_table_op`.

mod copies;

use core::sync::atomic::{AtomicU32, Ordering};

use mote_unikernel::xen;
use xen_abi::Wire;
use xen_abi::grant_table::{
    CacheFlush, Copy, CopyEnd, Entry, GetStatusFrames, GetVersion, Map, QuerySize, SetVersion, SetupTable,
    SwapGrantRef, Unmap, UnmapAndReplace, flags, map, op, option,
};
use xen_abi::memory::{AddToPhysmap, Reservation, op as memory, space};
use xen_abi::xen::domid;
use xen_abi::xen::hypercall::{GRANT_TABLE_OP, MEMORY_OP};

use crate::other::{READ_ONLY, SOMEBODY_ELSE_S, WRITABLE};
use crate::pages::{Answer, LIST, Pages, SCRATCH, call, call_for};
use crate::wild::{self, Outcome, Width};
use crate::{Guests, NOBODY, say};

/// The first frame of this domain's table.
static TABLE: Pages<1> = Pages::new();
/// What is granted, what is copied to, and where others' pages are mapped.
static PAGES: Pages<4> = Pages::new();
/// The pages of these by number.
const GRANTED: usize = 0;
const TARGET: usize = 1;
const WINDOW: usize = 2;
/// Where nothing is: in the range for grants.
const HOLE: u64 = 0x3800_0000;
/// Grants of this domain: to be written, to be read, for the peer, of where nothing is; one that is none.
const OWN: u32 = 8;
const OWN_READ_ONLY: u32 = 9;
const PEER_S: u32 = 10;
const EMPTY: u32 = 11;
const NONE: u32 = 20;
/// References that are none: not a grant, beyond the frames that there are, beyond what there can be.
const NO_REFERENCES: [u32; 5] = [NONE, 511, 512, 1 << 20, u32::MAX];

/// `GNTTABOP_dump_table` and `GNTTAB_CACHE_SOURCE_GREF`, which nobody has.
const DUMP_TABLE: u64 = 3;
const CACHE_SOURCE_GREF: u32 = 1 << 31;

const MAP: Map =
    Map { host_addr: 0, flags: map::HOST, gref: WRITABLE, dom: 0, status: 77, handle: 0x7777, dev_bus_addr: 0x7777 };
const UNMAP: Unmap = Unmap { host_addr: 0, dev_bus_addr: 0, handle: 0, status: 77, pad: 0 };

/// Makes a call with a list of one structure, and says what it answers and the status that is in the structure.
fn tell<T: Wire>(name: impl core::fmt::Display, op: u64, argument: T, status: fn(&T) -> i16) -> T {
    let (answer, argument) = call(GRANT_TABLE_OP, op, argument);
    say(format_args!("grant {name}"), format_args!("{answer}, status {}", status(&argument)));
    argument
}

fn map_tell(name: impl core::fmt::Display, argument: Map) -> Map {
    let map = tell(name, op::MAP, argument, |map| map.status);
    if map.status == 0 {
        call(GRANT_TABLE_OP, op::UNMAP, Unmap { host_addr: map.host_addr, handle: map.handle, ..UNMAP });
    }
    map
}

/// The port that the peer offers, once it does.
pub fn peer_s_port(guests: Guests) -> u32 {
    static PORT: AtomicU32 = AtomicU32::new(0);
    while PORT.load(Ordering::Relaxed) == 0 {
        let source = CopyEnd { place: WRITABLE.into(), domid: guests.peer, offset: 0, pad: 0 };
        let dest = CopyEnd { place: PAGES.frame(TARGET), domid: domid::SELF, offset: 0, pad: 0 };
        let copy = Copy { source, dest, len: 4, flags: option::SOURCE_GREF, status: 0, pad: 0 };
        if let (Answer(0), Copy { status: 0, .. }) = call(GRANT_TABLE_OP, op::COPY, copy) {
            PORT.store(PAGES.get(TARGET * 4096), Ordering::Relaxed);
        } else {
            // A sleep would set up interrupts.
            xen::yield_now();
        }
    }
    PORT.load(Ordering::Relaxed)
}

/// Asks all of it.
#[inline(never)]
pub fn probe(guests: Guests) {
    for op in (0..16).chain([63]) {
        for count in [0_u64, 1, 1 << 31] {
            say(
                format_args!("grant {op}, null, {count:#x} times"),
                wild::hypercall(GRANT_TABLE_OP, [op, 0, count, 0, 0]),
            );
        }
    }
    let port = peer_s_port(guests);
    say("grant peer's port > 0", port > 0);
    tables(guests);
    let asked =
        AddToPhysmap { domid: domid::SELF, size: 0, space: space::GRANT_TABLE.into(), idx: 0, gpfn: TABLE.frame(0) };
    say("grant table in its place", call(MEMORY_OP, memory::ADD_TO_PHYSMAP, asked).0);
    let entry = |reference: u32, flags, domid, frame: u64| {
        TABLE.put(reference as usize * 8, &Entry { flags, domid, frame: frame as u32 });
    };
    entry(OWN, flags::PERMIT_ACCESS, guests.me, PAGES.frame(GRANTED));
    entry(OWN_READ_ONLY, flags::PERMIT_ACCESS | flags::READ_ONLY, guests.me, PAGES.frame(GRANTED));
    entry(PEER_S, flags::PERMIT_ACCESS, guests.peer, PAGES.frame(GRANTED));
    entry(EMPTY, flags::PERMIT_ACCESS, guests.me, HOLE >> 12);
    maps(guests);
    flags_of_maps(guests);
    unmaps(guests);
    copies::probe(guests);
    versions(guests);
    swaps();
    flushes(guests);
    transfers(guests);
}

#[inline(never)]
fn tables(guests: Guests) {
    let domains = [domid::SELF, guests.me, guests.peer].into_iter().chain(NOBODY);
    for dom in domains.clone() {
        let query = QuerySize { dom, pad: 0, nr_frames: 0, max_nr_frames: 0, status: 77, pad2: 0 };
        let query = tell(format_args!("query size of {dom:#x}"), op::QUERY_SIZE, query, |query| query.status);
        say(
            format_args!("grant query size of {dom:#x}: frames, most"),
            format_args!("{} {}", query.nr_frames, query.max_nr_frames),
        );
    }
    let setup =
        |dom, nr_frames, frame_list| SetupTable { dom, pad: 0, nr_frames, status: 77, pad2: [0; 3], frame_list };
    let list = SCRATCH.address(LIST);
    for dom in domains.clone() {
        tell(format_args!("setup none of {dom:#x}"), op::SETUP_TABLE, setup(dom, 0, list), |setup| setup.status);
    }
    for frames in [1, 2, 65, 1 << 20, u32::MAX] {
        SCRATCH.put(LIST, &0x7777_u64);
        tell(format_args!("setup {frames:#x} frames"), op::SETUP_TABLE, setup(domid::SELF, frames, list), |setup| {
            setup.status
        });
        say(format_args!("grant setup {frames:#x} frames: first"), Answer(SCRATCH.get(LIST)));
    }
    tell("setup, null list", op::SETUP_TABLE, setup(domid::SELF, 1, 0), |setup| setup.status);
    let (answer, _) = call_for(GRANT_TABLE_OP, op::SETUP_TABLE, setup(domid::SELF, 1, list), 2);
    say("grant setup twice", answer);
    for dom in domains {
        let asked = GetStatusFrames { nr_frames: 1, dom, status: 77, frame_list: list };
        tell(format_args!("status frames of {dom:#x}"), op::GET_STATUS_FRAMES, asked, |asked| asked.status);
        tell(format_args!("dump {dom:#x}"), DUMP_TABLE, [dom, 77], |[_, status]| *status as i16);
    }
}

/// Gives up or gets the memory of the window.
fn window(op: u64) -> Answer {
    let extent_start = SCRATCH.put(LIST, &PAGES.frame(WINDOW));
    let pad = [0; 3];
    let asked = Reservation { extent_start, nr_extents: 1, extent_order: 0, mem_flags: 0, domid: domid::SELF, pad };
    call(MEMORY_OP, op, asked).0
}

#[inline(never)]
fn maps(guests: Guests) {
    say("grant window given up", window(memory::DECREASE_RESERVATION));
    let host_addr = PAGES.address(WINDOW * 4096);
    let good = Map { host_addr, dom: guests.peer, ..MAP };
    let mapped = tell("map", op::MAP, good, |map| map.status);
    say("grant map: handle, device address", format_args!("{} {}", mapped.handle, mapped.dev_bus_addr == 0x7777));
    say("grant mapped: a word", Outcome(wild::load(host_addr as usize + 8, Width::Double)));
    say("grant mapped: written", Outcome(wild::store(host_addr as usize + 16, Width::Double, 5).map(|()| 0)));
    let twice = tell("map it twice at once", op::MAP, good, |map| map.status);
    say("grant map it twice: handle", twice.handle);
    let unmap = Unmap { host_addr, handle: mapped.handle, ..UNMAP };
    tell("unmap", op::UNMAP, unmap, |unmap| unmap.status);
    say("grant unmapped: a word", Outcome(wild::load(host_addr as usize + 8, Width::Double)));
    tell("unmap again", op::UNMAP, unmap, |unmap| unmap.status);
    tell("unmap the other", op::UNMAP, Unmap { handle: twice.handle, ..unmap }, |unmap| unmap.status);
    let read = Map { flags: map::HOST | map::READ_ONLY, gref: READ_ONLY, ..good };
    let mapped = tell("map to be read", op::MAP, read, |map| map.status);
    say("grant mapped to be read: a word", Outcome(wild::load(host_addr as usize + 8, Width::Double)));
    // Writing to it is left out: Xen has the guest take that fault for ever.
    tell("unmap to be read", op::UNMAP, Unmap { handle: mapped.handle, ..unmap }, |unmap| unmap.status);
    map_tell("map what is to be read to be written", Map { flags: map::HOST, ..read });
    map_tell("map to be read what may be written", Map { gref: WRITABLE, ..read });
    map_tell("map somebody else's", Map { gref: SOMEBODY_ELSE_S, ..good });
    for gref in NO_REFERENCES {
        map_tell(format_args!("map {gref:#x}"), Map { gref, ..good });
        map_tell(format_args!("map {gref:#x} of oneself"), Map { gref, dom: guests.me, ..good });
    }
    for dom in [domid::SELF].into_iter().chain(NOBODY) {
        map_tell(format_args!("map of {dom:#x}"), Map { dom, gref: OWN, ..good });
    }
    map_tell("map one's own", Map { dom: guests.me, gref: OWN, ..good });
    map_tell(
        "map one's own to be read",
        Map { dom: guests.me, gref: OWN_READ_ONLY, flags: map::HOST | map::READ_ONLY, ..good },
    );
    map_tell("map one's own that is to be read", Map { dom: guests.me, gref: OWN_READ_ONLY, ..good });
    map_tell("map one's own that is the peer's", Map { dom: guests.me, gref: PEER_S, ..good });
    map_tell("map one's own that is nothing", Map { dom: guests.me, gref: EMPTY, ..good });
    for at in [1 << 36, 1 << 48, u64::MAX - 4095, HOLE + 4, HOLE + 2048] {
        map_tell(format_args!("map at {at:#x}"), Map { host_addr: at, ..good });
    }
    say("grant window back", window(memory::POPULATE_PHYSMAP));
    many(good);
}

/// Lists: of none, of many, one of which is wrong, and one that is not all there.
#[inline(never)]
fn many(good: Map) {
    let one = |gref| Map { gref, host_addr: HOLE, ..good };
    let list = [one(NONE), Map { host_addr: HOLE + 0x10_0000, ..one(WRITABLE) }, one(u32::MAX)];
    for count in [0, 2, 3] {
        let (answer, after) = call_for(GRANT_TABLE_OP, op::MAP, list, count);
        say(format_args!("grant map {count} of three"), answer);
        say(format_args!("grant map {count} of three: statuses"), format_args!("{:?}", after.map(|map| map.status)));
        let unmaps = after.map(|map| Unmap { host_addr: map.host_addr, handle: map.handle, ..UNMAP });
        let (answer, after) = call_for(GRANT_TABLE_OP, op::UNMAP, unmaps, count);
        say(format_args!("grant unmap {count} of three"), answer);
        say(
            format_args!("grant unmap {count} of three: statuses"),
            format_args!("{:?}", after.map(|unmap| unmap.status)),
        );
    }
}

#[inline(never)]
fn flags_of_maps(guests: Guests) {
    for flag in (0..8).map(|bit| 1 << bit).chain([0, 1 << 16, 1 << 31]) {
        let good = Map { host_addr: HOLE, dom: guests.peer, ..MAP };
        map_tell(format_args!("map with flags {flag:#x}"), Map { flags: flag, ..good });
        map_tell(format_args!("map with flags {flag:#x} beside host"), Map { flags: flag | map::HOST, ..good });
    }
}

#[inline(never)]
fn unmaps(guests: Guests) {
    let good = Map { host_addr: HOLE, dom: guests.peer, ..MAP };
    let mapped = tell("map for unmapping", op::MAP, good, |map| map.status);
    let unmap = Unmap { host_addr: HOLE, handle: mapped.handle, ..UNMAP };
    for host_addr in [HOLE + 8, HOLE + 4096, 1 << 48, u64::MAX] {
        tell(format_args!("unmap at {host_addr:#x}"), op::UNMAP, Unmap { host_addr, ..unmap }, |unmap| unmap.status);
    }
    let next = mapped.handle + 1;
    for (name, handle) in [("next", next), ("1000", 1000), ("1 << 20", 1 << 20), ("the last", u32::MAX)] {
        tell(format_args!("unmap handle {name}"), op::UNMAP, Unmap { handle, ..unmap }, |unmap| unmap.status);
        let replace = UnmapAndReplace { host_addr: HOLE, new_addr: HOLE + 4096, handle, status: 77, pad: 0 };
        tell(format_args!("replace handle {name}"), op::UNMAP_AND_REPLACE, replace, |replace| replace.status);
    }
    let replace = UnmapAndReplace { host_addr: HOLE, new_addr: HOLE + 4096, handle: mapped.handle, status: 77, pad: 0 };
    tell("replace by nothing", op::UNMAP_AND_REPLACE, UnmapAndReplace { new_addr: 0, ..replace }, |replace| {
        replace.status
    });
    tell("replace", op::UNMAP_AND_REPLACE, replace, |replace| replace.status);
    tell("unmap with a device address", op::UNMAP, Unmap { dev_bus_addr: 1 << 20, ..unmap }, |unmap| unmap.status);
    tell("unmap in the end", op::UNMAP, unmap, |unmap| unmap.status);
}

#[inline(never)]
fn versions(guests: Guests) {
    for version in [0, 1, 2, 3, u32::MAX] {
        let (answer, set) = call(GRANT_TABLE_OP, op::SET_VERSION, SetVersion { version });
        say(format_args!("grant set version {version:#x}"), format_args!("{answer}, {:#x}", set.version));
    }
    for dom in [domid::SELF, guests.me, guests.peer].into_iter().chain(NOBODY) {
        let (answer, got) = call(GRANT_TABLE_OP, op::GET_VERSION, GetVersion { dom, pad: 0, version: 77 });
        say(format_args!("grant version of {dom:#x}"), format_args!("{answer}, {}", got.version));
    }
}

#[inline(never)]
fn swaps() {
    let swap = |ref_a, ref_b| {
        let asked = SwapGrantRef { ref_a, ref_b, status: 77, pad: 0 };
        tell(format_args!("swap {ref_a:#x} {ref_b:#x}"), op::SWAP_GRANT_REF, asked, |swap| swap.status);
    };
    swap(OWN, PEER_S);
    say("grant swapped: domain", TABLE.get::<Entry>(PEER_S as usize * 8).domid);
    swap(PEER_S, OWN);
    swap(OWN, OWN);
    for reference in NO_REFERENCES {
        swap(OWN, reference);
        // And back, if it was one.
        swap(reference, OWN);
    }
}

#[inline(never)]
fn flushes(guests: Guests) {
    let flush = |name: &dyn core::fmt::Display, place, offset, length, op| {
        let (answer, _) = call(GRANT_TABLE_OP, op::CACHE_FLUSH, CacheFlush { place, offset, length, op });
        say(format_args!("grant flush {name}"), answer);
    };
    let (page, clean) = (PAGES.address(GRANTED * 4096), option::CACHE_CLEAN);
    for op in [0, 1, 2, 3, 4, 1 << 30] {
        flush(&format_args!("a page, operation {op:#x}"), page, 0, 4096, op);
    }
    for (offset, length) in [(0, 0), (4095, 1), (4095, 2), (4096, 0), (4096, 1), (u16::MAX, 1), (1, u16::MAX), (3, 5)] {
        flush(&format_args!("{length} bytes at {offset}"), page, offset, length, clean);
    }
    for place in [HOLE, 0x0300_1000, 1 << 36, 1 << 48, u64::MAX] {
        flush(&format_args!("{place:#x}"), place, 0, 64, clean);
    }
    for (name, reference) in [("one's own", OWN), ("the peer's", PEER_S), ("none", NONE), ("far", u32::MAX)] {
        flush(&format_args!("by a grant, {name}"), reference.into(), 0, 64, clean | CACHE_SOURCE_GREF);
    }
    let mapped = call(GRANT_TABLE_OP, op::MAP, Map { host_addr: HOLE, dom: guests.peer, ..MAP }).1;
    flush(&"what is mapped", HOLE, 0, 64, clean);
    flush(&"what is mapped, by the grant", WRITABLE.into(), 0, 64, clean | CACHE_SOURCE_GREF);
    call(GRANT_TABLE_OP, op::UNMAP, Unmap { host_addr: HOLE, handle: mapped.handle, ..UNMAP });
    let list = [CacheFlush { place: page, offset: 0, length: 64, op: clean }; 4];
    say("grant flush four", call_for(GRANT_TABLE_OP, op::CACHE_FLUSH, list, 4).0);
}

#[inline(never)]
fn transfers(guests: Guests) {
    for domid in [guests.peer, guests.me, domid::SELF, 77] {
        // A frame, a domain and a grant of its, a status.
        let asked = [HOLE >> 12, u64::from(domid) | u64::from(OWN) << 32, 77];
        tell(format_args!("transfer to {domid:#x}"), op::TRANSFER, asked, |asked| asked[2] as i16);
    }
}
