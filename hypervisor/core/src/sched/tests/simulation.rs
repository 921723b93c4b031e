//! Shares and latencies over a long time, on a machine that asks the scheduler when the pCPUs of the real one would, and no more
//! often: when a vCPU leaves, when the alarm goes off that was asked for, and when told to look.

use super::*;

/// From being told to look until looking.
const KICK_LATENCY: u64 = 3;

/// What a vCPU does with its time.
#[derive(Clone, Copy)]
enum Program {
    Spin,
    /// Runs for so many ticks, then sleeps for so many.
    Doze(u64, u64),
}

#[derive(Default)]
struct Seat {
    vcpu: Option<VcpuSlot>,
    since: u64,
    alarm: Option<u64>,
    kick: Option<u64>,
}

struct Guest {
    slot: VcpuSlot,
    program: Program,
    /// Ticks until it sleeps.
    left: u64,
    due: Option<u64>,
    ran: u64,
    worst_latency: u64,
}

struct Simulation {
    scheduler: Scheduler,
    seats: Vec<Seat>,
    guests: Vec<Guest>,
    now: u64,
}

impl Simulation {
    fn new(pcpus: usize) -> Self {
        let seats = core::iter::repeat_with(Seat::default).take(pcpus).collect();
        let mut new = Self { scheduler: Scheduler::new(pcpus, SLICE), seats, guests: Vec::new(), now: 0 };
        (0..pcpus).for_each(|seat| new.choose(seat, None));
        new
    }

    fn add(&mut self, weight: u32, program: Program) -> usize {
        let slot = self.scheduler.add(weight).expect("memory");
        let left = match program {
            Program::Spin => u64::MAX,
            Program::Doze(run, _) => run,
        };
        self.guests.push(Guest { slot, program, left, due: None, ran: 0, worst_latency: 0 });
        self.scheduler.start(slot, self.now);
        self.pass_on();
        self.guests.len() - 1
    }

    fn pass_on(&mut self) {
        for pcpu in self.scheduler.take_summons() {
            let kick = &mut self.seats[usize::from(pcpu.0)].kick;
            *kick = kick.or(Some(self.now + KICK_LATENCY));
        }
    }

    fn guest(&mut self, slot: VcpuSlot) -> &mut Guest {
        self.guests.iter_mut().find(|guest| guest.slot == slot).expect("a guest")
    }

    fn choose(&mut self, seat: usize, left: Option<(VcpuSlot, Leaving)>) {
        let next = self.scheduler.next(PcpuId(seat as u8), self.now, left);
        self.pass_on();
        let now = self.now;
        let place = &mut self.seats[seat];
        (place.vcpu, place.alarm, place.since) = (next.vcpu, next.alarm, now);
        if let Some(slot) = next.vcpu {
            let guest = self.guest(slot);
            if let Some(due) = guest.due.take() {
                guest.worst_latency = guest.worst_latency.max(now - due);
            }
        }
    }

