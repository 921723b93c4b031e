//! Arguments that another vCPU changes while they are read.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use mote_unikernel::{cpus, println, time, xen};
use spin::Once;
use xen_abi::event_channel::{self, BindInterdomain};
use xen_abi::grant_table::{self, Copy, CopyEnd, Map, Unmap, map, option};
use xen_abi::memory::{self, Reservation};
use xen_abi::xen::{MulticallEntry, domid, hypercall};

use crate::random::Random;
use crate::wild::{self, Arena, PAGE, WINDOW};
use crate::{Cast, grants, ports};

/// Calls of each kind.
const ROUNDS: u32 = 10_000;
/// Frame numbers of a list, or entries of a multicall.
const LIST: usize = 4;

/// Words of an argument that are changed, by their place behind its beginning, and what to.
type Changes = &'static [(usize, &'static [u32])];

const FRAMES: &[u32] = &[0, 0x10000, 0x38000, WINDOW_FRAME, WINDOW_FRAME + 1, 0x7ff_ffff, 0x800_0000, u32::MAX];
const WINDOW_FRAME: u32 = (WINDOW / PAGE) as u32;
const HIGH: &[u32] = &[0, 0, 0, 0x80, 0x1000_0000, u32::MAX];
const SMALL: &[u32] = &[0, 1, 2, 3, 5, 31, 32, 33, 1022, 1023, 1024, 0x7ff0, 0x1_0001, u32::MAX];

/// One kind of call.
struct Kind {
    name: &'static str,
    /// Writes the argument into the arena and makes the call.
    call: fn(&Race, u32),
    /// Where the argument begins, behind the arena's beginning.
    at: usize,
    changes: Changes,
}

const fn at_end(size: usize) -> usize {
    Arena::SIZE - size
}

const KINDS: [Kind; 5] = [
    Kind {
        name: "grant maps",
        call: call_map,
        at: at_end(size_of::<Map>()),
        changes: &[
            (0, &[0x7000_0000, 0x7000_1000, 0x7000_1001, 0x1000_0000]),
            (4, HIGH),
            (8, &[0, 2, 2, 2, 6, 18, u32::MAX]),
            (12, &[0, 8, 9, 10, 511, 512, u32::MAX]),
            (16, &[0x7ff0, 1, 2, 3, 1000, 0xffff]),
        ],
    },
    Kind {
        name: "grant copies",
        call: call_copy,
        at: at_end(size_of::<Copy>()),
        changes: &[
            (0, &[0, 8, 9, 512, u32::MAX]),
            (8, &[1, 2, 0x7ff0, 0xfff_0001, 0x1000_0001, u32::MAX]),
            (16, FRAMES),
            (20, HIGH),
            (24, &[0x7ff0, 0xfff_7ff0, 1, u32::MAX]),
            (32, &[0x1_0000, 0x1_1000, 0x1_0fff, 0x1_ffff, 0x3_0010, 0]),
        ],
    },
    Kind {
        name: "event channels",
        call: call_event,
        at: at_end(24),
        changes: &[(0, SMALL), (4, SMALL), (8, SMALL), (12, SMALL)],
    },
    Kind {
        name: "reservations",
        call: call_reserve,
        at: at_end(size_of::<Reservation>() + LIST * 8),
        changes: &[
            (0, &[0, 0x0300_1000, 0x3000_0000, 0xffff_fff8]),
            (8, &[0, 1, 3, 4, 5, 33, 0x3ff_ffff, 0x400_0000, u32::MAX]),
            (12, HIGH),
            (16, &[0, 0, 1, 3, 9, 10, 63, 64, u32::MAX]),
            (24, &[0x7ff0, 1, 2, 0xffff]),
            (32, FRAMES),
            (36, HIGH),
            (40, FRAMES),
        ],
    },
    Kind {
        name: "multicalls",
        call: call_several,
        at: at_end(LIST * size_of::<MulticallEntry>()),
        changes: &[
            (0, &[17, 20, 32, 13, 12345]),
            (4, HIGH),
            (16, SMALL),
            (24, &[0, 0x0300_1000, 0x3000_0000]),
            (32, SMALL),
            (64, &[17, 20, 32, 13, 12345]),
            (80, SMALL),
            (96, SMALL),
        ],
    },
];

