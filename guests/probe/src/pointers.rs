//! Structures where they cannot be read or written, and across the border of two pages.

use xen_abi::event_channel::{AllocUnbound, Port, op as event};
use xen_abi::version::{FeatureInfo, op as version};
use xen_abi::xen::{domid, hypercall};
use xen_abi::{console, event_channel, grant_table, hvm, memory, sched, vcpu};

use crate::pages::{Pages, SCRATCH, SIZE, call};
use crate::say;
use crate::wild;

/// A page that holds the number of this domain all over, and that stage 1 has read-only.
static READ_ONLY: [u16; 2048] = [domid::SELF; 2048];

/// Pages of which the second is left for the first's border.
static PAGES: Pages<2> = Pages::new();

/// Calls that read a structure: name, number, operation.
const CALLS: [(&str, u64, u64); 32] = [
    ("features", hypercall::XEN_VERSION, version::GET_FEATURES),
    ("extraversion", hypercall::XEN_VERSION, version::EXTRAVERSION),
    ("changeset", hypercall::XEN_VERSION, version::CHANGESET),
    ("capabilities2", hypercall::XEN_VERSION, version::CAPABILITIES2),
    ("populate", hypercall::MEMORY_OP, memory::op::POPULATE_PHYSMAP),
    ("decrease", hypercall::MEMORY_OP, memory::op::DECREASE_RESERVATION),
    ("current reservation", hypercall::MEMORY_OP, memory::op::CURRENT_RESERVATION),
    ("add to physmap", hypercall::MEMORY_OP, memory::op::ADD_TO_PHYSMAP),
    ("remove from physmap", hypercall::MEMORY_OP, memory::op::REMOVE_FROM_PHYSMAP),
    ("exchange", hypercall::MEMORY_OP, memory::op::EXCHANGE),
    ("register vcpu_info", hypercall::VCPU_OP, vcpu::op::REGISTER_VCPU_INFO),
    ("poll", hypercall::SCHED_OP, sched::op::POLL),
    ("watchdog", hypercall::SCHED_OP, sched::op::WATCHDOG),
    ("remote shutdown", hypercall::SCHED_OP, sched::op::REMOTE_SHUTDOWN),
    ("alloc unbound", hypercall::EVENT_CHANNEL_OP, event::ALLOC_UNBOUND),
    ("bind interdomain", hypercall::EVENT_CHANNEL_OP, event::BIND_INTERDOMAIN),
    ("bind virq", hypercall::EVENT_CHANNEL_OP, event::BIND_VIRQ),
    ("bind ipi", hypercall::EVENT_CHANNEL_OP, event::BIND_IPI),
    ("bind pirq", hypercall::EVENT_CHANNEL_OP, event::BIND_PIRQ),
    ("close", hypercall::EVENT_CHANNEL_OP, event::CLOSE),
    ("send", hypercall::EVENT_CHANNEL_OP, event::SEND),
    ("status", hypercall::EVENT_CHANNEL_OP, event::STATUS),
    ("unmask", hypercall::EVENT_CHANNEL_OP, event::UNMASK),
    ("bind vcpu", hypercall::EVENT_CHANNEL_OP, event::BIND_VCPU),
    ("set priority", hypercall::EVENT_CHANNEL_OP, event::SET_PRIORITY),
    ("query size", hypercall::GRANT_TABLE_OP, grant_table::op::QUERY_SIZE),
    ("get version", hypercall::GRANT_TABLE_OP, grant_table::op::GET_VERSION),
    ("map", hypercall::GRANT_TABLE_OP, grant_table::op::MAP),
    ("copy", hypercall::GRANT_TABLE_OP, grant_table::op::COPY),
    ("get param", hypercall::HVM_OP, hvm::GET_PARAM),
    ("set param", hypercall::HVM_OP, hvm::SET_PARAM),
    ("console read", hypercall::CONSOLE_IO, console::READ),
];

/// Asks all of it.
#[inline(never)]
pub fn probe() {
    let read_only = (&raw const READ_ONLY).addr() as u64;
    let places = [
        ("null", 0),
        ("no memory", 0x3000_0000),
        ("unmapped", 1 << 39),
        ("upper half", 0xffff_0000_0000_0000),
        ("the top", u64::MAX - 3),
        ("no address", 1 << 60),
        ("a device", 0x0300_1000),
        ("read-only", read_only),
    ];
    for (name, number, op) in CALLS {
        for (place, address) in places {
            // This domain is in that page, and it would shut down.
            if place != "read-only" || op != sched::op::REMOTE_SHUTDOWN || number != hypercall::SCHED_OP {
                say(format_args!("pointer {name}: {place}"), wild::hypercall(number, arguments(number, op, address)));
            }
        }
    }
    borders();
}

/// Where a call has its pointer.
const fn arguments(number: u64, op: u64, address: u64) -> [u64; 5] {
    match number {
        hypercall::VCPU_OP => [op, 0, address, 0, 0],
        hypercall::CONSOLE_IO => [op, 4, address, 0, 0],
        _ => [op, address, 1, 0, 0],
    }
}

/// Structures that begin on one page and end on another, that is there or not.
#[inline(never)]
fn borders() {
    let alloc = AllocUnbound { dom: domid::SELF, remote_dom: domid::SELF, port: 0 };
    for before in [1, 2, 3, 4, 7] {
        let at = PAGES.put(SIZE - before, &alloc);
        let answer = wild::hypercall(hypercall::EVENT_CHANNEL_OP, [event_channel::op::ALLOC_UNBOUND, at, 0, 0, 0]);
        say(format_args!("border: alloc unbound {before} bytes before it"), answer);
        let Port { port } = PAGES.get(SIZE - before + 4);
        say(
            format_args!("border: close {before} bytes before it"),
            call(hypercall::EVENT_CHANNEL_OP, event::CLOSE, Port { port }).0,
        );
        let at = PAGES.put(SIZE - before, &FeatureInfo { submap_idx: 0, submap: 0 });
        let answer = wild::hypercall(hypercall::XEN_VERSION, [version::GET_FEATURES, at, 0, 0, 0]);
        say(format_args!("border: features {before} bytes before it"), answer);
    }
    // Behind the last page of the address space that stage 1 maps.
    for before in [4_u64, 8, 1024] {
        let answer = wild::hypercall(hypercall::XEN_VERSION, [version::CAPABILITIES, (1 << 36) - before, 0, 0, 0]);
        say(format_args!("border: capabilities {before} bytes before the end"), answer);
    }
    for odd in 1..8 {
        let at = SCRATCH.put(odd, &FeatureInfo { submap_idx: 0, submap: 0 });
        let answer = wild::hypercall(hypercall::XEN_VERSION, [version::GET_FEATURES, at, 0, 0, 0]);
        say(format_args!("border: features misaligned by {odd}"), answer);
    }
}