    /// The next tick at which something happens on a pCPU.
    fn next_event(&self, seat: usize) -> u64 {
        let place = &self.seats[seat];
        let sleep = place.vcpu.map(|slot| {
            let guest = self.guests.iter().find(|guest| guest.slot == slot).expect("a guest");
            place.since.saturating_add(guest.left)
        });
        [place.alarm, place.kick, sleep].into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    fn run(&mut self, ticks: u64) {
        let end = self.now + ticks;
        loop {
            let seats = 0..self.seats.len();
            let (at, seat) = seats.map(|seat| (self.next_event(seat), seat)).min().expect("a pCPU");
            if at >= end {
                break;
            }
            self.now = self.now.max(at);
            self.happen(seat);
        }
        self.now = end;
        (0..self.seats.len()).for_each(|seat| self.account(seat));
    }

    fn account(&mut self, seat: usize) {
        let (now, place) = (self.now, &mut self.seats[seat]);
        let ran = now - core::mem::replace(&mut place.since, now);
        if let Some(slot) = place.vcpu {
            let guest = self.guest(slot);
            guest.ran += ran;
            guest.left -= ran;
        }
    }

    fn happen(&mut self, seat: usize) {
        self.account(seat);
        let (now, pcpu) = (self.now, PcpuId(seat as u8));
        let kicked = self.seats[seat].kick.take_if(|at| *at <= now).is_some();
        let Some(slot) = self.seats[seat].vcpu else { return self.choose(seat, None) };
        let guest = self.guest(slot);
        if guest.left == 0
            && let Program::Doze(run, sleep) = guest.program
        {
            guest.left = run;
            guest.due = Some(now + sleep);
            let leaving = Leaving::Blocked { deadline: guest.due };
            return self.choose(seat, Some((slot, leaving)));
        }
        if !kicked && self.seats[seat].alarm.is_none_or(|alarm| alarm > now) {
            return;
        }
        if self.scheduler.must_leave(pcpu, now) {
            return self.choose(seat, Some((slot, Leaving::Preempted)));
        }
        self.pass_on();
        self.seats[seat].alarm = self.scheduler.alarm(pcpu);
    }

    /// How much of one pCPU each guest had from now on, over a long time.
    fn shares(&mut self) -> Vec<f64> {
        const LONG: u64 = 3000 * SLICE;
        let before: Vec<u64> = self.guests.iter().map(|guest| guest.ran).collect();
        self.run(LONG);
        let ran = self.guests.iter().zip(before).map(|(guest, before)| guest.ran - before);
        ran.map(|ran| ran as f64 / LONG as f64).collect()
    }

    fn assert_shares(&mut self, expected: &[f64]) {
        let shares = self.shares();
        for (index, expected) in expected.iter().enumerate() {
            let close = (shares[index] - expected).abs() < 0.02;
            assert!(close, "guest {index} of {shares:.3?} instead of {expected:.3}");
        }
    }
}

fn spinning(weights: &[u32], pcpus: usize) -> Simulation {
    let mut machine = Simulation::new(pcpus);
    for &weight in weights {
        machine.add(weight, Program::Spin);
    }
    machine
}

#[test]
fn equals_share_equally_on_any_number_of_pcpus() {
    spinning(&[256; 3], 1).assert_shares(&[1.0 / 3.0; 3]);
    spinning(&[256; 3], 2).assert_shares(&[2.0 / 3.0; 3]);
    spinning(&[256; 7], 4).assert_shares(&[4.0 / 7.0; 7]);
    spinning(&[256; 2], 4).assert_shares(&[1.0; 2]);
}

#[test]
fn weight_decides_the_share() {
    spinning(&[256, 512], 1).assert_shares(&[1.0 / 3.0, 2.0 / 3.0]);
    spinning(&[100, 200, 300, 400], 2).assert_shares(&[0.2, 0.4, 0.6, 0.8]);
    spinning(&[1, 65535], 1).assert_shares(&[0.0, 1.0]);
    spinning(&[200, 200, 300, 300, 400, 400, 100, 100], 4).assert_shares(&[0.4, 0.4, 0.6, 0.6]);
}

#[test]
fn a_cap_holds_whether_others_wait_or_not() {
    for (others, of_the_others) in [(0, 0.0), (1, 0.7), (3, 0.7 / 3.0)] {
        let mut machine = spinning(&[256], 1);
        machine.scheduler.set_parameters(machine.guests[0].slot, 256, 30);
        for _ in 0..others {
            machine.add(256, Program::Spin);
        }
        machine.run(40 * SLICE);
        let capped = if others == 3 { 0.25 } else { 0.3 };
        let of_the_others = if others == 3 { 0.25 } else { of_the_others };
        let mut expected = std::vec![of_the_others; others + 1];
        expected[0] = capped;
        machine.assert_shares(&expected);
    }
    let mut dozing = Simulation::new(1);
    dozing.add(256, Program::Doze(SLICE / 10, SLICE / 20));
    dozing.scheduler.set_parameters(dozing.guests[0].slot, 256, 20);
    dozing.assert_shares(&[0.2]);
}

#[test]
fn one_that_is_paused_has_nothing_and_then_its_share() {
    let mut machine = spinning(&[256, 256], 1);
    let slot = machine.guests[0].slot;
    machine.run(10 * SLICE);
    machine.scheduler.pause(slot);
    machine.pass_on();
    machine.run(10);
    machine.assert_shares(&[0.0, 1.0]);
    let now = machine.now;
    machine.scheduler.resume(slot, now);
    machine.pass_on();
    machine.assert_shares(&[0.5, 0.5]);
}

#[test]
fn one_that_comes_late_gets_its_share_of_every_pcpu() {
    let mut machine = spinning(&[256; 2], 2);
    machine.run(20_500);
    machine.add(256, Program::Spin);
    machine.run(10 * SLICE);
    machine.assert_shares(&[2.0 / 3.0; 3]);
}

#[test]
fn a_pause_of_contention_does_not_end_sharing() {
    let mut machine = spinning(&[256; 2], 2);
    machine.add(256, Program::Doze(40 * SLICE, 3 * SLICE));
    // While it is awake, three share two pCPUs; while it sleeps, the others have one each.
    let shares = machine.shares();
    assert!((shares[0] - shares[1]).abs() < 0.03, "{shares:.3?}");
}

#[test]
fn a_weight_beyond_one_pcpu_earns_no_claim_on_it() {
    let mut machine = spinning(&[60_000, 256], 2);
    machine.assert_shares(&[1.0; 2]);
    machine.add(60_000, Program::Spin);
    machine.run(50 * SLICE);
    machine.assert_shares(&[1.0, 0.0, 1.0]);
    let late = machine.add(60_000, Program::Spin);
    machine.run(50 * SLICE);
    machine.assert_shares(&[2.0 / 3.0, 0.0, 2.0 / 3.0]);
    assert!((machine.shares()[late] - 2.0 / 3.0).abs() < 0.02);
}

#[test]
fn one_that_lagged_behind_a_light_one_earns_no_claim_on_its_pcpu() {
    let mut machine = spinning(&[256], 2);
    machine.add(1, Program::Doze(5 * SLICE, SLICE));
    machine.run(1000 * SLICE);
    machine.add(256, Program::Spin);
    machine.add(256, Program::Spin);
    machine.run(10 * SLICE);
    machine.assert_shares(&[2.0 / 3.0, 0.0, 2.0 / 3.0, 2.0 / 3.0]);
}

#[test]
fn sleepers_do_not_wait_for_spinners() {
    for pcpus in [1, 2, 4] {
        let mut machine = spinning(&[256; 8], pcpus);
        for period in [3, 5, 7, 11] {
            machine.add(256, Program::Doze(20, period * SLICE / 2));
        }
        machine.run(20 * SLICE);
        machine.guests.iter_mut().for_each(|guest| guest.worst_latency = 0);
        machine.run(1000 * SLICE);
        let worst = machine.guests.iter().map(|guest| guest.worst_latency).max();
        assert!(worst < Some(SLICE / 4), "{worst:?} ticks on {pcpus} pCPUs");
    }
}

#[test]
fn one_that_sleeps_often_gets_no_more_than_its_share() {
    let mut machine = spinning(&[256; 3], 1);
    let dozer = machine.add(256, Program::Doze(3 * SLICE, SLICE / 2));
    machine.run(20 * SLICE);
    assert!(machine.shares()[dozer] < 0.27);
}

#[test]
fn ticks_are_counted_to_the_last() {
    let mut machine = spinning(&[256, 100, 700], 2);
    machine.add(256, Program::Doze(700, 900));
    machine.run(12_345);
    for seat in [0, 1, 0, 1] {
        let left = machine.seats[seat].vcpu.map(|slot| (slot, Leaving::Offline));
        machine.choose(seat, left);
    }
    let ran: Vec<u64> = machine.guests.iter().map(|guest| guest.ran).collect();
    let counted = machine.guests.iter().map(|guest| machine.scheduler.vcpus[guest.slot.0].ran);
    assert!(counted.eq(ran));
}

#[test]
fn long_sleep_earns_no_long_turn() {
    let mut machine = spinning(&[256], 1);
    machine.run(1000 * SLICE);
    machine.add(256, Program::Spin);
    let (start, before) = (machine.guests[0].ran, machine.guests[1].ran);
    machine.run(4 * SLICE);
    assert!(machine.guests[0].ran - start >= SLICE);
    assert!(machine.guests[1].ran - before >= SLICE);
}
