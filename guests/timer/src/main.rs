//! Both timers and the ways to wait for them, each wake-up in order and with its lateness.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use mote_unikernel::{
    Machine, arch,
    interrupts::{self, IntId},
    println,
    time::{self, Instant, Timer},
};

mote_unikernel::entry!(main);

const PERIOD: Duration = Duration::from_millis(10);
const ROUNDS: u64 = 5;
/// What QEMU without `-icount` may be late by on a busy machine.
const LATE_AT_MOST: Duration = Duration::from_millis(500);

fn main(machine: Machine) {
    println!("timer: {} ticks a second", time::frequency());
    let began = Instant::now();
    for round in 1..=ROUNDS {
        let due = began + PERIOD * round as u32;
        time::sleep_until(due);
        tell("sleep", round, Instant::now().ticks(), due.ticks());
    }
    for timer in [Timer::Virtual, Timer::Physical] {
        periodic(&machine, timer);
        polled(timer);
    }
    in_the_past(&machine);
    at_every_moment(&machine);
    println!("timer: ok");
}

/// When the handler last ran, as the timer's own count, and how often it ran.
static FIRED_AT: AtomicU64 = AtomicU64::new(0);
static FIRED: AtomicU64 = AtomicU64::new(0);

fn register(machine: &Machine, timer: Timer) {
    let handler = match timer {
        Timer::Virtual => |_: IntId| note(Timer::Virtual),
        Timer::Physical => |_: IntId| note(Timer::Physical),
    };
    let interrupt = machine.timer_interrupt(timer).expect("both timers have an interrupt");
    interrupts::register(interrupt, handler);
}

fn note(timer: Timer) {
    FIRED_AT.store(timer.count(), Ordering::Relaxed);
    FIRED.fetch_add(1, Ordering::Relaxed);
    timer.disarm();
}

/// Waits until the handler has run once more.
fn wait_for_interrupt(before: u64) {
    while FIRED.load(Ordering::Relaxed) == before {
        interrupts::masked(|| {
            if FIRED.load(Ordering::Relaxed) == before {
                arch::wait_for_interrupt();
            }
        });
    }
}

/// Each deadline is the last plus the period, so that lateness does not add up.
fn periodic(machine: &Machine, timer: Timer) {
    register(machine, timer);
    let began = timer.count();
    for round in 1..=ROUNDS {
        let due = began + time::ticks(PERIOD) * round;
        let before = FIRED.load(Ordering::Relaxed);
        timer.arm(due);
        wait_for_interrupt(before);
        let what = if timer == Timer::Virtual { "virtual" } else { "physical" };
        tell(what, round, FIRED_AT.load(Ordering::Relaxed), due);
    }
}

/// The status bit tells of the deadline with interrupts masked, too. Xen's physical timer may be late with it.
fn polled(timer: Timer) {
    interrupts::masked(|| {
        let due = timer.count() + time::ticks(PERIOD);
        timer.arm(due);
        while !timer.has_fired() {
            assert!(time::duration(timer.count().saturating_sub(due)) < LATE_AT_MOST, "no status bit");
        }
        assert!(timer.count() >= due, "the status bit came before its time");
        timer.disarm();
        assert!(!timer.has_fired(), "a timer that is off has a status bit");
    });
}

/// A deadline that has passed fires at once.
fn in_the_past(machine: &Machine) {
    for timer in [Timer::Virtual, Timer::Physical] {
        register(machine, timer);
        let before = FIRED.load(Ordering::Relaxed);
        timer.arm(timer.count().saturating_sub(1));
        wait_for_interrupt(before);
    }
    println!("timer: deadlines in the past fired");
}

/// Deadlines come before, while and after the vCPU begins to wait, by every tick between: none is missed.
fn at_every_moment(machine: &Machine) {
    /// More than arming the timer and waiting take, in instructions.
    const MOMENTS: u64 = 4000;
    for timer in [Timer::Virtual, Timer::Physical] {
        register(machine, timer);
        for moment in 0..MOMENTS {
            let before = FIRED.load(Ordering::Relaxed);
            timer.arm(timer.count() + moment);
            wait_for_interrupt(before);
        }
    }
    println!("timer: deadlines at every moment fired");
}

fn tell(what: &str, round: u64, fired: u64, due: u64) {
    assert!(fired >= due, "{what} {round} woke {} ticks early", due - fired);
    let late = fired - due;
    println!("timer: {what} {round} late by {late} ticks");
    assert!(time::duration(late) < LATE_AT_MOST, "{what} {round} is far too late");
}
