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
    /// Physical devices.
    pub const PHYSDEV_OP: u64 = 33;
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
    /// Memory-mapped devices.
    pub const IO: u16 = 0x7ff1;
    /// The hypervisor.
    pub const XEN: u16 = 0x7ff2;
    /// No domain.
    pub const INVALID: u16 = 0x7ff4;
}

/// Virtual interrupts that can be bound to event channels (`VIRQ_*`).
pub mod virq {
    /// A timer that the guest set: there is none on Arm.
    pub const TIMER: u32 = 0;
    /// The guest is to say how it is.
    pub const DEBUG: u32 = 1;
    /// Something was typed, for a domain that reads the machine's console.
    pub const CONSOLE: u32 = 2;
    /// How many numbers there are.
    pub const COUNT: u32 = 24;
    /// Those of which a domain has one and not each vCPU, as a mask.
    pub const GLOBAL: u32 = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
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
    /// `struct vcpu_info`.
    VcpuInfo {
        /// Not 0 if an event is pending.
        evtchn_upcall_pending: u8,
        /// On Arm the guest masks the interrupt instead.
        evtchn_upcall_mask: u8,
        /// Padding.
        reserved: [u8; 6],
        /// The words of pending events that are worth a look.
        evtchn_pending_sel: u64,
        /// `struct arch_vcpu_info` has no member on Arm.
        time: TimeInfo,
    }

    /// `struct shared_info`.
    SharedInfo {
        /// The one that a domain has without registering: vCPU 0's.
        vcpu_info: [VcpuInfo; 1],
        /// A bit for each pending event.
        evtchn_pending: [u64; 64],
        /// A bit for each event that is not to be announced.
        evtchn_mask: [u64; 64],
        /// Changes with the wall clock.
        wc_version: u32,
        /// Seconds since 1970 at the domain's start.
        wc_sec: u32,
        /// Nanoseconds of them.
        wc_nsec: u32,
        /// The seconds' upper half.
        wc_sec_hi: u32,
    }

    /// `struct multicall_entry`.
    MulticallEntry {
        /// Hypercall number.
        op: u64,
        /// Its answer.
        result: u64,
        /// Its arguments.
        args: [u64; 6],
    }
}
