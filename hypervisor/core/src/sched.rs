//! Who runs where, and for how long: weighted fair shares in virtual time.
//!
//! A vCPU's virtual time advances while it runs, the slower the greater its weight, and the runnable one that is furthest behind
//! runs next, on whichever pCPU is free first. One queue serves all pCPUs: shares are then exact with any number of
//! either, and nothing has to be balanced. A vCPU that waited comes back with little more credit than those that did not.
//!
//! Nothing here allocates after [`Scheduler::add`]. Whoever calls a method that may concern other pCPUs passes on
//! what [`Scheduler::take_summons`] gives afterwards.

mod heap;

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use heap::SlotHeap;

use crate::id::PcpuId;

/// Weight of a vCPU whose configuration names none, as credit2's.
pub const DEFAULT_WEIGHT: u32 = 256;

/// A vCPU's place in the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VcpuSlot(usize);

impl VcpuSlot {
    /// A small number that no other vCPU has at the same time.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// Why a vCPU leaves its pCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// Another one's turn.
    Preempted,
    /// It has nothing to do that cannot wait for all others.
    Yielded,
    /// It waits to be woken, or for a tick.
    Blocked {
        /// When it wakes by itself.
        deadline: Option<u64>,
    },
    /// It is switched off.
    Offline,
}

/// What a pCPU does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Whom it runs; nobody, then it idles.
    pub vcpu: Option<VcpuSlot>,
    /// When it has to look again, if nothing happens before.
    pub alarm: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not in use.
    Free,
    /// Switched off.
    Offline,
    /// Waits for its turn.
    Queued,
    Running {
        pcpu: PcpuId,
        since: u64,
    },
    Blocked,
    /// Never to run again.
    Retired,
}

#[derive(Debug)]
struct Vcpu {
    state: State,
    weight: u32,
    // In ticks of a vCPU of the default weight.
    virtual_time: u64,
    ran: u64,
    last: PcpuId,
    // What came while it ran: a wake, or its being switched on anew.
    woken: bool,
    started: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occupation {
    Idle,
    /// Idle, and on its way to look at the queue.
    Summoned,
    Runs(VcpuSlot),
}

#[derive(Debug)]
struct Pcpu {
    occupation: Occupation,
    slice_end: u64,
    // Blocked vCPUs by the tick at which they wake.
    sleepers: SlotHeap,
}

/// The scheduler of the machine. `now` is in ticks and never goes back by more than the pCPUs' counters differ.
#[derive(Debug)]
pub struct Scheduler {
    vcpus: Vec<Vcpu>,
    pcpus: Vec<Pcpu>,
    queue: SlotHeap,
    // No runnable vCPU is behind this virtual time by more than a slice.
    floor: u64,
    slice: u64,
    // The pCPUs that must look again, a bit for each.
    summons: u64,
}

impl Scheduler {
    /// No vCPUs yet on `pcpus` pCPUs, at most 64; when vCPUs compete, each turn takes `slice` ticks.
    #[must_use]
    pub fn new(pcpus: usize, slice: u64) -> Self {
        let idle =
            || Pcpu { occupation: Occupation::Idle, slice_end: 0, sleepers: SlotHeap::default() };
        Self {
            vcpus: Vec::new(),
            pcpus: core::iter::repeat_with(idle).take(pcpus).collect(),
            queue: SlotHeap::default(),
            floor: 0,
            slice,
            summons: 0,
        }
    }

    /// Adds a vCPU that is switched off.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn add(&mut self, weight: u32) -> Result<VcpuSlot, TryReserveError> {
        let vcpu = Vcpu {
            state: State::Offline,
            weight: weight.max(1),
            virtual_time: 0,
            ran: 0,
            last: PcpuId(0),
            woken: false,
            started: false,
        };
        if let Some(free) = self.vcpus.iter().position(|vcpu| vcpu.state == State::Free) {
            self.vcpus[free] = vcpu;
            return Ok(VcpuSlot(free));
        }
        let slots = self.vcpus.len() + 1;
        self.vcpus.try_reserve(1)?;
        self.queue.reserve(slots)?;
        for pcpu in &mut self.pcpus {
            pcpu.sleepers.reserve(slots)?;
        }
        self.vcpus.push(vcpu);
        Ok(VcpuSlot(slots - 1))
    }

