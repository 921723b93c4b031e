//! Time: the counter, durations of it, and the two timers.

use alloc::vec::Vec;
use core::ops::{Add, Sub};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;
use core::time::Duration;

use aarch64_cpu::{
    asm::barrier,
    registers::{
        CNTFRQ_EL0, CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTPCT_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVCT_EL0, Readable,
        Writeable,
    },
};
use spin::Mutex;
use xen_abi::arch_arm::MAX_VCPUS;

use crate::{Machine, arch, cpus, interrupts};

const NANOSECONDS: u64 = 1_000_000_000;

/// Ticks of the counter in a second.
#[must_use]
pub fn frequency() -> u64 {
    CNTFRQ_EL0.get()
}

/// A length of time as ticks of the counter.
#[must_use]
pub fn ticks(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(frequency());
    whole.saturating_add(u64::from(duration.subsec_nanos()) * frequency() / NANOSECONDS)
}

/// A number of ticks as a length of time.
#[must_use]
pub fn duration(ticks: u64) -> Duration {
    let (seconds, rest) = (ticks / frequency(), ticks % frequency());
    Duration::new(seconds, (rest * NANOSECONDS / frequency()) as u32)
}

/// A point in the domain's own time: ticks of the virtual counter, which began at 0 when the domain was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self(Timer::Virtual.count())
    }

    /// Ticks since the domain was created.
    #[must_use]
    pub const fn ticks(self) -> u64 {
        self.0
    }

    /// The point `ticks` after the domain was created.
    #[must_use]
    pub const fn at(ticks: u64) -> Self {
        Self(ticks)
    }

    /// How long ago it was.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Self::now() - self
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(ticks(length)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        duration(self.0.saturating_sub(earlier.0))
    }
}

/// How long the domain has existed.
#[must_use]
pub fn uptime() -> Duration {
    duration(Instant::now().ticks())
}

/// Sleeps: the vCPU is given up in the meantime, interrupts are handled.
pub fn sleep(length: Duration) {
    sleep_until(Instant::now() + length);
}

/// Sleeps until `deadline`.
pub fn sleep_until(deadline: Instant) {
    wake_on_virtual_timer();
    while Instant::now() < deadline {
        interrupts::masked(|| {
            Timer::Virtual.arm(deadline.0);
            arch::wait_for_interrupt();
        });
    }
    Timer::Virtual.disarm();
    interrupts::masked(wake_sleepers);
}

/// Tasks that sleep, each until its time.
static SLEEPERS: Mutex<Vec<(Instant, Waker)>> = Mutex::new(Vec::new());

/// Has `waker` woken at `deadline`, or before: a task has one place here, however often it looks and whatever it waits for, so that those
/// who give up waiting leave nothing behind.
pub(crate) fn wake_at(deadline: Instant, waker: &Waker) {
    wake_on_virtual_timer();
    interrupts::masked(|| {
        let mut sleepers = SLEEPERS.lock();
        match sleepers.iter_mut().find(|(_, known)| known.will_wake(waker)) {
            Some((known, _)) => *known = deadline.min(*known),
            None => sleepers.push((deadline, waker.clone())),
        }
        drop(sleepers);
        wake_sleepers();
    });
}

/// Wakes the tasks whose time has come, and sets the timer for the next.
fn wake_sleepers() {
    let now = Instant::now();
    let mut sleepers = SLEEPERS.lock();
    sleepers.extract_if(.., |(deadline, _)| *deadline <= now).for_each(|(_, waker)| waker.wake());
    if let Some(next) = sleepers.iter().map(|(deadline, _)| deadline.0).min() {
        Timer::Virtual.arm(next);
    }
}

/// Has the virtual timer's interrupt handled on this vCPU, once.
pub(crate) fn wake_on_virtual_timer() {
    static READY: [AtomicBool; MAX_VCPUS as usize] = [const { AtomicBool::new(false) }; MAX_VCPUS as usize];
    if READY[cpus::current()].swap(true, Ordering::Relaxed) {
        return;
    }
    let interrupt = Machine::get().and_then(|machine| machine.timer_interrupt(Timer::Virtual));
    if let Some(interrupt) = interrupt {
        interrupts::register(interrupt, |_| {
            Timer::Virtual.disarm();
            wake_sleepers();
        });
    }
}

/// A vCPU's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Counts the domain's time. The library's sleep uses it.
    Virtual,
    /// Counts the machine's time. Emulated, so each access costs an exit.
    Physical,
}

/// CNTx_CTL_EL0: the timer is on; its condition is met (Arm ARM D24.10).
const ENABLE: u64 = 1;
const ISTATUS: u64 = 1 << 2;

impl Timer {
    /// The timer's counter.
    #[must_use]
    pub fn count(self) -> u64 {
        barrier::isb(barrier::SY);
        match self {
            Self::Virtual => CNTVCT_EL0.get(),
            Self::Physical => CNTPCT_EL0.get(),
        }
    }

    /// Has the timer's interrupt pending from the moment its counter reaches `compare`.
    pub fn arm(self, compare: u64) {
        match self {
            Self::Virtual => {
                CNTV_CVAL_EL0.set(compare);
                CNTV_CTL_EL0.set(ENABLE);
            }
            Self::Physical => {
                CNTP_CVAL_EL0.set(compare);
                CNTP_CTL_EL0.set(ENABLE);
            }
        }
        barrier::isb(barrier::SY);
    }

    /// Turns the timer off, and its interrupt with it.
    pub fn disarm(self) {
        match self {
            Self::Virtual => CNTV_CTL_EL0.set(0),
            Self::Physical => CNTP_CTL_EL0.set(0),
        }
        barrier::isb(barrier::SY);
    }

    /// Whether the timer is on and its counter has reached the compare value.
    #[must_use]
    pub fn has_fired(self) -> bool {
        let control = match self {
            Self::Virtual => CNTV_CTL_EL0.get(),
            Self::Physical => CNTP_CTL_EL0.get(),
        };
        control & (ENABLE | ISTATUS) == ENABLE | ISTATUS
    }
}
