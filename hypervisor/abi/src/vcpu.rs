//! vCPUs (`vcpu.h`, and `struct vcpu_time_info` of `xen.h`).

use crate::wire;

/// Operations that Arm has (`VCPUOP_*`).
pub mod op {
    /// [`super::RegisterRunstateArea`], by a virtual address.
    pub const REGISTER_RUNSTATE_MEMORY_AREA: u64 = 5;
    /// [`super::RegisterVcpuInfo`].
    pub const REGISTER_VCPU_INFO: u64 = 10;
    /// [`super::RegisterRunstateArea`], by an IPA.
    pub const REGISTER_RUNSTATE_PHYS_AREA: u64 = 14;
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
    TimeInfo {
        /// Changes with the rest.
        version: u32,
        /// Padding.
        pad0: u32,
        /// Counter at the last change.
        tsc_timestamp: u64,
        /// Nanoseconds then.
        system_time: u64,
        /// Scale.
        tsc_to_system_mul: u32,
        /// Scale.
        tsc_shift: i8,
        /// Flags.
        flags: u8,
        /// Padding.
        pad1: [u8; 2],
    }

    /// `struct vcpu_runstate_info`.
    RunstateInfo {
        /// [`runstate`].
        state: u32,
        /// Padding.
        pad: u32,
        /// Since when, in nanoseconds of system time.
        state_entry_time: u64,
        /// Nanoseconds spent in each state.
        time: [u64; 4],
    }

    /// `struct vcpu_register_runstate_memory_area`.
    RegisterRunstateArea {
        /// Where the record is to be kept.
        address: u64,
    }

    /// `struct vcpu_register_vcpu_info`.
    RegisterVcpuInfo {
        /// Frame.
        mfn: u64,
        /// Bytes into it.
        offset: u32,
        /// Padding.
        rsvd: u32,
    }
}
