//! `vcpu_op`. Comes late, because a vCPU's record stays where it was put.

use core::mem::offset_of;

use xen_abi::vcpu::{RegisterRunstateArea, RegisterVcpuInfo, RunstateInfo, op};
use xen_abi::xen::VcpuInfo;
use xen_abi::xen::hypercall::VCPU_OP;

use crate::pages::{Answer, Pages, SCRATCH, SIZE};
use crate::{say, wild};

static PAGES: Pages<2> = Pages::new();
/// Where in them a record is that crosses their border.
const ACROSS: usize = SIZE - 16;

fn ask<T: xen_abi::Wire>(op: u64, vcpu: u64, argument: T) -> Answer {
    wild::hypercall(VCPU_OP, [op, vcpu, SCRATCH.put(0, &argument), 0, 0])
}

/// Asks all of it.
#[inline(never)]
pub fn probe() {
    for op in 0..18 {
        for vcpu in [0_u64, 1, 2, 128, u32::MAX.into(), 1 << 32] {
            // Its record at frame 0 is refused, and a record of how it runs at address 0 is none.
            say(format_args!("vcpu {op} of {vcpu:#x}, null"), wild::hypercall(VCPU_OP, [op, vcpu, 0, 0, 0]));
        }
        if op != op::REGISTER_VCPU_INFO {
            say(format_args!("vcpu {op}, zeroes"), ask(op, 0, [0_u64; 8]));
        }
    }
    runstate();
    info();
}

#[inline(never)]
fn runstate() {
    let register = |address| ask(op::REGISTER_RUNSTATE_MEMORY_AREA, 0, RegisterRunstateArea { address });
    for at in [0, 8, ACROSS, 3] {
        PAGES.fill(0x5a);
        say(format_args!("runstate at {at}"), register(PAGES.address(at)));
        let record: RunstateInfo = PAGES.get(at);
        say(format_args!("runstate at {at}: state"), Answer(record.state.into()));
        let [running, runnable, blocked, offline] = record.time;
        say(format_args!("runstate at {at}: entered, ran"), record.state_entry_time > 0 && running > 0);
        say(
            format_args!("runstate at {at}: odd times"),
            [runnable, blocked, offline].iter().any(|time| *time > 1 << 50),
        );
    }
    for address in [1 << 39, u64::MAX, 0x3000_0000, 0] {
        say(format_args!("runstate at address {address:#x}"), register(address));
    }
    say(
        "runstate of vCPU 1",
        ask(op::REGISTER_RUNSTATE_MEMORY_AREA, 1, RegisterRunstateArea { address: PAGES.address(0) }),
    );
    let record: RunstateInfo = PAGES.get(0);
    say("runstate of vCPU 1: state", Answer(record.state.into()));
    register(0);
}

#[inline(never)]
fn info() {
    let frame = PAGES.frame(0);
    let register = |vcpu, mfn, offset| ask(op::REGISTER_VCPU_INFO, vcpu, RegisterVcpuInfo { mfn, offset, rsvd: 0 });
    for offset in [1, 4, 7, 4049, 4056, 4064, 4095, 4096, 1 << 31, u32::MAX] {
        say(format_args!("vcpu_info at {offset}"), register(0, frame, offset));
    }
    for mfn in [0, 0x3_8000, 0x3001, 1 << 24, 1 << 36, 1 << 52, u64::MAX] {
        say(format_args!("vcpu_info in frame {mfn:#x}"), register(0, mfn, 0));
    }
    for vcpu in [2, 127, 1 << 31] {
        say(format_args!("vcpu_info of vCPU {vcpu}"), register(vcpu, frame, 0));
    }
    for (vcpu, offset) in [(0, 4048), (1, 0)] {
        PAGES.fill(0x5a);
        say(format_args!("vcpu_info of vCPU {vcpu}, good"), register(vcpu, frame, offset));
        let at = offset as usize;
        let info: VcpuInfo = PAGES.get(at);
        let (pending, mask) = (info.evtchn_upcall_pending, info.pad[0]);
        say(format_args!("vcpu_info of vCPU {vcpu}: pending, mask"), format_args!("{pending} {mask:#x}"));
        say(
            format_args!("vcpu_info of vCPU {vcpu}: selected"),
            Answer(PAGES.get(at + offset_of!(VcpuInfo, evtchn_pending_sel))),
        );
        say(format_args!("vcpu_info of vCPU {vcpu}, again"), register(vcpu, frame, 64));
    }
}