    /// Sees to it that a vCPU does not run again; `false` if it runs now, and its pCPU is told to look again.
    pub fn retire(&mut self, slot: VcpuSlot) -> bool {
        let Some(vcpu) = self.vcpus.get_mut(slot.0) else { return true };
        if let State::Running { pcpu, .. } = vcpu.state {
            self.summon(pcpu);
            return false;
        }
        vcpu.state = State::Retired;
        let last = vcpu.last;
        self.queue.remove(slot.0);
        self.sleepers(last).remove(slot.0);
        true
    }

    /// Frees the slot of a vCPU that does not run, and says for how many ticks it ran in all.
    pub fn remove(&mut self, slot: VcpuSlot) -> u64 {
        self.retire(slot);
        let Some(vcpu) = self.vcpus.get_mut(slot.0) else { return 0 };
        vcpu.state = State::Free;
        vcpu.ran
    }

    /// Switches a vCPU on.
    pub fn start(&mut self, slot: VcpuSlot, now: u64) {
        let Some(vcpu) = self.vcpus.get_mut(slot.0) else { return };
        match vcpu.state {
            State::Offline => self.make_runnable(slot, now),
            // It is on its way off its pCPU.
            State::Running { .. } => vcpu.started = true,
            _ => {}
        }
    }

    /// Something happened for a vCPU that it may wait for. If it runs, its pCPU is told to look again.
    pub fn wake(&mut self, slot: VcpuSlot, now: u64) {
        let Some(vcpu) = self.vcpus.get_mut(slot.0) else { return };
        match vcpu.state {
            State::Running { pcpu, .. } => {
                vcpu.woken = true;
                self.summon(pcpu);
            }
            State::Blocked => self.make_runnable(slot, now),
            State::Free | State::Offline | State::Queued | State::Retired => {}
        }
    }

    /// The pCPUs that must look again because of the calls since the last time.
    pub fn take_summons(&mut self) -> impl Iterator<Item = PcpuId> + use<> {
        let summons = core::mem::take(&mut self.summons);
        (0..64).filter(move |bit| summons & 1 << bit != 0).map(PcpuId)
    }

    /// Takes a vCPU off `pcpu` for the given reason, and says who runs there next.
    pub fn next(&mut self, pcpu: PcpuId, now: u64, left: Option<(VcpuSlot, Leaving)>) -> Next {
        if let Some((slot, leaving)) = left {
            self.leave(pcpu, slot, leaving, now);
        }
        self.wake_sleepers(pcpu, now);
        // It is looking.
        self.summons &= !(1 << pcpu.0);
        let vcpu = self.queue.pop().map(VcpuSlot);
        if let Some(slot) = vcpu {
            self.enter(pcpu, slot, now);
        }
        let slice_end = now.saturating_add(self.slice);
        if let Some(cpu) = self.pcpus.get_mut(usize::from(pcpu.0)) {
            cpu.occupation = vcpu.map_or(Occupation::Idle, Occupation::Runs);
            cpu.slice_end = slice_end;
        }
        Next { vcpu, alarm: self.alarm(pcpu) }
    }

    /// Whether the vCPU on `pcpu` has to make room now, asked when its alarm went off or it was told to look again.
    pub fn must_leave(&mut self, pcpu: PcpuId, now: u64) -> bool {
        self.wake_sleepers(pcpu, now);
        let Some(&Pcpu { occupation: Occupation::Runs(slot), slice_end, .. }) =
            self.pcpus.get(usize::from(pcpu.0))
        else {
            return true;
        };
        let Some((waiting, _)) = self.queue.first() else { return false };
        let current = self.virtual_time_now(slot, now);
        now >= slice_end || waiting.saturating_add(self.slice / 2) < current
    }

    /// When `pcpu` has to look again: at the end of the slice if somebody waits, or when one of its sleepers wakes.
    #[must_use]
    pub fn alarm(&self, pcpu: PcpuId) -> Option<u64> {
        let cpu = self.pcpus.get(usize::from(pcpu.0))?;
        let contested = matches!(cpu.occupation, Occupation::Runs(_)) && !self.queue.is_empty();
        let sleeper = cpu.sleepers.first().map(|(deadline, _)| deadline);
        [contested.then_some(cpu.slice_end), sleeper].into_iter().flatten().min()
    }

