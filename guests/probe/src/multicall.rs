//! `multicall`.

use xen_abi::version::op;
use xen_abi::xen::{MulticallEntry, hypercall};

use crate::pages::{Answer, Pages, SCRATCH, SIZE};
use crate::say;
use crate::wild;

/// Bytes of an entry.
const ENTRY: usize = size_of::<MulticallEntry>();
/// A result that no call gives.
const NONE: u64 = 0x5555;

static PAGE: Pages<1> = Pages::new();

/// Asks all of it.
#[inline(never)]
pub fn probe() {
    let entry =
        |number, args: [u64; 2]| MulticallEntry { op: number, result: NONE, args: [args[0], args[1], 0, 0, 0, 0] };
    let version = entry(hypercall::XEN_VERSION, [op::VERSION, 0]);
    let nested = entry(hypercall::MULTICALL, [SCRATCH.address(0), 1]);
    let nothing = entry(63, [0, 0]);
    let fault = entry(hypercall::XEN_VERSION, [op::EXTRAVERSION, 0]);
    let yields = entry(hypercall::SCHED_OP, [0, 0]);
    let lists: [(&str, &[MulticallEntry]); 7] = [
        ("none", &[]),
        ("one", &[version]),
        ("unknown", &[nothing]),
        ("nested", &[nested]),
        ("fault", &[fault]),
        ("mixed", &[version, nested, nothing, fault, version]),
        ("yields", &[yields, version, yields]),
    ];
    for (name, list) in lists {
        (0..).zip(list).for_each(|(index, entry)| {
            SCRATCH.put(index * ENTRY, entry);
        });
        let call = [SCRATCH.address(0), list.len() as u64, 0, 0, 0];
        say(format_args!("multicall {name}"), wild::hypercall(hypercall::MULTICALL, call));
        for index in 0..list.len() {
            let entry: MulticallEntry = SCRATCH.get(index * ENTRY);
            say(format_args!("multicall {name} {index}"), Answer(entry.result));
        }
    }
    many();
    for (name, call) in [
        ("null", [0, 1, 0, 0, 0]),
        ("null, none", [0; 5]),
        ("upper half of the count", [0, 1 << 32, 0, 0, 0]),
        ("too many", [0, 1 << 31, 0, 0, 0]),
        ("the top", [u64::MAX - 7, 1, 0, 0, 0]),
    ] {
        say(format_args!("multicall {name}"), wild::hypercall(hypercall::MULTICALL, call));
    }
}

/// More than is done at once, the last of which is not there.
#[inline(never)]
fn many() {
    let count = SIZE / ENTRY;
    let entry = MulticallEntry { op: hypercall::XEN_VERSION, result: NONE, args: [0; 6] };
    (0..count).for_each(|index| {
        PAGE.put(index * ENTRY, &entry);
    });
    let call = [PAGE.address(0), count as u64, 0, 0, 0];
    say("multicall many", wild::hypercall(hypercall::MULTICALL, call));
    let answered = (0..count).filter(|index| PAGE.get::<MulticallEntry>(index * ENTRY).result != NONE).count();
    say("multicall many answered", answered == count);
}
