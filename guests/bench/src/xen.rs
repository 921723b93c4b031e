//! What Xen's ABI costs: hypercalls, events, grants, memory, switching between vCPUs.

use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use mote_unikernel::xen::events::{Port, shared};
use mote_unikernel::xen::grants::{Grant, Mapping};
use mote_unikernel::xen::page::Page;
use mote_unikernel::{Machine, cpus, println, time, xen};
use xen_abi::event_channel::{self, Port as PortArgument};
use xen_abi::grant_table::{self, Copy, CopyEnd, Map, Unmap, map, option};
use xen_abi::memory::{self, Reservation};
use xen_abi::xen::{SharedInfo, VcpuInfo, domid, hypercall};

use crate::measure::timed_hypercall;
use crate::median;

/// Where in the page that the two guests share this end's port is, and whether there is no more.
const PORT: usize = 0;
const END: usize = 8;
/// The first grant that the library gives out.
const REFERENCE: u32 = 8;
/// Bytes and pages of the longer copy.
const COPIES: usize = 16;
const PAGE: u16 = 4096;

/// All rows. `peer` is the number of the guest that runs [`echo`].
pub fn measure(machine: &Machine, me: u16, peer: u16) {
    println!("bench: xen_version {}", median(|| timed_hypercall(hypercall::XEN_VERSION, [0; 5]).1));
    event_sends();
    round_trips(peer);
    grants(me);
    println!("bench: populate {}", populate());
    if machine.vcpus() > 1 {
        println!("bench: context_switch {}", context_switch());
    }
}

/// The address of a structure that a call reads or changes.
fn address<T>(of: &mut T) -> u64 {
    (&raw mut *of).addr() as u64
}

/// An event that the guest sends itself by an interdomain channel: one that is pending already, and one of which the vCPU must
/// be told. It has interrupts masked.
fn event_sends() {
    let one = Port::offer(domid::SELF).expect("a port");
    let other = Port::connect(domid::SELF, one.number()).expect("another");
    let mut argument = PortArgument { port: other.number() };
    let call = [event_channel::op::SEND, address(&mut argument), 0, 0, 0];
    let send = || timed_hypercall(hypercall::EVENT_CHANNEL_OP, call).1;
    let (bit, page) = (1 << one.number(), shared());
    let pending = page.double(offset_of!(SharedInfo, evtchn_pending));
    let (pends, tells) = mote_unikernel::interrupts::masked(|| {
        let pends = median(send);
        let tells = median(|| {
            pending.fetch_and(!bit, Ordering::AcqRel);
            page.double(offset_of!(VcpuInfo, evtchn_pending_sel)).store(0, Ordering::Release);
            page.word(0).fetch_and(!0xff, Ordering::AcqRel);
            send()
        });
        assert!(pending.load(Ordering::Acquire) & bit != 0);
        (pends, tells)
    });
    println!("bench: event_send {pends}");
    println!("bench: event_send_new {tells}");
}

/// An event to the other guest, which answers it: both guests sleep while they wait.
fn round_trips(peer: u16) {
    let port = Port::offer(peer).expect("a port");
    let grant = Grant::new(peer, Page::new(), true).expect("a grant");
    assert_eq!(grant.reference(), REFERENCE, "the other guest relies on it");
    grant.page().double(PORT).store(port.number().into(), Ordering::Release);
    port.wait();
    let ticks = median(|| {
        let before = time::Timer::Virtual.count();
        port.notify().expect("connected");
        port.wait();
        time::Timer::Virtual.count() - before
    });
    println!("bench: event_round_trip {ticks}");
    grant.page().double(END).store(1, Ordering::Release);
    port.notify().expect("connected");
    let mut grant = grant;
    while let Err(used) = grant.end() {
        grant = used;
        xen::yield_now();
    }
}

/// The other end of the round trips.
pub fn echo(peer: u16) {
    let (mapping, port) = loop {
        if let Ok(mapping) = Mapping::new(peer, REFERENCE, true) {
            let port = mapping.page().double(PORT).load(Ordering::Acquire) as u32;
            if port != 0
                && let Ok(port) = Port::connect(peer, port)
            {
                break (mapping, port);
            }
        }
        time::sleep(Duration::from_micros(100));
    };
    loop {
        port.notify().expect("connected");
        port.wait();
        if mapping.page().double(END).load(Ordering::Acquire) != 0 {
            return;
        }
    }
}

