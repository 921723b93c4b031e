//! A domain's watchdogs (`SCHEDOP_watchdog`): deadlines that the guest keeps putting off while it is well.

use core::sync::atomic::{AtomicU64, Ordering};

use xen_abi::errno::Errno;

/// Watchdogs of a domain (`NR_DOMAIN_WATCHDOG_TIMERS`).
pub const COUNT: usize = 2;

/// The deadline of a watchdog that does not run.
const NEVER: u64 = u64::MAX;

/// The watchdogs of one domain. Every vCPU looks at them without a lock.
pub struct Watchdogs([AtomicU64; COUNT]);

impl Default for Watchdogs {
    fn default() -> Self {
        Self([const { AtomicU64::new(NEVER) }; COUNT])
    }
}

impl Watchdogs {
    /// Sets a watchdog, a new one if `id` is 0, or stops it; returns a new one's number, else 0.
    ///
    /// # Errors
    /// If there is none of that number, or all are in use.
    pub fn set(&self, id: u32, deadline: Option<u64>) -> Result<u32, Errno> {
        let (deadline, relaxed) = (deadline.unwrap_or(NEVER), Ordering::Relaxed);
        let Some(index) = id.checked_sub(1) else {
            let begins = |it: &AtomicU64| it.compare_exchange(NEVER, deadline, relaxed, relaxed).is_ok();
            return (1..).zip(&self.0).find_map(|(id, it)| begins(it).then_some(id)).ok_or(Errno::ENOSPC);
        };
        let watchdog = self.0.get(index as usize).ok_or(Errno::EINVAL)?;
        let set = watchdog.fetch_update(relaxed, relaxed, |old| (old != NEVER).then_some(deadline));
        set.map(|_| 0).map_err(|_| Errno::EINVAL)
    }

    /// When the first runs out, if one runs.
    #[inline]
    pub fn first(&self) -> Option<u64> {
        let deadlines = self.0.iter().map(|watchdog| watchdog.load(Ordering::Relaxed));
        deadlines.min().filter(|&deadline| deadline != NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_set_put_off_and_stopped() {
        let watchdogs = Watchdogs::default();
        assert_eq!(watchdogs.first(), None);
        assert_eq!([watchdogs.set(1, Some(5)), watchdogs.set(3, Some(5))], [Err(Errno::EINVAL); 2], "there is none");
        assert_eq!([watchdogs.set(0, Some(70)), watchdogs.set(0, Some(50))], [Ok(1), Ok(2)]);
        assert_eq!(watchdogs.set(0, Some(60)), Err(Errno::ENOSPC));
        assert_eq!(watchdogs.first(), Some(50));
        assert_eq!((watchdogs.set(2, Some(90)), watchdogs.first()), (Ok(0), Some(70)));
        assert_eq!((watchdogs.set(1, None), watchdogs.first()), (Ok(0), Some(90)));
        assert_eq!(watchdogs.set(1, None), Err(Errno::EINVAL), "it was stopped");
        assert_eq!(watchdogs.set(0, Some(10)), Ok(1));
    }
}
