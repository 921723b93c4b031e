//! What the control domain needs beside Xen's operations: in the envelope of a [`crate::domctl::Domctl`], with numbers that Xen has not.
//! And what a unikernel asks of Mote alone: [`call`].

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
    /// [`super::Text`] of at most 128 bytes to type at the domain's UART, which drops what it has no room for.
    pub const TYPE: u32 = 0x4d6f_0006;
    /// [`super::CloneTemplate`]: the domain is a template, and the number that is answered is the clone's. A driver domain may ask for it, too,
    /// if it was joined with the template.
    pub const CLONE: u32 = 0x4d6f_0007;
    /// [`super::Ended`] to fill, of the control domain itself: which ephemeral domains ended.
    pub const ENDED: u32 = 0x4d6f_0008;
    /// A `u32`: 1 if somebody watches the domain's console from now on, so that its output goes to the machine's as it comes, else 0.
    pub const WATCH: u32 = 0x4d6f_0009;
}

/// The hypercall of a guest's that Mote alone has, with the operation in x0.
pub mod call {
    /// Its number (`__HYPERVISOR_arch_0`).
    pub const HYPERCALL: u64 = 48;
    /// The caller becomes a template; x1 is the address of a [`super::Snapshot`]. It is never answered to the template, unless with an error.
    /// Every clone goes on behind the call with an [`Identity`] in x0 to x13.
    pub const SNAPSHOT: u64 = 1;

    /// What the registers tell a clone.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Identity {
        /// Its number, in x1; x0 is 1.
        pub domain: u16,
        /// 256 bits that nobody else has, in x2 to x5.
        pub seed: [u64; 4],
        /// [`super::CloneTemplate::argument`], in x6 to x13.
        pub argument: [u64; 8],
    }
}

/// What a domain has besides (`Describe::flags`).
pub mod flags {
    /// A UART.
    pub const VPL011: u32 = 1 << 0;
    /// Its memory is mapped page by page, so that exactly the pages that it touches are counted.
    pub const TRACK_TOUCHED: u32 = 1 << 2;
    /// Its memory is where the machine has it.
    pub const DIRECT_MAP: u32 = 1 << 3;
    /// When it ends all that it had is free at once: see [`super::Ended`].
    pub const EPHEMERAL: u32 = 1 << 5;
    /// Of a clone: it stays paused, once.
    pub const PAUSED: u32 = 1 << 6;
    /// It serves others: it may clone templates that it was joined with.
    pub const DRIVER: u32 = 1 << 7;
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

    /// `count` frame numbers at `frames` of pages that clones do not share: they find zeroes there.
    Snapshot { frames: u64, count: u32, pad: u32 }

    /// What a clone is to have besides what its template had: so many ticks to live at most (0: no limit), so many pages at most that
    /// it has written to, the tables for them included (0: a thousand), [`flags`] (`EPHEMERAL` and `PAUSED`), and what it is told. If `port`
    /// is not 0, it has this port from the beginning, connected to a new one of the caller's, which is answered in its place; and it
    /// has granted what its template had.
    CloneTemplate { ticks: u64, pages: u32, flags: u32, argument: [u64; 8], port: u32, pad: u32 }

    /// Room for `room` times [`End`] at `ends`, of which `count` are filled with what was not told yet, the oldest first, and are told then.
    /// `lost` is how many there were besides since the start for which there was no room. VIRQ_DOM_EXC tells when the first comes.
    Ended { ends: u64, room: u32, count: u32, lost: u64 }

    /// An ephemeral domain that ended, the template of which it was a clone (its own number if it was none), Xen's code for how, the pages
    /// that it had, how many ticks it was there, and for how many it ran.
    End { domain: u16, template: u16, code: u32, pages: u64, lived: u64, ran: u64 }

    /// What a domain cost. Times are ticks of the physical counter, 0 for what did not happen; sizes are bytes. `reason` says in words
    /// why it crashed. `events` is how often one of its vCPUs was told of events. `clones` is one more than a template has clones now, and
    /// 0 of others.
    Usage {
        created: u64, built: u64, first_instruction: u64, ready: u64, ended: u64, cpu_ticks: u64, memory: u64, touched: u64,
        tables: u64, structures: u64, exits: [u64; 9], events: u64, clones: u64, reason: [u8; 80],
    }
}
