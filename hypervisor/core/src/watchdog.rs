//! A domain's watchdogs (`SCHEDOP_watchdog`): deadlines that the guest keeps putting off while it is well.

use xen_abi::errno::Errno;

/// The deadlines of one domain's watchdogs, where they run. There are `NR_DOMAIN_WATCHDOG_TIMERS`.
#[derive(Debug, Default)]
pub struct Watchdogs([Option<u64>; 2]);

impl Watchdogs {
    /// Sets a watchdog, a new one if `id` is 0, or stops it; returns a new one's number, else 0.
    ///
    /// # Errors
    /// If there is none of that number, or all are in use.
    pub fn set(&mut self, id: u32, deadline: Option<u64>) -> Result<u32, Errno> {
        let Some(index) = id.checked_sub(1) else {
            let (id, free) = (1..).zip(&mut self.0).find(|(_, it)| it.is_none()).ok_or(Errno::ENOSPC)?;
            *free = deadline;
            return Ok(id);
        };
        let running = self.0.get_mut(index as usize).filter(|it| it.is_some()).ok_or(Errno::EINVAL)?;
        *running = deadline;
        Ok(0)
    }

    /// When the first runs out, if one runs.
    pub fn first(&self) -> Option<u64> {
        self.0.iter().flatten().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_set_put_off_and_stopped() {
        let mut watchdogs = Watchdogs::default();
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
