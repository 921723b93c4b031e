//! What each call does.

use super::*;

mod model;
mod simulation;

const SLICE: u64 = 1000;

#[test]
fn thousands_of_sleepers_wake_a_few_at_a_time() {
    const COUNT: usize = 10_000;
    let mut scheduler = Scheduler::new(1, SLICE);
    let cpu = PcpuId(0);
    for _ in 0..COUNT {
        let slot = scheduler.add(256).expect("memory");
        scheduler.start(slot, 0);
        assert_eq!(scheduler.next(cpu, 0, None).vcpu, Some(slot));
        let left = Some((slot, Leaving::Blocked { deadline: Some(10) }));
        assert_eq!(scheduler.next(cpu, 0, left).vcpu, None);
    }
    let mut next = scheduler.next(cpu, 10, None);
    assert_eq!(scheduler.queue.len(), WAKES_AT_ONCE - 1);
    assert_eq!(next.alarm, Some(10), "the others are due");
    let mut served = 0;
    while let Some(slot) = next.vcpu {
        served += 1;
        next = scheduler.next(cpu, 11, Some((slot, Leaving::Blocked { deadline: None })));
    }
    assert_eq!(served, COUNT);
}

#[test]
fn one_that_yields_is_passed_over_and_pays_nothing() {
    let mut scheduler = Scheduler::new(1, SLICE);
    let slots = [0; 3].map(|_| scheduler.add(256).expect("memory"));
    slots.into_iter().for_each(|slot| scheduler.start(slot, 0));
    let mut running = scheduler.next(PcpuId(0), 0, None).vcpu.expect("somebody");
    for now in 1..30 {
        let next = scheduler.next(PcpuId(0), now, Some((running, Leaving::Yielded))).vcpu;
        assert_ne!(next, Some(running));
        running = next.expect("somebody");
    }
    let times = slots.map(|slot| scheduler.vcpus[slot.0].virtual_time);
    assert_eq!(times.iter().sum::<u64>(), 29);
    assert!(times.iter().all(|time| (8..12).contains(time)), "{times:?}");
    // Those that are far ahead are not let pass.
    for slot in slots.into_iter().filter(|&slot| slot != running) {
        scheduler.vcpus[slot.0].virtual_time += 2 * SLICE;
        scheduler.take_place(slot);
    }
    let left = Some((running, Leaving::Yielded));
    assert_eq!(scheduler.next(PcpuId(0), 30, left).vcpu, Some(running));
}

#[test]
fn a_wake_that_comes_before_the_block_is_not_lost() {
    let mut scheduler = Scheduler::new(1, SLICE);
    let slot = scheduler.add(256).expect("memory");
    scheduler.start(slot, 0);
    scheduler.next(PcpuId(0), 0, None);
    scheduler.wake(slot, 0);
    assert!(scheduler.take_summons().eq([PcpuId(0)]), "its pCPU looks again");
    let blocked = Some((slot, Leaving::Blocked { deadline: None }));
    assert_eq!(scheduler.next(PcpuId(0), 1, blocked).vcpu, Some(slot));
}

#[test]
fn a_wake_that_was_looked_at_does_not_keep_from_blocking() {
    let mut scheduler = Scheduler::new(1, SLICE);
    let slot = scheduler.add(256).expect("memory");
    scheduler.start(slot, 0);
    scheduler.next(PcpuId(0), 0, None);
    scheduler.wake(slot, 0);
    scheduler.wake(slot, 0);
    assert!(scheduler.take_summons().eq([PcpuId(0)]));
    assert!(!scheduler.must_leave(PcpuId(0), 0));
    let blocked = Some((slot, Leaving::Blocked { deadline: None }));
    assert_eq!(scheduler.next(PcpuId(0), 1, blocked).vcpu, None);
}

