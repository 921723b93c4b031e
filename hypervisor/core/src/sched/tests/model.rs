//! Random calls against what each domain knows of its vCPUs and each pCPU of itself.

use proptest::prelude::*;

use super::*;

/// What may happen to the machine of the model test.
#[derive(Clone, Debug)]
enum Step {
    Start(usize),
    Wake(usize),
    Retire(usize),
    Pause(usize),
    Resume(usize),
    /// A pCPU's vCPU leaves, if it has one; an idle one looks only if it was told to or its alarm went off.
    Leave(u8, Leaving),
    /// A pCPU takes what it was told, or its alarm.
    Look(u8),
}

const MODEL_PCPUS: u8 = 3;
const MODEL_VCPUS: usize = 6;

fn step() -> impl Strategy<Value = Step> {
    let vcpu = 0..MODEL_VCPUS;
    let deadline = prop::option::of(0u64..20_000);
    let leaving = prop_oneof![
        Just(Leaving::Preempted),
        Just(Leaving::Yielded),
        deadline.prop_map(|deadline| Leaving::Blocked { deadline }),
        Just(Leaving::Offline),
    ];
    prop_oneof![
        3 => vcpu.clone().prop_map(Step::Start),
        3 => vcpu.clone().prop_map(Step::Wake),
        1 => vcpu.clone().prop_map(Step::Retire),
        2 => vcpu.clone().prop_map(Step::Pause),
        3 => vcpu.prop_map(Step::Resume),
        6 => (0..MODEL_PCPUS, leaving).prop_map(|(pcpu, leaving)| Step::Leave(pcpu, leaving)),
        6 => (0..MODEL_PCPUS).prop_map(Step::Look),
    ]
}

/// A vCPU as its domain sees it.
#[derive(Clone, Copy, Default, Debug)]
struct Known {
    on: bool,
    waits: bool,
    deadline: Option<u64>,
    // Woken, or switched on again, since it last looked.
    woken: bool,
    started: bool,
    retired: bool,
    paused: bool,
}

#[derive(Clone, Copy, Default)]
struct ModelPcpu {
    runs: Option<VcpuSlot>,
    alarm: Option<u64>,
    told: bool,
}

struct Model {
    scheduler: Scheduler,
    vcpus: [Known; MODEL_VCPUS],
    pcpus: [ModelPcpu; MODEL_PCPUS as usize],
    now: u64,
}

impl Model {
    fn new() -> Self {
        let mut scheduler = Scheduler::new(usize::from(MODEL_PCPUS), SLICE);
        for index in 0..MODEL_VCPUS {
            scheduler.add(256 << index).expect("memory");
        }
        let (vcpus, pcpus) = Default::default();
        let mut model = Self { scheduler, vcpus, pcpus, now: 0 };
        (0..MODEL_PCPUS).for_each(|pcpu| model.choose(pcpu, None));
        model
    }

    fn runs(&self, vcpu: usize) -> bool {
        self.pcpus.iter().any(|pcpu| pcpu.runs == Some(VcpuSlot(vcpu)))
    }

    fn choose(&mut self, pcpu: u8, left: Option<(VcpuSlot, Leaving)>) {
        let next = self.scheduler.next(PcpuId(pcpu), self.now, left);
        let place = &mut self.pcpus[usize::from(pcpu)];
        (place.runs, place.alarm) = (None, next.alarm);
        if let Some(slot) = next.vcpu {
            assert!(!self.runs(slot.0), "on two pCPUs");
            let vcpu = &mut self.vcpus[slot.0];
            let due = vcpu.deadline.take().is_some_and(|deadline| deadline <= self.now);
            assert!(vcpu.on && !vcpu.retired && !vcpu.paused && (!vcpu.waits || due), "{vcpu:?} runs");
            (vcpu.waits, vcpu.woken, vcpu.started) = (false, false, false);
        }
        self.pcpus[usize::from(pcpu)].runs = next.vcpu;
    }

    fn leave(&mut self, pcpu: u8, leaving: Leaving) {
        let Some(slot) = self.pcpus[usize::from(pcpu)].runs else { return self.look(pcpu) };
        let vcpu = &mut self.vcpus[slot.0];
        let leaving = match leaving {
            Leaving::Blocked { deadline } => {
                let deadline = deadline.map(|from_now| self.now + from_now);
                vcpu.waits = !vcpu.woken;
                vcpu.deadline = deadline.filter(|_| vcpu.waits);
                Leaving::Blocked { deadline }
            }
            Leaving::Offline => {
                vcpu.on = vcpu.started;
                Leaving::Offline
            }
            other => other,
        };
        self.choose(pcpu, Some((slot, leaving)));
    }

