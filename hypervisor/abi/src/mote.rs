//! What the control domain needs beside Xen's operations: in the envelope of a [`crate::domctl::Domctl`], with numbers that Xen has not.

use crate::wire;

/// Operations.
pub mod op {
    /// [`super::Describe`], directly after the domain was created.
    pub const DESCRIBE: u32 = 0x4d6f_0001;
    /// [`super::Join`]
    pub const JOIN: u32 = 0x4d6f_0002;
    /// [`super::Connect`]
    pub const CONNECT: u32 = 0x4d6f_0003;
    /// The address of a [`super::Usage`] to be filled.
    pub const USAGE: u32 = 0x4d6f_0004;
    /// [`super::Text`] of at most 128 bytes to write to the machine's console in the domain's name: what came by its console ring.
    pub const PRINT: u32 = 0x4d6f_0005;
    /// [`super::Text`] to fill with what was typed for the domain; its length is answered.
    pub const TYPED: u32 = 0x4d6f_0006;
}

/// What a domain has besides (`Describe::flags`).
pub mod flags {
    /// A UART.
    pub const VPL011: u32 = 1 << 0;
    /// Its memory is mapped page by page, so that exactly the pages that it touches are counted.
    pub const TRACK_TOUCHED: u32 = 1 << 2;
    /// Its memory is where the machine has it.
    pub const DIRECT_MAP: u32 = 1 << 3;
    /// What is typed goes to it.
    pub const FOCUS: u32 = 1 << 4;
}

/// Reasons for which a guest comes to the hypervisor, in the order of [`Usage::exits`].
pub const EXIT_REASONS: [&str; 9] =
    ["hypercall", "psci", "mmio", "sysreg", "wfi", "interrupt", "access_flag", "fault", "other"];

wire! {
    /// What a domain is called (at most 31 bytes), what on its console shows that it is ready (at most 127 bytes; none: its first line),
    /// and [`flags`].
    Describe { name: u64, name_len: u32, ready_len: u32, ready: u64, flags: u32, pad: u32 }

    /// Another domain: the two may join event channels and use each other's grants from now on.
    Join { other: u16, pad: [u16; 3] }

    /// A text, by its place and its length in bytes.
    Text { at: u64, length: u32, pad: u32 }

    /// An event channel between `port` of the domain and `other_port` of `other`, both free.
    Connect { port: u32, other_port: u32, other: u16, pad: [u16; 3] }

    /// What a domain cost. Times are ticks of the physical counter, 0 for what did not happen; sizes are bytes. `reason` says in words
    /// why it crashed.
    Usage {
        created: u64, built: u64, first_instruction: u64, ready: u64, ended: u64, cpu_ticks: u64, memory: u64, touched: u64,
        tables: u64, structures: u64, exits: [u64; 9], events: u64, reason: [u8; 80],
    }
}