#[test]
fn a_woken_one_interrupts_those_that_had_more() {
    let mut scheduler = Scheduler::new(1, SLICE);
    let cpu = PcpuId(0);
    let [sleeper, first, second] = [0; 3].map(|_| scheduler.add(256).expect("memory"));
    scheduler.start(sleeper, 0);
    scheduler.next(cpu, 0, None);
    [first, second].into_iter().for_each(|slot| scheduler.start(slot, 0));
    scheduler.next(cpu, 0, Some((sleeper, Leaving::Blocked { deadline: None })));
    let left = scheduler.pcpus[0].runs.map(|slot| (slot, Leaving::Preempted));
    scheduler.next(cpu, SLICE, left);
    let _ = scheduler.take_summons();
    scheduler.wake(sleeper, SLICE + 600);
    assert!(scheduler.take_summons().eq([cpu]));
    assert!(scheduler.must_leave(cpu, SLICE + 601));
    let left = scheduler.pcpus[0].runs.map(|slot| (slot, Leaving::Preempted));
    assert_eq!(scheduler.next(cpu, SLICE + 602, left).vcpu, Some(sleeper));
}

#[test]
fn a_wake_does_not_switch_a_vcpu_on() {
    let mut scheduler = Scheduler::new(1, SLICE);
    let slot = scheduler.add(256).expect("memory");
    scheduler.wake(slot, 0);
    assert_eq!(scheduler.next(PcpuId(0), 0, None).vcpu, None);
    scheduler.start(slot, 0);
    assert_eq!(scheduler.next(PcpuId(0), 0, None).vcpu, Some(slot));
    scheduler.wake(slot, 0);
    let offline = Some((slot, Leaving::Offline));
    assert_eq!(scheduler.next(PcpuId(0), 1, offline).vcpu, None);
}

#[test]
fn several_that_wake_at_once_summon_as_many_idle_pcpus() {
    let mut scheduler = Scheduler::new(3, SLICE);
    let slots: Vec<VcpuSlot> = (0..3).map(|_| scheduler.add(256).expect("memory")).collect();
    (1..3).for_each(|pcpu| assert_eq!(scheduler.next(PcpuId(pcpu), 0, None).vcpu, None));
    for &slot in &slots {
        scheduler.start(slot, 0);
        scheduler.next(PcpuId(0), 0, None);
        let left = Some((slot, Leaving::Blocked { deadline: Some(10) }));
        scheduler.next(PcpuId(0), 1, left);
    }
    (1..3).for_each(|pcpu| assert_eq!(scheduler.next(PcpuId(pcpu), 2, None).vcpu, None));
    let _ = scheduler.take_summons();
    assert!(scheduler.next(PcpuId(0), 10, None).vcpu.is_some());
    assert!(scheduler.take_summons().eq([PcpuId(1), PcpuId(2)]));
}

#[test]
fn a_pcpu_that_never_came_up_is_told_nothing() {
    let mut scheduler = Scheduler::new(2, SLICE);
    scheduler.next(PcpuId(0), 0, None);
    for expected in [Some(PcpuId(0)), None] {
        let slot = scheduler.add(256).expect("memory");
        scheduler.start(slot, 0);
        assert_eq!(scheduler.take_summons().next(), expected);
    }
}

#[test]
fn slots_are_used_again_but_not_while_their_vcpu_runs() {
    let mut scheduler = Scheduler::new(1, SLICE);
    let slot = scheduler.add(256).expect("memory");
    scheduler.start(slot, 0);
    scheduler.next(PcpuId(0), 0, None);
    scheduler.remove(slot);
    assert_ne!(scheduler.add(256).expect("memory"), slot);
    scheduler.next(PcpuId(0), 70, Some((slot, Leaving::Offline)));
    assert_eq!(scheduler.remove(slot), 70);
    scheduler.remove(slot);
    assert_eq!(scheduler.add(256).expect("memory"), slot);
    assert_ne!(scheduler.add(256).expect("memory"), slot);
}
