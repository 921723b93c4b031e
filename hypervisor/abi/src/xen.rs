//! Hypercalls, domain numbers, virtual interrupts and the shared page (`xen.h`).

use crate::vcpu::TimeInfo;
use crate::wire;

/// Hypercall numbers, in x16 (`__HYPERVISOR_*`).
pub mod hypercall {
    /// The platform, for the control domain.
    pub const PLATFORM_OP: u64 = 7;
    /// Memory.
    pub const MEMORY_OP: u64 = 12;
    /// Several at once.
    pub const MULTICALL: u64 = 13;
    /// What hypervisor this is.
    pub const XEN_VERSION: u64 = 17;
    /// The machine's console.
    pub const CONSOLE_IO: u64 = 18;
    /// Grants.
    pub const GRANT_TABLE_OP: u64 = 20;
    /// Aids that a guest switches on.
    pub const VM_ASSIST: u64 = 21;
    /// vCPUs.
    pub const VCPU_OP: u64 = 24;
    /// Scheduling.
    pub const SCHED_OP: u64 = 29;
    /// Event channels.
    pub const EVENT_CHANNEL_OP: u64 = 32;
    /// Parameters of a fully virtual machine.
    pub const HVM_OP: u64 = 34;
    /// The machine, for the control domain.
    pub const SYSCTL: u64 = 35;
    /// Domains, for the control domain.
    pub const DOMCTL: u64 = 36;
}

/// Numbers that stand for no one domain (`DOMID_*`).
pub mod domid {
    /// The caller.
    pub const SELF: u16 = 0x7ff0;
}

/// Virtual interrupts that can be bound to event channels (`VIRQ_*`).
pub mod virq {
    /// Something was typed, for a domain that reads the machine's console.
    pub const CONSOLE: u32 = 2;
    /// The guest is to say how it is.
    pub const DEBUG: u32 = 1;
    /// Some domain ended, or is gone, for the control domain.
    pub const DOM_EXC: u32 = 3;
    /// How many numbers there are.
    pub const COUNT: u32 = 24;
    /// Those of which a domain has one and not each vCPU, as a mask: all but those of timers, debugging and profiling.
    pub const GLOBAL: u32 = !(1 << 0 | 1 << 1 | 1 << 7 | 1 << 13);
}

/// Aids (`VMASST_*`).
pub mod assist {
    /// Switch on.
    pub const ENABLE: u64 = 0;
    /// Switch off.
    pub const DISABLE: u64 = 1;
    /// Mark runstate records that are being written.
    pub const RUNSTATE_UPDATE_FLAG: u64 = 5;
}

/// Most event channels of the 2-level ABI (`EVTCHN_2L_NR_CHANNELS`).
pub const EVENTS_2L: u32 = 4096;

wire! {
    /// `struct vcpu_info`: whether an event is pending, and which words of pending events are worth a look. On Arm there is no mask:
    /// the guest masks the interrupt.
    VcpuInfo { evtchn_upcall_pending: u8, pad: [u8; 7], evtchn_pending_sel: u64, time: TimeInfo }

    /// `struct shared_info`: the `vcpu_info` that vCPU 0 has without registering one, a bit for each event that is pending and for
    /// each that is not to be announced, and the wall clock at the domain's start: seconds since 1970 in two halves, nanoseconds.
    SharedInfo {
        vcpu_info: [VcpuInfo; 1], evtchn_pending: [u64; 64], evtchn_mask: [u64; 64],
        wc_version: u32, wc_sec: u32, wc_nsec: u32, wc_sec_hi: u32,
    }

    /// `struct multicall_entry`: a hypercall's number, answer and arguments.
    MulticallEntry { op: u64, result: u64, args: [u64; 6] }
}
