//! `event_channel_op`, with events as bits in the shared page.

use core::mem::offset_of;

use xen_abi::Wire;
use xen_abi::event_channel::{
    AllocUnbound, BindInterdomain, BindIpi, BindPirq, BindVcpu, BindVirq, ExpandArray, Port, Reset, SetPriority,
    Status, op,
};
use xen_abi::memory::{AddToPhysmap, op::ADD_TO_PHYSMAP, space};
use xen_abi::xen::hypercall::{EVENT_CHANNEL_OP, MEMORY_OP};
use xen_abi::xen::{SharedInfo, VcpuInfo, domid, virq};

use crate::grants::peer_s_port;
use crate::pages::{Answer, Pages, call};
use crate::{Guests, NOBODY, say, wild};

/// The shared page is put in its place.
pub static SHARED: Pages<1> = Pages::new();
/// Ports that are none: no port at all, beyond this domain's, the 2-level ABI's, and the FIFO ABI's.
const NO_PORTS: [u32; 7] = [0, 1000, 1023, 1024, 4096, 1 << 17, u32::MAX];

/// Makes a call and says what came of it.
pub fn tell<T: Wire>(name: impl core::fmt::Display, op: u64, argument: T) -> T {
    let (answer, argument) = call(EVENT_CHANNEL_OP, op, argument);
    say(format_args!("event {name}"), answer);
    argument
}

/// Offsets in the shared page.
const PENDING: usize = offset_of!(SharedInfo, evtchn_pending);
const MASK: usize = offset_of!(SharedInfo, evtchn_mask);
const UPCALL: usize = offset_of!(VcpuInfo, evtchn_upcall_pending);
const SELECTOR: usize = offset_of!(VcpuInfo, evtchn_pending_sel);

/// The word of such bits that has a port's, and its place in it.
const fn place(bits: usize, port: u32) -> (usize, u32) {
    (bits + port as usize / 64 * 8, port % 64)
}

/// What the shared page says of a port.
fn show(name: &str, port: u32) {
    let bit = |bits| {
        let (at, bit) = place(bits, port);
        SHARED.get::<u64>(at) >> bit & 1
    };
    let (pending, masked) = (bit(PENDING), bit(MASK));
    let selected = SHARED.get::<u64>(SELECTOR) >> (port / 64) & 1;
    let upcall: u8 = SHARED.get(UPCALL);
    let name = format_args!("event {name}: upcall, selected, pending, masked");
    say(name, format_args!("{upcall} {selected} {pending} {masked}"));
}

/// Takes all events, as a guest does that looks at none.
fn take() {
    SHARED.put(UPCALL, &0_u8);
    SHARED.put(SELECTOR, &0_u64);
    SHARED.put(PENDING, &[0_u64; 64]);
}

fn status(name: impl core::fmt::Display, dom: u16, port: u32) {
    let asked = Status { dom, pad: 0, port, status: 99, vcpu: 99, peer: 0, peer_port: 0 };
    let (answer, Status { status, vcpu, peer, peer_port, .. }) = call(EVENT_CHANNEL_OP, op::STATUS, asked);
    say(format_args!("event status {name}"), answer);
    if answer.0 == 0 {
        // Where a channel leads is a number that depends on how many there are.
        let peer_port = peer_port.min(1);
        say(
            format_args!("event status {name}: kind, vCPU, peer, port"),
            format_args!("{status} {vcpu} {peer:#x} {peer_port}"),
        );
    } else {
        say(format_args!("event status {name}: kind, vCPU, peer, port"), "none");
    }
}

/// Asks all of it.
#[inline(never)]
pub fn probe(guests: Guests) {
    let asked =
        AddToPhysmap { domid: domid::SELF, size: 0, space: space::SHARED_INFO.into(), idx: 0, gpfn: SHARED.frame(0) };
    say("event shared page", call(MEMORY_OP, ADD_TO_PHYSMAP, asked).0);
    take();
    for op in (0..20).chain([255]) {
        say(format_args!("event {op}, null"), wild::hypercall(EVENT_CHANNEL_OP, [op, 0, 0, 0, 0]));
    }
    unbound(guests);
    let own = interdomain(guests);
    virtual_interrupts();
    between_vcpus();
    tell("bind pirq", op::BIND_PIRQ, BindPirq { pirq: 40, flags: 0, port: 0 });
    bad_ports();
    resets(guests, own);
    with_peer(guests);
    fill();
}

