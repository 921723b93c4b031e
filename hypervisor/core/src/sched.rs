//! Who runs where, and for how long: weighted fair shares in virtual time.
//!
//! A vCPU's virtual time advances while it runs, the slower the greater its weight, and the runnable one that is furthest behind
//! runs next, on whichever pCPU is free first. One queue serves all pCPUs, and one lock of the caller's: with queues for each,
//! shares would only be exact after moving vCPUs between them. A vCPU that waited comes back with little more credit than those
//! that did not.
//!
//! A pCPU looks at the queue when its vCPU leaves, at the end of a slice if it knows that somebody waits, and when it is told
//! to. So each vCPU that comes to the queue needs one pCPU that is told, or looks anyway: an idle one, else one whose vCPU has
//! had more than its share or whose alarm is not set. That no pCPU is told without need keeps exits rare.
//!
//! Nothing here allocates after [`Scheduler::add`], and no call's work grows with the number of vCPUs but by a heap's depth.
//! Whoever calls a method that may concern other pCPUs passes on what [`Scheduler::take_summons`] gives afterwards.

mod heap;
mod summons;
mod vcpu;

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use heap::SlotHeap;
use summons::{bit, set};
use vcpu::Vcpu;

use crate::id::PcpuId;
use crate::timer::earliest;

pub use vcpu::{DEFAULT_WEIGHT, State};

/// As many as a set of them has bits.
pub(crate) const MAX_PCPUS: usize = u64::BITS as usize;
/// How many sleepers one call wakes: other pCPUs wait for it.
const WAKES_AT_ONCE: usize = 8;

/// A vCPU's place in the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VcpuSlot(usize);

impl VcpuSlot {
    /// A small number that no other vCPU has at the same time.
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
pub struct Next<Vcpu = VcpuSlot> {
    /// Whom it runs; nobody, then it idles.
    pub vcpu: Option<Vcpu>,
    /// Since which tick that one has been able to run.
    pub ready: u64,
    /// When it has to look again, if nothing happens before.
    pub alarm: Option<u64>,
}

#[derive(Debug, Default)]
struct Pcpu {
    runs: Option<VcpuSlot>,
    slice_end: u64,
    // Blocked vCPUs by the tick at which they wake.
    sleepers: SlotHeap,
}

/// The scheduler of the machine. `now` is in ticks and never goes back by more than the pCPUs' counters differ; slots are
/// those that [`Self::add`] gave, and pCPUs those that there are.
#[derive(Debug, Default)]
pub struct Scheduler {
    vcpus: Vec<Vcpu>,
    // Slots not in use.
    free: Vec<VcpuSlot>,
    pcpus: Vec<Pcpu>,
    queue: SlotHeap,
    // A vCPU that becomes runnable is behind this virtual time by a slice at most.
    floor: u64,
    slice: u64,
    // Sets of pCPUs, a bit for each. Those that asked for a vCPU and got none:
    idle: u64,
    // Those whose alarm is set to the end of the slice:
    armed: u64,
    // Those told to look that have not yet, and of these the ones that are still to be told:
    summoned: u64,
    summons: u64,
}

impl Scheduler {
    /// No vCPUs yet on `pcpus` pCPUs, of which those above 64 are not used; when vCPUs compete, each turn takes `slice` ticks.
    pub fn new(pcpus: usize, slice: u64) -> Self {
        Self {
            pcpus: core::iter::repeat_with(Pcpu::default).take(pcpus.min(MAX_PCPUS)).collect(),
            slice,
            ..Self::default()
        }
    }

    /// Adds a vCPU that is switched off.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn add(&mut self, weight: u32) -> Result<VcpuSlot, TryReserveError> {
        let vcpu = Vcpu::new(weight);
        if let Some(slot) = self.free.pop() {
            self.vcpus[slot.0] = vcpu;
            return Ok(slot);
        }
        let slots = self.vcpus.len() + 1;
        self.vcpus.try_reserve(1)?;
        // All are free at most.
        self.free.try_reserve(slots)?;
        self.queue.reserve(slots)?;
        for pcpu in &mut self.pcpus {
            pcpu.sleepers.reserve(slots)?;
        }
        self.vcpus.push(vcpu);
        Ok(VcpuSlot(slots - 1))
    }

