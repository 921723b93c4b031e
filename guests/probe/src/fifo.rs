//! `event_channel_op` with queues. Comes late, because a reset alone leads back.

use xen_abi::event_channel::{BindIpi, ControlBlock, ExpandArray, InitControl, Port, Reset, SetPriority, op};
use xen_abi::xen::domid;

use crate::events::tell;
use crate::pages::{Answer, Pages};
use crate::say;

/// A control block for each of two vCPUs, and pages of event words.
static PAGES: Pages<4> = Pages::new();

fn control(vcpu: u32, control_gfn: u64, offset: u32) -> InitControl {
    InitControl { control_gfn, offset, vcpu, link_bits: 77, pad: [0; 7] }
}

/// Asks all of it.
#[inline(never)]
pub fn probe() {
    let frame = PAGES.frame(0);
    for offset in [1, 4, 4032, 4040, 4095, 4096, u32::MAX] {
        tell(format_args!("init control at {offset}"), op::INIT_CONTROL, control(0, frame, offset));
    }
    for vcpu in [2, 128, u32::MAX] {
        tell(format_args!("init control of vCPU {vcpu:#x}"), op::INIT_CONTROL, control(vcpu, frame, 0));
    }
    for gfn in [0, 0x3_8000, 0x3001, 1 << 24, 1 << 36, 1 << 52, u64::MAX] {
        tell(format_args!("init control in frame {gfn:#x}"), op::INIT_CONTROL, control(0, gfn, 0));
    }
    let bound = tell("bind ipi before queues", op::BIND_IPI, BindIpi { vcpu: 0, port: 0 }).port;
    tell("send before queues", op::SEND, Port { port: bound });
    let made = tell("init control", op::INIT_CONTROL, control(0, frame, 8));
    say("event init control: link bits", made.link_bits);
    tell("init control again", op::INIT_CONTROL, control(0, frame, 1024));
    tell("init control of vCPU 1", op::INIT_CONTROL, control(1, PAGES.frame(1), 0));
    tell("priority without words", op::SET_PRIORITY, SetPriority { port: bound, priority: 3 });
    tell("send without words", op::SEND, Port { port: bound });
    for gfn in [0, 0x3_8000, 1 << 36, u64::MAX] {
        tell(format_args!("expand array by frame {gfn:#x}"), op::EXPAND_ARRAY, ExpandArray { array_gfn: gfn });
    }
    tell("expand array", op::EXPAND_ARRAY, ExpandArray { array_gfn: PAGES.frame(2) });
    show("after the array", bound);
    tell("expand array once more", op::EXPAND_ARRAY, ExpandArray { array_gfn: PAGES.frame(3) });
    for priority in [0, 15, 16, u32::MAX] {
        tell(format_args!("priority {priority:#x}"), op::SET_PRIORITY, SetPriority { port: bound, priority });
    }
    for port in [0, 50, 1000, 1024, 4096, 1 << 17, u32::MAX] {
        tell(
            format_args!("priority of port {port:#x} with queues"),
            op::SET_PRIORITY,
            SetPriority { port, priority: 3 },
        );
        tell(format_args!("send port {port:#x} with queues"), op::SEND, Port { port });
        tell(format_args!("unmask port {port:#x} with queues"), op::UNMASK, Port { port });
    }
    let other = tell("bind ipi with queues", op::BIND_IPI, BindIpi { vcpu: 0, port: 0 }).port;
    tell("send with queues", op::SEND, Port { port: other });
    show("sent with queues", other);
    tell("unmask with queues", op::UNMASK, Port { port: other });
    show("unmasked with queues", other);
    tell("close with queues", op::CLOSE, Port { port: other });
    show("closed with queues", other);
    tell("reset with queues", op::RESET, Reset { dom: domid::SELF });
    tell("priority after a reset", op::SET_PRIORITY, SetPriority { port: bound, priority: 3 });
    tell("expand array after a reset", op::EXPAND_ARRAY, ExpandArray { array_gfn: PAGES.frame(3) });
}

/// An event word's flags, and which queues are not empty.
fn show(name: &str, port: u32) {
    let word: u32 = PAGES.get(2 * 4096 + port as usize * 4);
    let block: ControlBlock = PAGES.get(8);
    let heads = block.head.iter().filter(|head| **head != 0).count();
    say(format_args!("event {name}: flags"), Answer((word >> 28).into()));
    say(format_args!("event {name}: ready, heads"), format_args!("{:#x} {heads}", block.ready));
}
