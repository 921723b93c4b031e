//! Scheduling (`sched.h`).

/// `SCHEDOP_shutdown`; its argument points to the reason, a `u32`.
pub const SHUTDOWN: u64 = 2;

/// Why a domain shuts down (`SHUTDOWN_*`).
pub mod reason {
    /// It is done.
    pub const POWEROFF: u32 = 0;
    /// It wants to be started anew.
    pub const REBOOT: u32 = 1;
    /// It cannot go on.
    pub const CRASH: u32 = 3;
    /// Its watchdog ran out.
    pub const WATCHDOG: u32 = 4;
}