    fn leave(&mut self, pcpu: PcpuId, slot: VcpuSlot, leaving: Leaving, now: u64) {
        let virtual_time = self.virtual_time_now(slot, now);
        let behind_all = self.queue.first().map_or(0, |(first, _)| first.saturating_add(1));
        let Some(vcpu) = self.vcpus.get_mut(slot.0) else { return };
        let State::Running { since, .. } = vcpu.state else { return };
        vcpu.ran += now.saturating_sub(since);
        vcpu.virtual_time = virtual_time;
        match leaving {
            Leaving::Offline if !vcpu.started => vcpu.state = State::Offline,
            Leaving::Blocked { deadline } if !vcpu.woken => {
                vcpu.state = State::Blocked;
                if let Some(deadline) = deadline {
                    self.sleepers(pcpu).insert(deadline, slot.0);
                }
            }
            _ => {
                if leaving == Leaving::Yielded {
                    vcpu.virtual_time = virtual_time.max(behind_all);
                }
                vcpu.state = State::Queued;
                self.queue.insert(vcpu.virtual_time, slot.0);
            }
        }
    }

    fn enter(&mut self, pcpu: PcpuId, slot: VcpuSlot, now: u64) {
        let Some(vcpu) = self.vcpus.get_mut(slot.0) else { return };
        vcpu.state = State::Running { pcpu, since: now };
        vcpu.last = pcpu;
        vcpu.woken = false;
        vcpu.started = false;
        self.floor = self.floor.max(vcpu.virtual_time);
    }

    fn virtual_time_now(&self, slot: VcpuSlot, now: u64) -> u64 {
        let Some(vcpu) = self.vcpus.get(slot.0) else { return 0 };
        let State::Running { since, .. } = vcpu.state else { return vcpu.virtual_time };
        let ran = now.saturating_sub(since);
        let advance = ran.saturating_mul(u64::from(DEFAULT_WEIGHT)) / u64::from(vcpu.weight);
        vcpu.virtual_time.saturating_add(advance)
    }

    fn make_runnable(&mut self, slot: VcpuSlot, now: u64) {
        self.raise_floor(now);
        let credit = self.floor.saturating_sub(self.slice);
        let Some(vcpu) = self.vcpus.get_mut(slot.0) else { return };
        vcpu.virtual_time = vcpu.virtual_time.max(credit);
        vcpu.state = State::Queued;
        let (virtual_time, last) = (vcpu.virtual_time, vcpu.last);
        self.queue.insert(virtual_time, slot.0);
        self.sleepers(last).remove(slot.0);
        if let Some(pcpu) = self.place_for(last) {
            self.summon(pcpu);
        }
    }

    /// One that runs alone may have come far since its turn began.
    fn raise_floor(&mut self, now: u64) {
        let running = self.pcpus.iter().filter_map(|pcpu| match pcpu.occupation {
            Occupation::Runs(slot) => Some(self.virtual_time_now(slot, now)),
            Occupation::Idle | Occupation::Summoned => None,
        });
        let waiting = self.queue.first().map(|(first, _)| first);
        if let Some(least) = running.chain(waiting).min() {
            self.floor = self.floor.max(least);
        }
    }

    /// A pCPU for one that just became runnable: where it was last if that is idle, else another idle one, else
    /// the one whose vCPU is furthest ahead, which has to set its alarm even if it goes on.
    fn place_for(&self, last: PcpuId) -> Option<PcpuId> {
        let is_idle = |pcpu: &PcpuId| {
            self.pcpus.get(usize::from(pcpu.0)).is_some_and(|p| p.occupation == Occupation::Idle)
        };
        let all = || (0..self.pcpus.len()).map(|index| PcpuId(index as u8));
        let start_of_turn = |pcpu: PcpuId| match self.pcpus.get(usize::from(pcpu.0))?.occupation {
            Occupation::Runs(slot) => self.vcpus.get(slot.0).map(|vcpu| (vcpu.virtual_time, pcpu)),
            Occupation::Idle | Occupation::Summoned => None,
        };
        Some(last).filter(is_idle).or_else(|| all().find(is_idle)).or_else(|| {
            all().filter_map(start_of_turn).max_by_key(|&(time, _)| time).map(|(_, pcpu)| pcpu)
        })
    }

    fn summon(&mut self, pcpu: PcpuId) {
        self.summons |= 1 << pcpu.0;
        if let Some(cpu) = self.pcpus.get_mut(usize::from(pcpu.0))
            && cpu.occupation == Occupation::Idle
        {
            cpu.occupation = Occupation::Summoned;
        }
    }

