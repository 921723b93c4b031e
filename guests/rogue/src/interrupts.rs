//! Too many interrupts, interrupts for nobody, and the end of interrupts that never began.

use core::sync::atomic::{AtomicU32, Ordering};

use mote_unikernel::{
    Machine,
    interrupts::{self, IntId},
    println,
};

use crate::wild::{self, Access, Wild};

/// Software-generated interrupts of a vCPU.
const SGIS: u32 = 16;
/// ICC_IAR1_EL1: nothing is pending.
const SPURIOUS: u64 = 1023;
/// The redistributor's frame for SGIs and PPIs, and its priorities there (GICv3 specification, 12.11).
const SGI_FRAME: usize = 0x1_0000;
const GICR_IPRIORITYR: usize = 0x400;
/// ICC_SGI1R_EL1: to all but the sender.
const ALL_OTHERS: u64 = 1 << 40;
/// Interrupts in a storm.
const STORM: u32 = 20_000;

static TAKEN: AtomicU32 = AtomicU32::new(0);

fn count(_: IntId) {
    TAKEN.fetch_add(1, Ordering::Relaxed);
}

fn enable_all() {
    (0..SGIS).for_each(|number| interrupts::register(IntId::sgi(number), count));
}

/// SGI `number` gets a priority of its own, in no order: 16 steps of 16, the highest being 0.
fn priority(number: u32) -> u32 {
    (number * 7 + 3) % SGIS * 16
}

/// Gives each SGI its priority.
pub fn set_priorities(machine: &Machine, priority: impl Fn(u32) -> u32) {
    let frame = machine.device("arm,gic-v3").nth(1).expect("a GICv3").start + SGI_FRAME;
    for word in 0..SGIS / 4 {
        let value = (0..4).map(|byte| priority(word * 4 + byte) << (8 * byte)).sum::<u32>();
        let register = frame + GICR_IPRIORITYR + word as usize * 4;
        let register = Wild::new(machine, register).expect("a device");
        register.touch(Access::StoreWord, value.into()).expect("priorities can be written");
    }
}

/// All SGIs pending at once, which is more than there are list registers: they come by priority.
pub fn priorities(machine: &Machine) {
    enable_all();
    set_priorities(machine, priority);
    let mut order = [0_u64; SGIS as usize];
    interrupts::masked(|| {
        (0..SGIS).for_each(|number| interrupts::send(IntId::sgi(number), 0));
        for place in &mut order {
            *place = wild::acknowledge();
            let during = wild::acknowledge();
            assert_eq!(during, SPURIOUS, "a lower priority preempted {place}");
            wild::end(*place, false);
        }
        assert_eq!(wild::acknowledge(), SPURIOUS, "more interrupts than were sent");
    });
    set_priorities(machine, |_| 0);
    println!("rogue: interrupts came as {order:?}");
    assert!(order.is_sorted_by_key(|number| priority(*number as u32)), "not by priority");
}

/// Every one of many interrupts to itself arrives, and arrives once.
pub fn storm(_: &Machine) {
    enable_all();
    for number in 0..STORM {
        let before = TAKEN.load(Ordering::Relaxed);
        interrupts::send(IntId::sgi(number % SGIS), 0);
        while TAKEN.load(Ordering::Relaxed) == before {
            core::hint::spin_loop();
        }
        assert_eq!(TAKEN.load(Ordering::Relaxed), before + 1);
    }
}

/// Interrupts to vCPUs that do not exist go nowhere, and ending what never began ends nothing.
pub fn stray(_: &Machine) {
    enable_all();
    // Some hypervisors look at the lower affinity fields alone. That harms nobody: it is told, no more.
    let before = TAKEN.load(Ordering::Relaxed);
    let upper = [0xff << 32 | 1, 0xff << 48 | 1, 0xf << 44 | 1];
    upper.into_iter().for_each(|target| wild::send(target | 3 << 24));
    let overlooked = TAKEN.load(Ordering::Relaxed) - before;
    println!("rogue: {overlooked} of {} upper affinities overlooked", upper.len());

    let before = TAKEN.load(Ordering::Relaxed);
    let absent = [ALL_OTHERS, 0, 0xfffe, 1 << 16 | 1];
    absent.into_iter().for_each(|target| wild::send(target | 3 << 24));
    for interrupt in [0, 3, 15, 27, 31, 32, 1019, 1020, SPURIOUS, 5000, 8192, 0xff_ffff] {
        wild::end(interrupt, true);
    }
    assert_eq!(TAKEN.load(Ordering::Relaxed), before, "an interrupt went astray");
    interrupts::send(IntId::sgi(3), 0);
    while TAKEN.load(Ordering::Relaxed) == before {
        core::hint::spin_loop();
    }
}