/// What both vCPUs have.
struct Race {
    arena: Arena,
    cast: Cast,
    reference: AtomicU32,
    // What the other vCPU does: nothing, changes of a kind (its number and one), or calls of its own.
    other: AtomicUsize,
    made: AtomicU32,
}

const NOTHING: usize = 0;
const CHURN: usize = usize::MAX;

static RACE: Once<Race> = Once::new();

/// Starts the other vCPU, which does nothing yet.
pub fn begin(cast: Cast) {
    let (reference, other) = (AtomicU32::new(0), AtomicUsize::new(NOTHING));
    RACE.call_once(|| Race { arena: Arena::new(), cast, reference, other, made: AtomicU32::new(0) });
    cpus::start(1, other_vcpu).expect("a second vCPU");
}

/// Calls of each kind while the other vCPU changes their arguments.
pub fn run(cast: Cast) {
    let race = RACE.get().expect("begun");
    race.reference.store(grants::reference(cast), Ordering::Relaxed);
    for (number, kind) in KINDS.iter().enumerate() {
        race.arena.clear();
        race.made.store(0, Ordering::Relaxed);
        race.other.store(number + 1, Ordering::Release);
        (0..ROUNDS).for_each(|round| (kind.call)(race, round));
        race.other.store(NOTHING, Ordering::Release);
        println!("hostile: {}: {ROUNDS} raced, {} went well", kind.name, race.made.load(Ordering::Relaxed));
        ports::reset();
        grants::unmap_all();
    }
}

/// From now on the other vCPU makes calls without end.
pub fn churn() {
    let race = RACE.get().expect("begun");
    race.reference.store(grants::REFERENCES[0], Ordering::Relaxed);
    race.other.store(CHURN, Ordering::Release);
}

fn other_vcpu() {
    let race = RACE.get().expect("begun");
    let mut random = Random::new(0x5eed_0001);
    loop {
        match race.other.load(Ordering::Acquire) {
            NOTHING => time::sleep(core::time::Duration::from_millis(1)),
            CHURN => churn_once(race),
            kind => {
                let kind = &KINDS[kind - 1];
                let (place, values) = random.pick(kind.changes);
                race.arena.word(kind.at + place).store(random.pick(values), Ordering::Relaxed);
            }
        }
    }
}

fn churn_once(race: &Race) {
    for reference in grants::REFERENCES {
        let place = WINDOW + 0x1000 * PAGE;
        if let Ok(handle) = grants::map(race.cast.victim, reference, place) {
            grants::unmap(handle, place);
        }
    }
    let _ = ports::offer(race.cast.victim).and_then(ports::close);
    xen::yield_now();
}

impl Race {
    fn note(&self, well: bool) {
        self.made.fetch_add(u32::from(well), Ordering::Relaxed);
    }
}

/// Most mappings are ended, by what the structure says then and by what it said before.
fn call_map(race: &Race, round: u32) {
    let at = KINDS[0].at;
    let argument = Map {
        host_addr: WINDOW + u64::from(round % 512) * PAGE,
        flags: map::HOST,
        gref: race.reference.load(Ordering::Relaxed),
        dom: race.cast.victim,
        status: 0,
        handle: 0,
        dev_bus_addr: 0,
    };
    let address = race.arena.put(at, &argument);
    let called = wild::raw(hypercall::GRANT_TABLE_OP, [grant_table::op::MAP, address, 1, 0, 0]);
    let handle = race.arena.word(at + core::mem::offset_of!(Map, handle)).load(Ordering::Relaxed);
    let status = (race.arena.word(at + 16).load(Ordering::Relaxed) >> 16) as i16;
    race.note(called.is_ok() && status == 0);
    if !round.is_multiple_of(16) {
        let half = |offset| u64::from(race.arena.word(at + offset).load(Ordering::Relaxed));
        for host_addr in [argument.host_addr, half(4) << 32 | half(0)] {
            let mut unmap = Unmap { host_addr, dev_bus_addr: 0, handle, status: 0, pad: 0 };
            let _ = wild::call(hypercall::GRANT_TABLE_OP, grant_table::op::UNMAP, &mut unmap);
        }
    }
}

