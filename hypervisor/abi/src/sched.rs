//! Scheduling (`sched.h`).

use crate::wire;

/// Operations (`SCHEDOP_*`).
pub mod op {
    /// Let others run.
    pub const YIELD: u64 = 0;
    /// Until an event comes.
    pub const BLOCK: u64 = 1;
    /// [`super::Shutdown`].
    pub const SHUTDOWN: u64 = 2;
    /// [`super::Poll`].
    pub const POLL: u64 = 3;
    /// [`super::RemoteShutdown`].
    pub const REMOTE_SHUTDOWN: u64 = 4;
    /// [`super::Shutdown`]: the reason for a shutdown that is still to come.
    pub const SHUTDOWN_CODE: u64 = 5;
    /// [`super::Watchdog`].
    pub const WATCHDOG: u64 = 6;
    /// A vCPU for one pCPU: the hardware domain's.
    pub const PIN_OVERRIDE: u64 = 7;
}

/// Why a domain shuts down (`SHUTDOWN_*`).
pub mod reason {
    /// It is done.
    pub const POWEROFF: u32 = 0;
    /// It wants to be started anew.
    pub const REBOOT: u32 = 1;
    /// It wants to be saved.
    pub const SUSPEND: u32 = 2;
    /// It cannot go on.
    pub const CRASH: u32 = 3;
    /// Its watchdog ran out.
    pub const WATCHDOG: u32 = 4;
    /// It wants to begin anew with its memory as it is.
    pub const SOFT_RESET: u32 = 5;
}

wire! {
    /// `struct sched_shutdown`: a [`reason`].
    Shutdown { reason: u32 }

    /// `struct sched_poll`: an array of ports, how many, and when to give up, in nanoseconds of system time; 0 for never.
    Poll { ports: u64, nr_ports: u32, pad: u32, timeout: u64 }

    /// `struct sched_remote_shutdown`: whom, and the [`reason`].
    RemoteShutdown { domain_id: u16, pad: u16, reason: u32 }

    /// `struct sched_watchdog`: which, or 0 for a new one; seconds, or 0 to stop it.
    Watchdog { id: u32, timeout: u32 }
}