    /// Sees to it that a vCPU does not run again; `false` if it runs now, and its pCPU is told to look again.
    pub fn retire(&mut self, slot: VcpuSlot) -> bool {
        let vcpu = &mut self.vcpus[slot.0];
        match vcpu.state {
            State::Running { pcpu, .. } => {
                self.summon(pcpu);
                return false;
            }
            State::Free => {}
            _ => vcpu.state = State::Retired,
        }
        self.queue.remove(slot.0);
        self.forget_sleeper(slot);
        true
    }

    /// Frees the slot of a vCPU that does not run, and says for how many ticks it ran in all. If it does run, it is told to
    /// leave, and its slot stays taken.
    pub fn remove(&mut self, slot: VcpuSlot) -> u64 {
        if !self.retire(slot) {
            return 0;
        }
        let vcpu = &mut self.vcpus[slot.0];
        if vcpu.state != State::Free {
            vcpu.state = State::Free;
            self.free.push(slot);
        }
        vcpu.ran
    }

    /// Keeps a vCPU from running until it is resumed. If it runs, its pCPU is told to look again.
    pub fn pause(&mut self, slot: VcpuSlot) {
        let vcpu = &mut self.vcpus[slot.0];
        vcpu.paused = true;
        match vcpu.state {
            State::Running { pcpu, .. } => self.summon(pcpu),
            State::Queued => {
                vcpu.state = State::Held;
                self.queue.remove(slot.0);
            }
            _ => {}
        }
    }

    /// Lets a vCPU run again that was paused.
    pub fn resume(&mut self, slot: VcpuSlot, now: u64) {
        let vcpu = &mut self.vcpus[slot.0];
        vcpu.paused = false;
        if vcpu.state == State::Held {
            self.admit(slot, now);
        }
    }

    /// Sets a vCPU's weight, and its cap: how many hundredths of a pCPU it may have at most, or as much as it can where that is 0.
    /// It holds from its next turn on.
    pub fn set_parameters(&mut self, slot: VcpuSlot, weight: u32, percent: u32) {
        self.vcpus[slot.0].set_parameters(weight, percent, self.slice);
    }

    /// A vCPU's weight and cap.
    pub fn parameters(&self, slot: VcpuSlot) -> (u32, u32) {
        self.vcpus[slot.0].parameters()
    }

    /// What a vCPU is doing, and for how many ticks it has run.
    pub fn activity(&self, slot: VcpuSlot, now: u64) -> (State, u64) {
        let vcpu = &self.vcpus[slot.0];
        (vcpu.state, vcpu.ran_at(now))
    }

    /// Switches a vCPU on.
    pub fn start(&mut self, slot: VcpuSlot, now: u64) {
        let vcpu = &mut self.vcpus[slot.0];
        match vcpu.state {
            State::Offline => self.admit(slot, now),
            // It is on its way off its pCPU.
            State::Running { .. } => vcpu.started = true,
            _ => {}
        }
    }

    /// Something happened for a vCPU that it may wait for. If it runs, its pCPU is told to look again.
    pub fn wake(&mut self, slot: VcpuSlot, now: u64) {
        let vcpu = &mut self.vcpus[slot.0];
        match vcpu.state {
            State::Running { pcpu, .. } => {
                vcpu.woken = true;
                self.summon(pcpu);
            }
            State::Blocked => self.admit(slot, now),
            State::Free | State::Offline | State::Queued | State::Held | State::Retired => {}
        }
    }

    /// The vCPUs that run.
    pub fn running(&self) -> impl Iterator<Item = VcpuSlot> {
        self.pcpus.iter().filter_map(|pcpu| pcpu.runs)
    }

    /// The pCPUs that must look again because of the calls since the last time.
    pub fn take_summons(&mut self) -> impl Iterator<Item = PcpuId> + use<> {
        let mut summons = core::mem::take(&mut self.summons);
        core::iter::from_fn(move || {
            let lowest = summons.trailing_zeros();
            // Without its lowest bit.
            summons &= summons.wrapping_sub(1);
            (lowest < u64::BITS).then_some(PcpuId(lowest as u8))
        })
    }

