//! `sched_op`.

use mote_unikernel::time::{self, Timer};
use xen_abi::event_channel::{BindIpi, Port, op as event};
use xen_abi::sched::{Poll, RemoteShutdown, Shutdown, Watchdog, op, reason};
use xen_abi::xen::domid;
use xen_abi::xen::hypercall::{EVENT_CHANNEL_OP, SCHED_OP};

use crate::pages::{LIST, SCRATCH, call};
use crate::{Guests, NOBODY, say, wild};

/// In nanoseconds of system time: past already.
const PAST: u64 = 1;
/// In nanoseconds: long enough to be waited for.
const SOON: u64 = 2_000_000;

/// Asks all of it.
#[inline(never)]
pub fn probe(guests: Guests) {
    for op in [op::YIELD, 8, 9, 10, 255] {
        say(format_args!("sched {op}"), wild::hypercall(SCHED_OP, [op, 0, 0, 0, 0]));
    }
    for op in [op::SHUTDOWN, op::POLL, op::REMOTE_SHUTDOWN, op::SHUTDOWN_CODE, op::WATCHDOG, op::PIN_OVERRIDE] {
        say(format_args!("sched {op}, null"), wild::hypercall(SCHED_OP, [op, 0, 0, 0, 0]));
    }
    for pcpu in [0, -1, 5_i32] {
        say(format_args!("sched pin to {pcpu}"), call(SCHED_OP, op::PIN_OVERRIDE, pcpu).0);
    }
    for domain_id in [guests.peer, guests.me, domid::SELF].into_iter().chain(NOBODY) {
        let asked = RemoteShutdown { domain_id, pad: 0, reason: reason::POWEROFF };
        say(format_args!("sched shut down {domain_id:#x}"), call(SCHED_OP, op::REMOTE_SHUTDOWN, asked).0);
    }
    polls();
    watchdogs();
    say("sched shutdown code", call(SCHED_OP, op::SHUTDOWN_CODE, Shutdown { reason: reason::POWEROFF }).0);
}

#[inline(never)]
fn polls() {
    let (answer, bound) = call(EVENT_CHANNEL_OP, event::BIND_IPI, BindIpi { vcpu: 0, port: 0 });
    say("poll: a port", answer);
    let poll = |ports: &[u32], nr_ports, timeout| {
        (0..).zip(ports).for_each(|(index, port)| {
            SCRATCH.put(LIST + index * 4, port);
        });
        call(SCHED_OP, op::POLL, Poll { ports: SCRATCH.address(LIST), nr_ports, pad: 0, timeout }).0
    };
    say("poll none, till the past", poll(&[], 0, PAST));
    say("poll a port, till the past", poll(&[bound.port], 1, PAST));
    say("poll it twice, till the past", poll(&[bound.port; 2], 2, PAST));
    for nr_ports in [129, 1 << 16, u32::MAX] {
        say(format_args!("poll {nr_ports:#x} ports"), poll(&[], nr_ports, PAST));
    }
    let wrong = [0, 1023, 1024, 4096, 1 << 17, u32::MAX].map(|port| ("port", port));
    for (name, port) in wrong.into_iter().chain([("a free port below", 50)]) {
        say(format_args!("poll {name} {port:#x}"), poll(&[port], 1, PAST));
        say(format_args!("poll a port and {name} {port:#x}"), poll(&[bound.port, port], 2, PAST));
    }
    let null = Poll { ports: 0, nr_ports: 1, pad: 0, timeout: PAST };
    say("poll a null list", call(SCHED_OP, op::POLL, null).0);
    say("poll nothing of a null list", call(SCHED_OP, op::POLL, Poll { nr_ports: 0, ..null }).0);
    // A little ahead of system time, which began when the hypervisor did.
    let soon = u128::from(Timer::Physical.count()) * 1_000_000_000 / u128::from(time::frequency());
    say("poll a port for some time", poll(&[bound.port], 1, soon as u64 + SOON));
    say("poll: send", call(EVENT_CHANNEL_OP, event::SEND, Port { port: bound.port }).0);
    say("poll what is pending, for ever", poll(&[bound.port], 1, 0));
    say("poll what is pending among others", poll(&[bound.port; 3], 3, 0));
    say("poll: close", call(EVENT_CHANNEL_OP, event::CLOSE, Port { port: bound.port }).0);
}

#[inline(never)]
fn watchdogs() {
    let watch = |id, timeout| call(SCHED_OP, op::WATCHDOG, Watchdog { id, timeout }).0;
    // A new one of no seconds would bark at once.
    for id in [1, 2, 3, 4, u32::MAX] {
        say(format_args!("watchdog {id:#x} before there is one"), watch(id, 100));
        say(format_args!("watchdog {id:#x} stopped before there is one"), watch(id, 0));
    }
    for count in 1..=4 {
        say(format_args!("watchdog new {count}"), watch(0, 100));
    }
    for id in [1, 2, 3] {
        say(format_args!("watchdog {id} again"), watch(id, 100));
        say(format_args!("watchdog {id} stopped"), watch(id, 0));
        say(format_args!("watchdog {id} stopped again"), watch(id, 0));
    }
    say("watchdog of all seconds", watch(0, u32::MAX));
    say("watchdog of all seconds stopped", watch(1, 0));
}
