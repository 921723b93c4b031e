//! What is tried.

use alloc::vec::Vec;

use mote_unikernel::println;
use mote_unikernel::time::{self, Timer};
use mote_unikernel::xen::{Errno, domains};
use xen_abi::mote::flags;
use xen_abi::sched::reason;

use crate::control::{Control, ephemeral};
use crate::work;

const SECRET: u64 = 0x0bad_cafe_5ec2_e700;
const SAMPLES: usize = 31;

type Try = (&'static str, fn(&Control));

const TRIES: [Try; 10] = [
    ("refusals", refusals),
    ("identity", identity),
    ("isolation", isolation),
    ("events", events),
    ("limits", limits),
    ("balloon", balloon),
    ("speed", speed),
    ("density", density),
    ("exhaustion", exhaustion),
    ("destruction", destruction),
];

pub fn run(control: &Control) {
    // Until the template is one.
    while domains::clone(control.template, ephemeral(work::NOTHING, 0)).is_err() {
        control.ends.wait();
    }
    control.wait(1);
    let tries: &[Try] = if control.crowd == 0 { &TRIES } else { &[("crowd", crowd), ("destruction", destruction)] };
    for (name, attempt) in tries {
        attempt(control);
        println!("cloner: {name} ok");
    }
}

fn refusals(control: &Control) {
    assert_eq!(domains::clone(99, ephemeral(work::NOTHING, 0)), Err(Errno::ESRCH));
    let clone = control.launch(ephemeral(work::SLEEP, 0));
    assert_eq!(domains::clone(clone, ephemeral(work::NOTHING, 0)), Err(Errno::EINVAL), "a clone is no template");
    assert_eq!(domains::destroy(control.template), Err(Errno::EBUSY), "it has a clone");
    domains::destroy(clone).expect("to destroy it");
    assert_eq!(control.wait(1)[0].domain, clone);
    assert_eq!(control.have(ephemeral(work::SNAPSHOT, 0)).code, reason::POWEROFF);
}

fn identity(control: &Control) {
    for _ in 0..2 {
        assert_eq!(control.have(ephemeral(work::SPEAK, 0)).code, reason::POWEROFF);
    }
}

fn isolation(control: &Control) {
    let free = free_pages();
    for round in 0..3 {
        let end = control.have(ephemeral(work::WRITE, SECRET + round));
        assert_eq!(end.code, reason::POWEROFF);
        assert!(end.pages >= control.ballast, "{} pages", end.pages);
        assert_eq!(free_pages(), free, "everything comes back");
        assert_eq!(control.have(ephemeral(work::SEARCH, SECRET + round)).code, reason::POWEROFF);
    }
    // Several at once.
    for number in 0..8 {
        control.launch(ephemeral(work::WRITE, number));
    }
    assert!(control.wait(8).iter().all(|end| end.code == reason::POWEROFF));
    assert_eq!(free_pages(), free);
}

fn events(control: &Control) {
    assert_eq!(control.have(ephemeral(work::EVENTS, 0)).code, reason::POWEROFF);
}

fn limits(control: &Control) {
    let mut asked = ephemeral(work::SPIN, 0);
    asked.ticks = time::frequency() / 100;
    let end = control.have(asked);
    assert_eq!(end.code, reason::WATCHDOG);
    assert!(end.lived >= asked.ticks);
    asked = ephemeral(work::SLEEP, 0);
    asked.ticks = time::frequency() / 100;
    assert_eq!(control.have(asked).code, reason::WATCHDOG);
    let mut asked = ephemeral(work::WRITE, 1);
    asked.pages = 24;
    let end = control.have(asked);
    assert_eq!(end.code, reason::CRASH);
    assert!(end.pages <= 25, "{} pages", end.pages);
}

fn balloon(control: &Control) {
    let free = free_pages();
    assert_eq!(control.have(ephemeral(work::BALLOON, 0)).code, reason::POWEROFF);
    assert_eq!(free_pages(), free);
}

fn speed(control: &Control) {
    let mut one = ephemeral(work::NOTHING, 0);
    let whole = median(|| {
        let start = now();
        control.launch(one);
        control.wait(1);
        now() - start
    });
    println!("bench: clone_end {whole}");
    one.flags = 0;
    let (mut first, mut destroy) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let start = now();
        let clone = control.launch(one);
        let id = loop {
            control.ends.wait();
            let usage = domains::usage(clone).expect("it is there");
            if usage.ended != 0 {
                first.push(usage.first_instruction - start);
                break clone;
            }
        };
        let start = now();
        domains::destroy(id).expect("to destroy it");
        destroy.push(now() - start);
    }
    println!("bench: clone_first_instruction {}", middle(first));
    println!("bench: clone_destroy {}", middle(destroy));
    one.flags = flags::PAUSED;
    let clone = control.launch(one);
    let usage = domains::usage(clone).expect("it is there");
    println!("bench: clone_bytes {}", usage.tables + usage.structures);
    domains::destroy(clone).expect("to destroy it");
}