    /// Takes a vCPU off `pcpu` for the given reason, and says who runs there next.
    pub fn next(&mut self, pcpu: PcpuId, now: u64, left: Option<(VcpuSlot, Leaving)>) -> Next {
        let returned = left.is_some_and(|(slot, leaving)| self.leave(pcpu, slot, leaving, now));
        let came = usize::from(returned) + self.wake_sleepers(pcpu, now);
        let vcpu = self.queue.pop().map(VcpuSlot);
        if let Some(slot) = vcpu {
            self.enter(pcpu, slot, now);
        }
        if let Some((slot, Leaving::Yielded)) = left {
            self.take_place(slot);
        }
        let slice_end = vcpu.map_or(now, |slot| self.turn_end(slot, now));
        let cpu = self.cpu(pcpu);
        let slice_ended = cpu.runs.is_some() && now >= cpu.slice_end;
        (cpu.runs, cpu.slice_end) = (vcpu, slice_end);
        set(&mut self.idle, pcpu, vcpu.is_none());
        // This pCPU looked for one of them itself. But who waits while slices end, waits for all pCPUs: one more learns of it each
        // time.
        let waits_long = slice_ended && self.is_contested();
        self.has_looked(pcpu);
        self.tell(came.saturating_sub(1).max(usize::from(waits_long)), pcpu, now);
        let ready = vcpu.map_or(0, |slot| self.vcpus[slot.0].ready);
        Next { vcpu, ready, alarm: self.alarm(pcpu) }
    }

    /// Whether the vCPU on `pcpu` has to make room now, asked when its alarm went off or it was told to look again. If it has not
    /// to, the caller sees to what the vCPU was woken for until now.
    pub fn must_leave(&mut self, pcpu: PcpuId, now: u64) -> bool {
        let came = self.wake_sleepers(pcpu, now);
        let &mut Pcpu { runs: Some(slot), slice_end, .. } = self.cpu(pcpu) else { return true };
        let in_vain = self.call_idle(pcpu);
        let current = self.vcpus[slot.0].virtual_time_at(now);
        let slice_ended = now >= slice_end;
        let behind = self.queue.first().is_some_and(|(waiting, _)| waiting <= current);
        let is_turn_over = if slice_ended { behind } else { self.is_overdue(current) };
        let leaves = self.must_rest(slot, now) || in_vain > 0 && is_turn_over;
        if leaves {
            // Until it asks who is next, nobody has to tell it.
            self.summons &= !bit(pcpu);
            self.summoned |= bit(pcpu);
        } else {
            self.stay(pcpu, slot, slice_ended, now);
        }
        self.tell(came.saturating_sub(usize::from(leaves)), pcpu, now);
        leaves
    }

    /// `pcpu`, which is calling, learns that a vCPU waits, if it would have been told just that. Returns when it has to look.
    pub fn learn(&mut self, pcpu: PcpuId, now: u64) -> Option<u64> {
        let slot = self.pcpus[usize::from(pcpu.0)].runs?;
        if self.summons & bit(pcpu) == 0 || self.is_overdue(self.vcpus[slot.0].virtual_time_at(now)) {
            return None;
        }
        self.has_looked(pcpu);
        self.alarm(pcpu)
    }

    /// Whether a vCPU waits for a pCPU.
    pub fn is_contested(&self) -> bool {
        !self.queue.is_empty()
    }

    /// When `pcpu` has to look again: at the end of the slice if somebody waits, or when one of its sleepers wakes.
    pub fn alarm(&self, pcpu: PcpuId) -> Option<u64> {
        let cpu = &self.pcpus[usize::from(pcpu.0)];
        let contested = cpu.runs.is_some_and(|slot| self.is_contested() || self.vcpus[slot.0].is_capped());
        let sleeper = cpu.sleepers.first().map(|(deadline, _)| deadline);
        earliest(contested.then_some(cpu.slice_end), sleeper)
    }

    fn cpu(&mut self, pcpu: PcpuId) -> &mut Pcpu {
        &mut self.pcpus[usize::from(pcpu.0)]
    }

    /// Takes a vCPU off; says whether it is in the queue then.
    fn leave(&mut self, pcpu: PcpuId, slot: VcpuSlot, leaving: Leaving, now: u64) -> bool {
        let vcpu = &mut self.vcpus[slot.0];
        if !vcpu.charge(now) {
            return false;
        }
        match leaving {
            Leaving::Offline if !vcpu.started => vcpu.state = State::Offline,
            Leaving::Blocked { deadline } if !vcpu.woken => {
                vcpu.state = State::Blocked;
                if let Some(deadline) = deadline {
                    self.cpu(pcpu).sleepers.insert(deadline, slot.0);
                }
            }
            _ => {
                // One that yields is passed over once for those that are within a slice of it, and pays nothing for it.
                let gap = if leaving == Leaving::Yielded { vcpu.virtual_ticks(self.slice) } else { 0 };
                return self.enqueue(slot, gap, now);
            }
        }
        false
    }