#[inline(never)]
fn unbound(guests: Guests) {
    let [dom, remote_dom] = [domid::SELF; 2];
    let first = tell("alloc unbound", op::ALLOC_UNBOUND, AllocUnbound { dom, remote_dom, port: 0 }).port;
    say("event first free port", first);
    status("unbound", domid::SELF, first);
    status("unbound by number", guests.me, first);
    tell("send unbound", op::SEND, Port { port: first });
    show("sent unbound", first);
    tell("unmask unbound", op::UNMASK, Port { port: first });
    tell("close", op::CLOSE, Port { port: first });
    tell("close again", op::CLOSE, Port { port: first });
    status("closed", domid::SELF, first);
    for domain in [guests.me, guests.peer].into_iter().chain(NOBODY) {
        let port = tell(
            format_args!("alloc unbound of {domain:#x}"),
            op::ALLOC_UNBOUND,
            AllocUnbound { dom: domain, remote_dom, port: 0 },
        )
        .port;
        call(EVENT_CHANNEL_OP, op::CLOSE, Port { port });
        let port = tell(
            format_args!("alloc unbound for {domain:#x}"),
            op::ALLOC_UNBOUND,
            AllocUnbound { dom, remote_dom: domain, port: 0 },
        )
        .port;
        call(EVENT_CHANNEL_OP, op::CLOSE, Port { port });
        status(format_args!("of {domain:#x}"), domain, 1);
    }
    let given = AllocUnbound { dom, remote_dom, port: 500 };
    let port = tell("alloc unbound with a port given", op::ALLOC_UNBOUND, given).port;
    say("event alloc unbound with a port given: is it", port == 500);
    call(EVENT_CHANNEL_OP, op::CLOSE, Port { port });
}

/// Both ends in this domain. They stay.
#[inline(never)]
fn interdomain(guests: Guests) -> [u32; 2] {
    let alloc = AllocUnbound { dom: domid::SELF, remote_dom: domid::SELF, port: 0 };
    let one = tell("alloc for itself", op::ALLOC_UNBOUND, alloc).port;
    let bind = |remote_dom, remote_port| BindInterdomain { remote_dom, pad: 0, remote_port, local_port: 0 };
    let other = tell("bind interdomain", op::BIND_INTERDOMAIN, bind(domid::SELF, one)).local_port;
    show("bound interdomain", other);
    take();
    tell("bind interdomain again", op::BIND_INTERDOMAIN, bind(domid::SELF, one));
    tell("bind interdomain to oneself", op::BIND_INTERDOMAIN, bind(guests.me, other));
    for port in NO_PORTS {
        tell(format_args!("bind interdomain to {port:#x}"), op::BIND_INTERDOMAIN, bind(domid::SELF, port));
        tell(format_args!("bind interdomain to {port:#x} of the peer"), op::BIND_INTERDOMAIN, bind(guests.peer, port));
    }
    for domain in NOBODY {
        tell(format_args!("bind interdomain to domain {domain:#x}"), op::BIND_INTERDOMAIN, bind(domain, 1));
    }
    let strange = AllocUnbound { remote_dom: guests.peer, ..alloc };
    let port = tell("alloc for the peer", op::ALLOC_UNBOUND, strange).port;
    tell("bind what is the peer's", op::BIND_INTERDOMAIN, bind(domid::SELF, port));
    call(EVENT_CHANNEL_OP, op::CLOSE, Port { port });
    status("interdomain", domid::SELF, other);
    tell("send interdomain", op::SEND, Port { port: other });
    show("sent interdomain", one);
    tell("send interdomain again", op::SEND, Port { port: other });
    show("sent interdomain again", one);
    take();
    masks(one, other);
    bind_vcpus("interdomain", one);
    [one, other]
}

#[inline(never)]
fn masks(port: u32, sender: u32) {
    let (at, bit) = place(MASK, port);
    SHARED.put(at, &(SHARED.get::<u64>(at) | 1 << bit));
    tell("send masked", op::SEND, Port { port: sender });
    show("sent masked", port);
    tell("unmask pending", op::UNMASK, Port { port });
    show("unmasked pending", port);
    take();
    tell("unmask nothing", op::UNMASK, Port { port });
    show("unmasked nothing", port);
}

#[inline(never)]
fn bind_vcpus(name: &str, port: u32) {
    for vcpu in [1, 2, 128, u32::MAX, 0] {
        tell(format_args!("bind {name} to vCPU {vcpu:#x}"), op::BIND_VCPU, BindVcpu { port, vcpu });
    }
    status(format_args!("{name}, bound"), domid::SELF, port);
}

#[inline(never)]
fn virtual_interrupts() {
    for number in (0..26).chain([64, u32::MAX]) {
        for vcpu in [0, 1, 2] {
            let name = format_args!("bind virq {number:#x} of vCPU {vcpu}");
            let port = tell(name, op::BIND_VIRQ, BindVirq { virq: number, vcpu, port: 0 }).port;
            if port != 0 {
                status(format_args!("virq {number:#x} of vCPU {vcpu}"), domid::SELF, port);
                call(EVENT_CHANNEL_OP, op::CLOSE, Port { port });
            } else {
                say(format_args!("event status virq {number:#x} of vCPU {vcpu}"), "none");
                say(format_args!("event status virq {number:#x} of vCPU {vcpu}: kind, vCPU, peer, port"), "none");
            }
        }
    }
    let debug = BindVirq { virq: virq::DEBUG, vcpu: 0, port: 0 };
    let port = tell("bind virq", op::BIND_VIRQ, debug).port;
    tell("bind virq again", op::BIND_VIRQ, debug);
    tell("send virq", op::SEND, Port { port });
    tell("unmask virq", op::UNMASK, Port { port });
    bind_vcpus("virq", port);
    call(EVENT_CHANNEL_OP, op::CLOSE, Port { port });
    let global = BindVirq { virq: virq::CONSOLE, ..debug };
    let port = tell("bind global virq", op::BIND_VIRQ, global).port;
    bind_vcpus("global virq", port);
    call(EVENT_CHANNEL_OP, op::CLOSE, Port { port });
}