/// From the victim's page into the arena's first page, which nobody minds.
fn call_copy(race: &Race, _: u32) {
    let at = KINDS[1].at;
    let place = u64::from(race.reference.load(Ordering::Relaxed));
    let argument = Copy {
        source: CopyEnd { place, domid: race.cast.victim, offset: 0, pad: 0 },
        dest: CopyEnd { place: race.arena.address() / PAGE, domid: domid::SELF, offset: 64, pad: 0 },
        len: 64,
        flags: option::SOURCE_GREF,
        status: 0,
        pad: 0,
    };
    let address = race.arena.put(at, &argument);
    let called = wild::raw(hypercall::GRANT_TABLE_OP, [grant_table::op::COPY, address, 1, 0, 0]);
    let status = race.arena.word(at + core::mem::offset_of!(Copy, status)).load(Ordering::Relaxed) as i16;
    race.note(called.is_ok() && status == 0);
}

fn call_event(race: &Race, round: u32) {
    use event_channel::op;
    const OPS: [u64; 8] = [
        op::ALLOC_UNBOUND,
        op::BIND_INTERDOMAIN,
        op::BIND_VIRQ,
        op::BIND_IPI,
        op::STATUS,
        op::BIND_VCPU,
        op::UNMASK,
        op::CLOSE,
    ];
    let argument = BindInterdomain { remote_dom: domid::SELF, pad: 0, remote_port: round % 8, local_port: round % 64 };
    let address = race.arena.put(KINDS[2].at, &argument);
    let op = OPS[round as usize % OPS.len()];
    race.note(wild::raw(hypercall::EVENT_CHANNEL_OP, [op, address, 0, 0, 0]).is_ok());
}

fn call_reserve(race: &Race, round: u32) {
    let at = KINDS[3].at;
    let list = race.arena.address() + (at + size_of::<Reservation>()) as u64;
    let argument = Reservation {
        extent_start: list,
        nr_extents: LIST as u64,
        extent_order: 0,
        mem_flags: 0,
        domid: domid::SELF,
        pad: [0; 3],
    };
    let address = race.arena.put(at, &argument);
    for index in 0..LIST {
        let frame = WINDOW / PAGE + u64::from(round / 2 % 64) * 2 + index as u64;
        race.arena.put(at + size_of::<Reservation>() + index * 8, &frame);
    }
    let op = if round.is_multiple_of(2) { memory::op::POPULATE_PHYSMAP } else { memory::op::DECREASE_RESERVATION };
    let done = wild::raw(hypercall::MEMORY_OP, [op, address, 0, 0, 0]);
    race.note(done.is_ok_and(|done| done > 0));
}

/// Calls that change nothing of importance whatever they become: versions, events and grants with an argument of zeroes.
fn call_several(race: &Race, round: u32) {
    let at = KINDS[4].at;
    let argument = race.arena.address();
    for index in 0..LIST {
        let op = [hypercall::XEN_VERSION, hypercall::EVENT_CHANNEL_OP][(round as usize + index) % 2];
        let entry = MulticallEntry { op, result: 0, args: [u64::from(round % 12), argument, 1, 0, 0, 0] };
        race.arena.put(at + index * size_of::<MulticallEntry>(), &entry);
    }
    let list = race.arena.address() + at as u64;
    race.note(wild::raw(hypercall::MULTICALL, [list, LIST as u64, 0, 0, 0]).is_ok());
}