    /// Puts a vCPU into the queue, `gap` behind its own place; if it must not run now, to where it waits until it may. Says whether it
    /// is in the queue.
    fn enqueue(&mut self, slot: VcpuSlot, gap: u64, now: u64) -> bool {
        let vcpu = &mut self.vcpus[slot.0];
        vcpu.ready = now;
        let until = vcpu.throttled(now, self.slice);
        if !vcpu.paused && until.is_none() {
            vcpu.state = State::Queued;
            self.queue.insert(vcpu.virtual_time.saturating_add(gap), slot.0);
            return true;
        }
        vcpu.state = State::Held;
        if let Some(until) = until.filter(|_| !vcpu.paused) {
            let last = vcpu.last;
            self.cpu(last).sleepers.insert(until, slot.0);
        }
        false
    }

    /// Whether a vCPU that runs must not go on, whoever waits.
    fn must_rest(&mut self, slot: VcpuSlot, now: u64) -> bool {
        let vcpu = &mut self.vcpus[slot.0];
        vcpu.charge(now);
        vcpu.paused || vcpu.throttled(now, self.slice).is_some()
    }

    /// Gives one that was passed over its own place in the queue.
    fn take_place(&mut self, slot: VcpuSlot) {
        let vcpu = &self.vcpus[slot.0];
        if vcpu.state == State::Queued {
            self.queue.insert(vcpu.virtual_time, slot.0);
        }
    }

    fn enter(&mut self, pcpu: PcpuId, slot: VcpuSlot, now: u64) {
        let vcpu = &mut self.vcpus[slot.0];
        vcpu.state = State::Running { pcpu, since: now };
        vcpu.last = pcpu;
        vcpu.woken = false;
        vcpu.started = false;
        self.floor = self.floor.max(vcpu.virtual_time);
    }

    /// The vCPU goes on. One whose weight is more than a whole pCPU's share would fall behind the others for good, and
    /// keep its pCPU from all that come later; it gets no more credit than one that slept.
    fn stay(&mut self, pcpu: PcpuId, slot: VcpuSlot, slice_ended: bool, now: u64) {
        self.has_looked(pcpu);
        let vcpu = &mut self.vcpus[slot.0];
        vcpu.woken = false;
        if slice_ended && vcpu.charge(now) {
            vcpu.limit_credit(self.floor, self.slice);
            self.cpu(pcpu).slice_end = self.turn_end(slot, now);
        }
    }

    /// When the turn ends that begins now.
    fn turn_end(&self, slot: VcpuSlot, now: u64) -> u64 {
        let slice_end = now.saturating_add(self.slice);
        self.vcpus[slot.0].spent_at(now).map_or(slice_end, |spent| spent.min(slice_end))
    }

    /// Puts a vCPU into the queue and tells a pCPU.
    fn admit(&mut self, slot: VcpuSlot, now: u64) {
        self.make_runnable(slot, now);
        self.tell(1, self.vcpus[slot.0].last, now);
    }

    fn make_runnable(&mut self, slot: VcpuSlot, now: u64) {
        self.raise_floor(now);
        let vcpu = &mut self.vcpus[slot.0];
        vcpu.limit_credit(self.floor, self.slice);
        self.forget_sleeper(slot);
        self.enqueue(slot, 0, now);
    }

    /// One that runs alone may have come far since its turn began.
    fn raise_floor(&mut self, now: u64) {
        let running = self.pcpus.iter().filter_map(|cpu| Some(self.vcpus[cpu.runs?.0].virtual_time_at(now)));
        let waiting = self.queue.first().map(|(first, _)| first);
        if let Some(least) = running.chain(waiting).min() {
            self.floor = self.floor.max(least);
        }
    }

    /// Wakes those whose time has come, but no more than a few at once: the alarm goes off again for the others.
    fn wake_sleepers(&mut self, pcpu: PcpuId, now: u64) -> usize {
        for woken in 0..WAKES_AT_ONCE {
            match self.cpu(pcpu).sleepers.first() {
                Some((deadline, slot)) if deadline <= now => self.make_runnable(VcpuSlot(slot), now),
                _ => return woken,
            }
        }
        WAKES_AT_ONCE
    }

    fn forget_sleeper(&mut self, slot: VcpuSlot) {
        let last = self.vcpus[slot.0].last;
        self.cpu(last).sleepers.remove(slot.0);
    }
}

#[cfg(test)]
mod tests;