/// A page that the guest grants itself: mapping it, unmapping it, copying it.
fn grants(me: u16) {
    let grant = Grant::new(me, Page::new(), true).expect("a grant");
    let target = Page::new();
    target.release().expect("memory to give up");
    let mut mapping = Map {
        host_addr: target.address() as u64,
        flags: map::HOST,
        gref: grant.reference(),
        dom: me,
        status: 0,
        handle: 0,
        dev_bus_addr: 0,
    };
    let at = address(&mut mapping);
    let mut unmapping = Unmap { host_addr: mapping.host_addr, dev_bus_addr: 0, handle: 0, status: 0, pad: 0 };
    let unmap_at = address(&mut unmapping);
    let ticks = median(|| {
        let call = |op, at| timed_hypercall(hypercall::GRANT_TABLE_OP, [op, at, 1, 0, 0]);
        let (answer, mapped) = call(grant_table::op::MAP, at);
        assert_eq!((answer, mapping.status), (0, 0));
        unmapping.handle = mapping.handle;
        let (answer, unmapped) = call(grant_table::op::UNMAP, unmap_at);
        assert_eq!((answer, unmapping.status), (0, 0));
        mapped + unmapped
    });
    println!("bench: grant_map_unmap {ticks}");

    let into = Page::new();
    let source = CopyEnd { place: grant.reference().into(), domid: me, offset: 0, pad: 0 };
    let dest = CopyEnd { place: into.frame(), domid: domid::SELF, offset: 0, pad: 0 };
    let flags = option::SOURCE_GREF;
    let mut copies = [Copy { source, dest, len: PAGE, flags, status: 0, pad: 0 }; COPIES];
    let at = address(&mut copies);
    for (key, count) in [("grant_copy_4k", 1), ("grant_copy_64k", COPIES as u64)] {
        let ticks = median(|| {
            let call = [grant_table::op::COPY, at, count, 0, 0];
            timed_hypercall(hypercall::GRANT_TABLE_OP, call).1
        });
        assert!(copies.iter().all(|copy| copy.status == 0));
        println!("bench: {key} {ticks}");
    }
    // What has no memory does not go back to the heap.
    core::mem::forget(target);
}

/// Memory for a page that has none, until the guest has written to it.
fn populate() -> u64 {
    let page = Page::new();
    let mut frame = page.frame();
    let mut reservation = Reservation {
        extent_start: address(&mut frame),
        nr_extents: 1,
        extent_order: 0,
        mem_flags: 0,
        domid: domid::SELF,
        pad: [0; 3],
    };
    let at = address(&mut reservation);
    median(|| {
        page.release().expect("memory to give up");
        let before = time::Timer::Virtual.count();
        let call = [memory::op::POPULATE_PHYSMAP, at, 0, 0, 0];
        let (done, _) = timed_hypercall(hypercall::MEMORY_OP, call);
        page.double(0).store(1, Ordering::Relaxed);
        let ticks = time::Timer::Virtual.count() - before;
        assert_eq!(done, 1);
        ticks
    })
}

/// Turns of the two vCPUs that are measured at once.
const TURNS: u64 = 200;
static OTHERS_TURNS: AtomicU64 = AtomicU64::new(0);
static OVER: AtomicBool = AtomicBool::new(false);

/// From one vCPU to another on the same pCPU, each of which yields as soon as it has its turn. On more than one pCPU there is
/// nothing to switch to.
fn context_switch() -> u64 {
    cpus::start(1, || {
        while !OVER.load(Ordering::Acquire) {
            OTHERS_TURNS.fetch_add(1, Ordering::AcqRel);
            xen::yield_now();
        }
    })
    .expect("a second vCPU");
    let turns = || OTHERS_TURNS.load(Ordering::Acquire);
    let run_until = |turn| {
        while turns() < turn {
            xen::yield_now();
        }
    };
    run_until(10);
    let (first, before) = (turns(), time::Timer::Virtual.count());
    run_until(first + TURNS);
    let ticks = time::Timer::Virtual.count() - before;
    let switches = 2 * (turns() - first);
    OVER.store(true, Ordering::Release);
    ticks / switches
}
