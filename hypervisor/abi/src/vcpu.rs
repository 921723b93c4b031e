//! vCPUs (`vcpu.h`, and `struct vcpu_time_info` of `xen.h`).

use crate::wire;

/// Operations that Arm has (`VCPUOP_*`).
pub mod op {
    /// [`super::RegisterRunstateArea`], by a virtual address.
    pub const REGISTER_RUNSTATE_MEMORY_AREA: u64 = 5;
    /// [`super::RegisterVcpuInfo`].
    pub const REGISTER_VCPU_INFO: u64 = 10;
}

/// What a vCPU is doing (`RUNSTATE_*`), an index of [`RunstateInfo::time`].
pub mod runstate {
    /// It runs.
    pub const RUNNING: u32 = 0;
    /// It waits for a pCPU.
    pub const RUNNABLE: u32 = 1;
    /// It waits for an event.
    pub const BLOCKED: u32 = 2;
    /// It is switched off.
    pub const OFFLINE: u32 = 3;
    /// In `state_entry_time`: the record is being written.
    pub const UPDATE: u64 = 1 << 63;
}

wire! {
    /// `struct vcpu_time_info`: a clock that Arm's guests have as a register, so it stays zero.
    TimeInfo { version: u32, pad0: u32, tsc_timestamp: u64, system_time: u64, tsc_to_system_mul: u32, tsc_shift: i8, flags: u8, pad1: [u8; 2] }

    /// `struct vcpu_runstate_info`: a state of [`runstate`], since when, and how long in each; nanoseconds of system time.
    RunstateInfo { state: u32, pad: u32, state_entry_time: u64, time: [u64; 4] }

    /// `struct vcpu_register_runstate_memory_area`: where the record is to be kept.
    RegisterRunstateArea { address: u64 }

    /// `struct vcpu_register_vcpu_info`: a frame, and bytes into it.
    RegisterVcpuInfo { mfn: u64, offset: u32, rsvd: u32 }
}
