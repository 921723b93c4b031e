//! All vCPUs at work: on by PSCI, interrupts from each to each, off, and on again.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::cmp::Ordering as Order;
use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use mote_unikernel::{
    Machine, arch,
    cpus::{self, AffinityState, Error},
    interrupts::{self, IntId},
    println,
    time::{self, Instant},
};

mote_unikernel::entry!(main);

const SGI: u32 = 5;
/// Rounds of everybody interrupting everybody.
const ROUNDS: usize = 20;
/// Long enough for a busy machine on which the vCPUs take turns.
const PATIENCE: Duration = Duration::from_secs(20);

/// vCPUs that are ready, interrupts taken, vCPUs that may leave.
static READY: AtomicUsize = AtomicUsize::new(0);
static TAKEN: AtomicUsize = AtomicUsize::new(0);
static LEAVE: AtomicUsize = AtomicUsize::new(0);

fn main(machine: Machine) {
    let count = machine.vcpus();
    println!("smp: {count} vCPUs");
    check_memory();
    interrupts::register(IntId::sgi(SGI), |_| {
        TAKEN.fetch_add(1, Ordering::Release);
    });
    for turn in 1..=2 {
        bring_up(count);
        everybody_to_everybody(count);
        bring_down(count);
        println!("smp: turn {turn} ok");
    }
    assert_eq!(cpus::start(count, || ()), Err(Error::InvalidParameters));
    println!("smp: ok");
}

/// The library's own functions on memory, which everything else relies on, against loops.
fn check_memory() {
    const SIZE: usize = 200;
    let fresh = || core::array::from_fn::<u8, SIZE, _>(|index| (index * 7 + 3) as u8);
    for length in 0..100 {
        for (from, to) in [(0, 100), (3, 101), (20, 21), (21, 20), (8, 40), (40, 9), (5, 5), (1, 33), (33, 1)] {
            let (mut moved, mut expected) = (fresh(), fresh());
            moved.copy_within(from..from + length, to);
            (0..length).for_each(|index| expected[to + index] = fresh()[from + index]);
            assert!(moved.iter().eq(&expected), "{length} bytes from {from} to {to}");
            assert_eq!(black_box(&moved[..]).cmp(black_box(&expected[..])), Order::Equal);
            moved[to..to + length].fill(black_box(0xa5));
            (0..length).for_each(|index| expected[to + index] = black_box(0xa5));
            assert!(moved.iter().eq(&expected), "{length} bytes filled at {to}");
        }
        for differs in 0..length {
            let (one, mut other) = (fresh(), fresh());
            other[1 + differs] ^= 0x80;
            let order = black_box(&one[1..1 + length]).cmp(black_box(&other[1..1 + length]));
            assert_eq!(order, one[1 + differs].cmp(&other[1 + differs]), "{length} bytes that differ at {differs}");
        }
    }
    println!("smp: memory is moved, filled and compared rightly");
}

fn bring_up(count: usize) {
    READY.store(1, Ordering::Release);
    LEAVE.store(0, Ordering::Release);
    for number in 1..count {
        assert_eq!(cpus::state(number), Ok(AffinityState::Off), "vCPU {number} before it is started");
        cpus::start(number, secondary).expect("a vCPU that is off can be started");
        wait("it to be ready", || READY.load(Ordering::Acquire) > number);
        assert_eq!(cpus::state(number), Ok(AffinityState::On), "vCPU {number} after it was started");
        assert_eq!(cpus::start(number, secondary), Err(Error::AlreadyOn));
    }
    assert_eq!(cpus::start(0, secondary), Err(Error::AlreadyOn));
}

fn secondary() {
    interrupts::register(IntId::sgi(SGI), |_| {
        TAKEN.fetch_add(1, Ordering::Release);
    });
    READY.fetch_add(1, Ordering::Release);
    let mut done = 0;
    // An interrupt is the sign to pass one on to everybody; the boot vCPU says when to leave.
    while LEAVE.load(Ordering::Acquire) == 0 {
        interrupts::masked(|| {
            if LEAVE.load(Ordering::Acquire) == 0 {
                arch::wait_for_interrupt();
            }
        });
        done += 1;
    }
    assert!(done > 0);
}

/// Every interrupt that is sent is taken, none twice: the next is sent when the last has arrived.
fn everybody_to_everybody(count: usize) {
    let began = Instant::now();
    for _ in 0..ROUNDS {
        for number in 0..count {
            let before = TAKEN.load(Ordering::Acquire);
            interrupts::send(IntId::sgi(SGI), number);
            wait("an interrupt to arrive", || TAKEN.load(Ordering::Acquire) == before + 1);
        }
    }
    println!("smp: {} interrupts in {} ticks", ROUNDS * count, time::ticks(began.elapsed()));
}

fn bring_down(count: usize) {
    LEAVE.store(1, Ordering::Release);
    for number in 1..count {
        interrupts::send(IntId::sgi(SGI), number);
        wait("it to be off", || cpus::state(number) == Ok(AffinityState::Off));
    }
}

fn wait(what: &str, ready: impl Fn() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < PATIENCE, "waited too long for {what}");
        core::hint::spin_loop();
    }
}