    fn look(&mut self, pcpu: u8) {
        let place = &mut self.pcpus[usize::from(pcpu)];
        let rings = place.alarm.is_some_and(|alarm| alarm <= self.now);
        if !core::mem::take(&mut place.told) && !rings {
            return;
        }
        let Some(slot) = place.runs else { return self.choose(pcpu, None) };
        if self.scheduler.must_leave(PcpuId(pcpu), self.now) {
            return self.choose(pcpu, Some((slot, Leaving::Preempted)));
        }
        self.pcpus[usize::from(pcpu)].alarm = self.scheduler.alarm(PcpuId(pcpu));
        self.vcpus[slot.0].woken = false;
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Start(vcpu) => {
                self.scheduler.start(VcpuSlot(vcpu), self.now);
                let runs = self.runs(vcpu);
                let vcpu = &mut self.vcpus[vcpu];
                vcpu.started |= runs;
                vcpu.on |= !vcpu.retired;
            }
            Step::Wake(vcpu) => {
                self.scheduler.wake(VcpuSlot(vcpu), self.now);
                let runs = self.runs(vcpu);
                let vcpu = &mut self.vcpus[vcpu];
                vcpu.woken |= runs;
                (vcpu.waits, vcpu.deadline) = (false, None);
            }
            Step::Retire(vcpu) => {
                let retired = self.scheduler.retire(VcpuSlot(vcpu));
                assert_eq!(retired, !self.runs(vcpu));
                self.vcpus[vcpu].retired |= retired;
            }
            Step::Pause(vcpu) => {
                self.scheduler.pause(VcpuSlot(vcpu));
                self.vcpus[vcpu].paused = true;
            }
            Step::Resume(vcpu) => {
                self.scheduler.resume(VcpuSlot(vcpu), self.now);
                self.vcpus[vcpu].paused = false;
            }
            Step::Leave(pcpu, leaving) => self.leave(pcpu, leaving),
            Step::Look(pcpu) => self.look(pcpu),
        }
        for pcpu in self.scheduler.take_summons() {
            self.pcpus[usize::from(pcpu.0)].told = true;
        }
        self.check();
    }

    fn check(&self) {
        for slot in 0..MODEL_VCPUS {
            let sleeps = self.scheduler.pcpus.iter().filter(|cpu| cpu.sleepers.contains(slot));
            let places =
                usize::from(self.scheduler.queue.contains(slot)) + usize::from(self.runs(slot)) + sleeps.count();
            let expected = match self.scheduler.vcpus[slot].state {
                State::Queued | State::Running { .. } => 1,
                State::Blocked => usize::from(self.vcpus[slot].deadline.is_some()),
                State::Free | State::Offline | State::Retired | State::Held => 0,
            };
            assert_eq!(places, expected, "vCPU {slot} is in exactly one place");
        }
        let waiting = self.scheduler.queue.len();
        let idle = || self.pcpus.iter().filter(|cpu| cpu.runs.is_none());
        let told = idle().filter(|cpu| cpu.told).count();
        assert!(told >= waiting.min(idle().count()), "idle while somebody waits");
        let aware = self.pcpus.iter().any(|cpu| cpu.told || cpu.alarm.is_some());
        assert!(waiting == 0 || aware, "nobody will ever look");
    }

    /// Lets time pass and everybody look until nothing more happens; then whoever can run has run.
    fn settle(&mut self) {
        let mut has_run = [false; MODEL_VCPUS];
        for _ in 0..100 * MODEL_VCPUS {
            self.now += SLICE;
            for pcpu in 0..MODEL_PCPUS {
                self.take(Step::Look(pcpu));
                self.pcpus.iter().filter_map(|cpu| cpu.runs).for_each(|slot| has_run[slot.0] = true);
            }
        }
        for (vcpu, has_run) in self.vcpus.iter().zip(has_run) {
            let runnable = vcpu.on && !vcpu.retired && !vcpu.waits && !vcpu.paused;
            assert!(has_run || !runnable, "{vcpu:?} starves");
        }
    }
}

proptest! {
    #[test]
    fn a_vcpu_is_in_one_place_and_runnable_ones_run(steps in prop::collection::vec((step(), 0u64..2000), 1..200)) {
        let mut model = Model::new();
        for (step, time) in steps {
            model.now += time;
            model.take(step);
        }
        model.settle();
    }
}