fn density(control: &Control) {
    let (free, mut times) = (free_pages(), Vec::new());
    let alive: Vec<u16> = (0..control.alive)
        .map(|_| {
            let start = now();
            let id = control.launch(ephemeral(work::SLEEP, 0));
            times.push(now() - start);
            id
        })
        .collect();
    let last = times.split_off(times.len() - (times.len() / 10).max(1));
    times.truncate(last.len());
    println!("bench: clone_hypercall_of_first {}", middle(times));
    println!("bench: clone_hypercall_of_last {}", middle(last));
    // They run when this domain waits.
    time::sleep(core::time::Duration::from_millis(200));
    println!("bench: clone_pages {}", (free - free_pages()) / alive.len().max(1) as u64);
    let start = now();
    for &id in &alive {
        domains::destroy(id).expect("to destroy it");
        control.wait(1);
    }
    println!("bench: clone_destroy_of_many {}", (now() - start) / alive.len().max(1) as u64);
    assert_eq!(free_pages(), free, "everything comes back");
}

/// More domains than VMIDs of 8 bits, all of which run in turns. Each is a little different.
fn crowd(control: &Control) {
    let free = free_pages();
    let all: Vec<u16> = (0..control.crowd)
        .map(|number| {
            let mut asked = ephemeral(work::KEEP, SECRET + ((number as u64) << 16));
            asked.flags |= flags::PAUSED;
            control.launch(asked)
        })
        .collect();
    all.iter().for_each(|&id| domains::unpause(id).expect("to run"));
    println!("cloner: {} clones run", all.len());
    let ends = control.wait(all.len());
    assert!(ends.iter().all(|end| end.code == reason::POWEROFF), "one found what it had not left");
    // The pCPU where the last ended may not be through with it, and was not with the first when this began. That no frame is lost the
    // machine's report says.
    let comes_back = (0..1000).any(|_| {
        time::sleep(core::time::Duration::from_millis(1));
        free_pages() >= free
    });
    assert!(comes_back, "everything comes back: {} of {free}", free_pages());
}

/// All clones at once write to all pages, and there is not memory for all.
fn exhaustion(control: &Control) {
    let free = free_pages();
    let mut asked = ephemeral(work::WRITE, 3);
    (asked.pages, asked.flags) = (u32::MAX, flags::EPHEMERAL | flags::PAUSED);
    let mut paused = Vec::new();
    let enough = free / control.ballast.max(1) + 8;
    while (paused.len() as u64) < enough {
        match domains::clone(control.template, asked) {
            Ok(id) => paused.push(id),
            Err(error) => {
                assert_eq!(error, Errno::ENOMEM);
                break;
            }
        }
    }
    println!("cloner: {} clones that write at once", paused.len());
    let mut ends = Vec::new();
    for &id in &paused {
        domains::unpause(id).expect("to run");
        control.wait_for(&mut ends, 0);
    }
    control.wait_for(&mut ends, paused.len());
    assert!(ends.iter().all(|end| matches!(end.code, reason::POWEROFF | reason::CRASH)));
    println!("cloner: {} of them died of it", ends.iter().filter(|end| end.code == reason::CRASH).count());
    assert_eq!(free_pages(), free, "everything comes back");
    assert_eq!(control.have(ephemeral(work::WRITE, 4)).code, reason::POWEROFF, "and there is room again");
}

fn destruction(control: &Control) {
    domains::destroy(control.template).expect("without clones it can go");
    assert_eq!(domains::clone(control.template, ephemeral(work::NOTHING, 0)), Err(Errno::ESRCH));
}

fn free_pages() -> u64 {
    domains::machine().expect("the machine").free_pages
}

fn now() -> u64 {
    Timer::Physical.count()
}

fn median(sample: impl FnMut() -> u64) -> u64 {
    middle(core::iter::repeat_with(sample).take(SAMPLES).collect())
}

fn middle(mut samples: Vec<u64>) -> u64 {
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied().unwrap_or(0)
}