    fn wake_sleepers(&mut self, pcpu: PcpuId, now: u64) {
        while let Some((deadline, slot)) = self.sleepers(pcpu).first() {
            if deadline > now {
                return;
            }
            self.sleepers(pcpu).remove(slot);
            self.make_runnable(VcpuSlot(slot), now);
        }
    }

    fn sleepers(&mut self, pcpu: PcpuId) -> &mut SlotHeap {
        let index = usize::from(pcpu.0).min(self.pcpus.len() - 1);
        &mut self.pcpus[index].sleepers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const SLICE: u64 = 1000;

    /// Runs the vCPUs of `weights` without a break on `pcpus` pCPUs; returns how long each ran.
    fn spin(weights: &[u32], pcpus: usize, ticks: u64) -> Vec<u64> {
        let mut scheduler = Scheduler::new(pcpus, SLICE);
        let slots: Vec<VcpuSlot> =
            weights.iter().map(|&weight| scheduler.add(weight).expect("memory")).collect();
        slots.iter().for_each(|&slot| scheduler.start(slot, 0));
        let _ = scheduler.take_summons();
        let mut current: Vec<Option<VcpuSlot>> = std::vec![None; pcpus];
        for now in (0..ticks).step_by(50) {
            for (index, vcpu) in current.iter_mut().enumerate() {
                let pcpu = PcpuId(index as u8);
                let due = scheduler.alarm(pcpu).is_some_and(|alarm| alarm <= now);
                if vcpu.is_none() || due && scheduler.must_leave(pcpu, now) {
                    let left = vcpu.take().map(|slot| (slot, Leaving::Preempted));
                    *vcpu = scheduler.next(pcpu, now, left).vcpu;
                }
            }
        }
        for (index, vcpu) in current.iter().enumerate() {
            let left = vcpu.map(|slot| (slot, Leaving::Offline));
            scheduler.next(PcpuId(index as u8), ticks, left);
        }
        slots.iter().map(|&slot| scheduler.vcpus[slot.0].ran).collect()
    }

    fn assert_shares(weights: &[u32], pcpus: usize, shares: &[f64]) {
        let ticks = 3_000_000;
        for (ran, share) in spin(weights, pcpus, ticks).into_iter().zip(shares) {
            let got = ran as f64 / ticks as f64;
            assert!((got - share).abs() < 0.02, "{weights:?} on {pcpus}: {got} instead of {share}");
        }
    }

    #[test]
    fn equals_share_equally_on_any_number_of_pcpus() {
        assert_shares(&[256; 3], 1, &[1.0 / 3.0; 3]);
        assert_shares(&[256; 3], 2, &[2.0 / 3.0; 3]);
        assert_shares(&[256; 7], 4, &[4.0 / 7.0; 7]);
        assert_shares(&[256; 2], 4, &[1.0; 2]);
    }

    #[test]
    fn weight_decides_the_share() {
        assert_shares(&[256, 512], 1, &[1.0 / 3.0, 2.0 / 3.0]);
        assert_shares(&[100, 200, 300, 400], 2, &[0.2, 0.4, 0.6, 0.8]);
    }

    #[test]
    fn one_that_wakes_does_not_wait_behind_one_that_spins() {
        let mut scheduler = Scheduler::new(1, SLICE);
        let spinner = scheduler.add(256).expect("memory");
        let sleeper = scheduler.add(256).expect("memory");
        scheduler.start(spinner, 0);
        scheduler.next(PcpuId(0), 0, None);
        scheduler.start(sleeper, 0);
        let left = Some((spinner, Leaving::Preempted));
        assert_eq!(scheduler.next(PcpuId(0), 1000, left).vcpu, Some(sleeper));
        let left = Some((sleeper, Leaving::Blocked { deadline: Some(50_000) }));
        let next = scheduler.next(PcpuId(0), 1001, left);
        assert_eq!(next, Next { vcpu: Some(spinner), alarm: Some(50_000) });
        assert!(scheduler.must_leave(PcpuId(0), 50_000), "the sleeper is due");
        let left = Some((spinner, Leaving::Preempted));
        assert_eq!(scheduler.next(PcpuId(0), 50_000, left).vcpu, Some(sleeper));
    }

    #[test]
    fn long_sleep_earns_no_long_turn() {
        let mut scheduler = Scheduler::new(1, SLICE);
        let spinner = scheduler.add(256).expect("memory");
        let sleeper = scheduler.add(256).expect("memory");
        scheduler.start(spinner, 0);
        scheduler.next(PcpuId(0), 0, None);
        scheduler.start(sleeper, 1_000_000);
        let left = Some((spinner, Leaving::Preempted));
        scheduler.next(PcpuId(0), 1_000_000, left);
        let left = Some((sleeper, Leaving::Preempted));
        let third = scheduler.next(PcpuId(0), 1_003_000, left).vcpu;
        assert_eq!(third, Some(spinner));
    }

    #[test]
    fn a_wake_that_comes_before_the_block_is_not_lost() {
        let mut scheduler = Scheduler::new(1, SLICE);
        let slot = scheduler.add(256).expect("memory");
        scheduler.start(slot, 0);
        scheduler.next(PcpuId(0), 0, None);
        scheduler.wake(slot, 0);
        assert!(scheduler.take_summons().eq([PcpuId(0)]), "its pCPU looks again");
        let left = Some((slot, Leaving::Blocked { deadline: None }));
        assert_eq!(scheduler.next(PcpuId(0), 1, left).vcpu, Some(slot));
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
        let left = Some((slot, Leaving::Offline));
        assert_eq!(scheduler.next(PcpuId(0), 1, left).vcpu, None);
    }

    #[test]
    fn several_that_wake_at_once_summon_as_many_idle_pcpus() {
        let mut scheduler = Scheduler::new(3, SLICE);
        let slots: Vec<VcpuSlot> = (0..3).map(|_| scheduler.add(256).expect("memory")).collect();
        for &slot in &slots {
            scheduler.start(slot, 0);
            scheduler.next(PcpuId(0), 0, None);
            let left = Some((slot, Leaving::Blocked { deadline: Some(10) }));
            scheduler.next(PcpuId(0), 1, left);
        }
        let _ = scheduler.take_summons();
        assert!(scheduler.next(PcpuId(0), 10, None).vcpu.is_some());
        assert!(scheduler.take_summons().eq([PcpuId(1), PcpuId(2)]));
    }

    proptest! {
        #[test]
        fn a_vcpu_is_in_one_place_and_runnable_ones_run(steps in prop::collection::vec((0u8..7, 0usize..5, 0u8..2, 1u64..3000), 1..300)) {
            let mut scheduler = Scheduler::new(2, SLICE);
            let slots: Vec<VcpuSlot> = (0..5).map(|_| scheduler.add(256).expect("memory")).collect();
            let mut running: BTreeMap<u8, VcpuSlot> = BTreeMap::new();
            // The model: switched on, and not waiting.
            let mut runnable = [false; 5];
            let mut on = [false; 5];
            let mut now = 0;
            for (action, pick, pcpu, time) in steps {
                now += time;
                let slot = slots[pick];
                if action == 0 {
                    scheduler.start(slot, now);
                    if !on[pick] { on[pick] = true; runnable[pick] = true; }
                } else if action == 1 {
                    scheduler.wake(slot, now);
                    runnable[pick] |= on[pick];
                } else {
                    let left = running.remove(&pcpu).map(|slot| (slot, match action {
                        2 => Leaving::Preempted,
                        3 => Leaving::Yielded,
                        4 => Leaving::Blocked { deadline: None },
                        _ => Leaving::Offline,
                    }));
                    if let Some((slot, leaving)) = left {
                        let vcpu = &scheduler.vcpus[slot.0];
                        let stays = match leaving {
                            Leaving::Blocked { .. } => vcpu.woken,
                            Leaving::Offline => vcpu.started,
                            _ => true,
                        };
                        runnable[slot.0] = stays;
                        on[slot.0] = leaving != Leaving::Offline || stays;
                    }
                    if let Some(slot) = scheduler.next(PcpuId(pcpu), now, left).vcpu {
                        prop_assert!(runnable[slot.0]);
                        prop_assert!(!running.values().any(|&other| other == slot), "on two pCPUs");
                        running.insert(pcpu, slot);
                    } else {
                        let waiting = slots.iter().filter(|s| runnable[s.0] && !running.values().any(|r| r == *s)).count();
                        prop_assert_eq!(waiting, 0, "idle while somebody waits");
                    }
                }
            }
        }
    }
}