#[inline(never)]
fn between_vcpus() {
    for vcpu in [1, 2, 128, u32::MAX] {
        let port = tell(format_args!("bind ipi {vcpu:#x}"), op::BIND_IPI, BindIpi { vcpu, port: 0 }).port;
        call(EVENT_CHANNEL_OP, op::CLOSE, Port { port });
    }
    let port = tell("bind ipi 0", op::BIND_IPI, BindIpi { vcpu: 0, port: 0 }).port;
    status("ipi", domid::SELF, port);
    tell("send ipi", op::SEND, Port { port });
    show("sent ipi", port);
    take();
    bind_vcpus("ipi", port);
    let bind = BindInterdomain { remote_dom: domid::SELF, pad: 0, remote_port: port, local_port: 0 };
    tell("bind interdomain to an ipi", op::BIND_INTERDOMAIN, bind);
    call(EVENT_CHANNEL_OP, op::CLOSE, Port { port });
}

#[inline(never)]
fn bad_ports() {
    for port in NO_PORTS {
        tell(format_args!("close {port:#x}"), op::CLOSE, Port { port });
        tell(format_args!("send {port:#x}"), op::SEND, Port { port });
        tell(format_args!("unmask {port:#x}"), op::UNMASK, Port { port });
        tell(format_args!("bind {port:#x} to a vCPU"), op::BIND_VCPU, BindVcpu { port, vcpu: 0 });
        tell(format_args!("bind {port:#x} to no vCPU"), op::BIND_VCPU, BindVcpu { port, vcpu: 9 });
        tell(format_args!("priority of {port:#x}"), op::SET_PRIORITY, SetPriority { port, priority: 3 });
        status(format_args!("{port:#x}"), domid::SELF, port);
    }
    // Free, but where ports are already.
    tell("close a free port", op::CLOSE, Port { port: 50 });
    tell("send a free port", op::SEND, Port { port: 50 });
    tell("unmask a free port", op::UNMASK, Port { port: 50 });
    tell("bind a free port", op::BIND_VCPU, BindVcpu { port: 50, vcpu: 0 });
    tell("priority of a free port", op::SET_PRIORITY, SetPriority { port: 50, priority: 3 });
    status("a free port", domid::SELF, 50);
    tell("expand array without queues", op::EXPAND_ARRAY, ExpandArray { array_gfn: SHARED.frame(0) });
}

#[inline(never)]
fn resets(guests: Guests, [one, other]: [u32; 2]) {
    for domain in [guests.peer].into_iter().chain(NOBODY) {
        tell(format_args!("reset {domain:#x}"), op::RESET, Reset { dom: domain });
    }
    tell("close one end", op::CLOSE, Port { port: one });
    status("the other end", domid::SELF, other);
    tell("send from the other end", op::SEND, Port { port: other });
    tell("reset", op::RESET, Reset { dom: domid::SELF });
    status("the other end after a reset", domid::SELF, other);
    tell("reset by number", op::RESET, Reset { dom: guests.me });
}

#[inline(never)]
fn with_peer(guests: Guests) {
    let bind = BindInterdomain { remote_dom: guests.peer, pad: 0, remote_port: peer_s_port(guests), local_port: 0 };
    let port = tell("bind to the peer", op::BIND_INTERDOMAIN, bind).local_port;
    tell("bind to the peer again", op::BIND_INTERDOMAIN, bind);
    status("bound to the peer", domid::SELF, port);
    tell("send to the peer", op::SEND, Port { port });
    tell("close the peer's", op::CLOSE, Port { port });
}

/// As many as there can be.
#[inline(never)]
fn fill() {
    let alloc = AllocUnbound { dom: domid::SELF, remote_dom: domid::SELF, port: 0 };
    let mut last = 0;
    let answer = loop {
        match call(EVENT_CHANNEL_OP, op::ALLOC_UNBOUND, alloc) {
            (Answer(0), AllocUnbound { port, .. }) => last = port,
            (error, _) => break error,
        }
    };
    say("event one port too many", answer);
    say("event last port", last);
    tell("bind ipi, one port too many", op::BIND_IPI, BindIpi { vcpu: 0, port: 0 });
    tell("bind virq, one port too many", op::BIND_VIRQ, BindVirq { virq: virq::DEBUG, vcpu: 0, port: 0 });
    tell("send the last", op::SEND, Port { port: last });
    tell("reset all", op::RESET, Reset { dom: domid::SELF });
}
