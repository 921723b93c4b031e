//! Processes: made, and heard of when they have ended.

use core::ffi::CStr;

use crate::calls::{self, Forked};

/// This program.
const PROGRAM: &CStr = c"/init";

/// The ticks from before a process is made until its end, at once, is known.
pub fn fork() -> Option<u64> {
    measure(|| {})
}

/// The same where it becomes another program first.
pub fn fork_and_exec() -> Option<u64> {
    measure(|| calls::execute(PROGRAM))
}

fn measure(child: impl FnOnce()) -> Option<u64> {
    let start = calls::now();
    match calls::fork()? {
        Forked::Child => {
            child();
            calls::exit(0)
        }
        Forked::Parent => {
            calls::wait()?;
            Some(calls::now() - start)
        }
    }
}
