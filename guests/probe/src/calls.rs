//! Every hypercall by its number, with arguments of zero, and operations whose upper half is no part of them.

use xen_abi::xen::hypercall;

use crate::say;
use crate::wild;

/// `__HYPERVISOR_physdev_op`: not on Arm.
const PHYSDEV_OP: u64 = 33;
/// Numbers that no table has.
const BEYOND: [u64; 6] = [64, 255, 1 << 31, 1 << 32 | hypercall::XEN_VERSION, 1 << 63, u64::MAX];

/// Asks all of it.
#[inline(never)]
pub fn probe() {
    for number in (0..64).chain(BEYOND) {
        say(format_args!("hypercall {number:#x}"), wild::hypercall(number, [0; 5]));
    }
    for number in 0..64 {
        // What is behind 32 bits of zero.
        say(format_args!("hypercall {number:#x}, upper half"), wild::hypercall(number, [1 << 32, 0, 0, 0, 0]));
    }
    for number in [
        hypercall::MEMORY_OP,
        hypercall::XEN_VERSION,
        hypercall::CONSOLE_IO,
        hypercall::GRANT_TABLE_OP,
        hypercall::VM_ASSIST,
        hypercall::VCPU_OP,
        hypercall::SCHED_OP,
        hypercall::EVENT_CHANNEL_OP,
        PHYSDEV_OP,
        hypercall::HVM_OP,
    ] {
        for op in [63_u64, 255, 1 << 31, u32::MAX.into(), u64::MAX] {
            // Memory operations have where to go on in the upper bits.
            if number != hypercall::MEMORY_OP || op == 63 {
                say(
                    format_args!("hypercall {number:#x}, operation {op:#x}"),
                    wild::hypercall(number, [op, 0, 0, 0, 0]),
                );
            }
        }
    }
    for (name, kind) in [("runstate flag", 5_u64), ("4 GiB segments", 0), ("unknown", 63), ("upper half", 1 << 32 | 5)]
    {
        for command in [0_u64, 1, 2, 1 << 32] {
            let answer = wild::hypercall(hypercall::VM_ASSIST, [command, kind, 0, 0, 0]);
            say(format_args!("vm_assist {command:#x} {name}"), answer);
        }
    }
    for op in 0..40_u64 {
        say(format_args!("physdev_op {op}"), wild::hypercall(PHYSDEV_OP, [op, 0, 0, 0, 0]));
    }
}
