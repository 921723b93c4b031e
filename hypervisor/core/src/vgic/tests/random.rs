//! Random guests and devices, against the model.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::machine::{CLEAR_ACTIVE, CLEAR_ENABLE, CLEAR_PENDING, Machine, SET_ENABLE, SET_PENDING, SGI_FRAME, intid};
use super::model::Model;
use crate::id::VcpuId;
use crate::mmio::Width;
use crate::vgic::{IntId, Operation};

const VCPUS: u8 = 3;
const SPIS: u32 = 64;
const TIMER: u32 = 27;
/// The SPI of a passed-through device.
const DEVICE: u32 = 34;
/// A choice small enough that operations meet.
const INTERRUPTS: [u32; 14] = [0, 1, 2, 9, 15, 16, TIMER, 30, 32, 33, 34, 63, 64, 95];

#[derive(Clone, Copy, Debug)]
enum Op {
    Raise,
    Line(bool),
    Enable(bool),
    Pend(bool),
    ClearActive,
    Priority(u8),
    Edge(bool),
    Route(u8),
    Distributor(bool),
    Mask(u8),
    Acknowledge,
    End,
    Deactivate,
    Fire,
    Sgi(u8),
    Leave,
    Reset,
    Inspect,
}

fn op() -> impl Strategy<Value = Op> {
    use Op::*;
    let level = (0_u8..32).prop_map(|level| level * 8);
    prop_oneof![
        8 => Just(Raise),
        4 => any::<bool>().prop_map(Line),
        3 => any::<bool>().prop_map(Enable),
        2 => any::<bool>().prop_map(Pend),
        1 => Just(ClearActive),
        2 => level.prop_map(Priority),
        1 => any::<bool>().prop_map(Edge),
        2 => (0..VCPUS + 1).prop_map(Route),
        1 => any::<bool>().prop_map(Distributor),
        1 => prop_oneof![Just(0xf8_u8), Just(0x80), Just(0x40)].prop_map(Mask),
        12 => Just(Acknowledge),
        6 => Just(End),
        4 => Just(Deactivate),
        3 => Just(Fire),
        3 => any::<u8>().prop_map(Sgi),
        2 => Just(Leave),
        1 => Just(Reset),
        4 => Just(Inspect),
    ]
}

/// By whom, to whose interrupt if it is private, to which interrupt.
type Step = (u8, u8, usize, Op);

fn steps(length: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..VCPUS, 0..VCPUS, 0..INTERRUPTS.len(), op()), 1..length)
}

/// A machine and the model of it, which guests on every vCPU use.
struct Pair {
    machine: Machine,
    model: Model,
    // For each vCPU: what it acknowledged and has to end, and what it ended and has to deactivate.
    handling: Vec<Vec<IntId>>,
    ended: Vec<IntId>,
    split: bool,
}

impl Pair {
    fn new(list_registers: usize, split: bool) -> Self {
        let mut machine = Machine::new(VCPUS, SPIS, list_registers);
        machine.cpus.iter_mut().for_each(|cpu| cpu.split = split);
        let mut pair = Self {
            machine,
            model: Model::new(VCPUS, SPIS as usize),
            handling: vec![vec![]; VCPUS.into()],
            ended: vec![],
            split,
        };
        for (of, &raw) in (0..VCPUS).flat_map(|of| INTERRUPTS.iter().map(move |raw| (of, raw))) {
            let priority = (raw * 5 % 24 * 8 + 8) as u8;
            pair.step((0, of, 0, Op::Enable(true)), intid(raw));
            pair.step((0, of, 0, Op::Priority(priority)), intid(raw));
        }
        pair
    }

    fn step(&mut self, (by, of, _, op): Step, it: IntId) {
        let bit = |set, if_set, if_not| if set { if_set } else { if_not };
        let (machine, model) = (&mut self.machine, self.model.at(of, it));
        match op {
            Op::Raise => {
                machine.raise(of, it);
                model.latch = true;
            }
            // What has a physical interrupt has no line that software drives.
            Op::Line(_) if [TIMER, DEVICE].contains(&it.get().into()) => {}
            Op::Line(level) => {
                machine.set_line(of, it, level);
                model.set_line(level);
            }
            Op::Enable(set) => {
                machine.write_bit(by, of, bit(set, SET_ENABLE, CLEAR_ENABLE), it);
                model.enabled = set;
            }
            Op::Pend(set) => {
                machine.write_bit(by, of, bit(set, SET_PENDING, CLEAR_PENDING), it);
                model.latch = set;
            }
            // A guest that ends what is not active, and with EOImode 0, gets what it deserves.
            Op::ClearActive if self.split => {
                machine.write_bit(by, of, CLEAR_ACTIVE, it);
                model.active = false;
            }
            Op::Priority(priority) if self.split || !model.active => {
                machine.write_priority(by, of, it, priority);
                model.priority = priority;
            }
            Op::ClearActive | Op::Priority(_) => {}
            Op::Edge(edge) => {
                machine.write_edge(by, of, it, edge);
                model.edge = edge || it.get() < 16;
            }
            Op::Route(route) if !it.is_private() => {
                // One to a vCPU that there is not is ignored.
                machine.route(by, it, route.into());
                model.route = if route < VCPUS { route } else { model.route };
            }
            Op::Route(_) => {}
            Op::Distributor(enabled) => {
                machine.write(by, 0, Width::Word, u64::from(enabled) << 1);
                self.model.enabled = enabled;
            }
            Op::Mask(mask) => machine.cpus[usize::from(of)].mask = mask,
            Op::Acknowledge => self.acknowledge(of),
            Op::End => self.end(of),
            Op::Deactivate => self.deactivate(by),
            Op::Fire => {
                let it = intid(if it.is_private() { TIMER } else { DEVICE });
                if machine.fire(of, it) {
                    self.model.at(of, it).latch = true;
                }
            }
            Op::Sgi(targets) => {
                let value = u64::from(it.get() % 16) << 24 | u64::from(targets);
                let _ = machine.send_sgi(by, value);
                for target in (0..VCPUS).filter(|target| targets >> target & 1 != 0) {
                    self.model.at(target, intid(u32::from(it.get() % 16))).latch = true;
                }
            }
            Op::Leave => self.leave(of),
            Op::Reset => self.reset(of),
            Op::Inspect => self.inspect(by, of, it),
        }
    }

    /// The guest takes the interrupt of the highest priority that may interrupt it, and no other.
    fn acknowledge(&mut self, cpu: u8) {
        let interface = &self.machine.cpus[usize::from(cpu)];
        let limit = interface.mask.min(interface.running());
        let due = self.model.due(cpu);
        let best = due.iter().map(|(_, it)| it.priority).filter(|&priority| priority < limit).min();
        let taken = self.machine.acknowledge(cpu);
        let Some(taken) = taken else {
            assert_eq!(best, None, "lost: {due:x?}");
            return;
        };
        let is_due = due.iter().any(|&(id, it)| id == taken && Some(it.priority) == best);
        assert!(is_due, "{taken:?} is not the highest of {due:x?}");
        let model = self.model.at(cpu, taken);
        (model.latch, model.active) = (false, true);
        self.handling[usize::from(cpu)].push(taken);
    }

    fn end(&mut self, cpu: u8) {
        if let Some(taken) = self.handling[usize::from(cpu)].pop() {
            self.machine.cpus[usize::from(cpu)].end(taken);
            if self.split {
                self.ended.push(taken);
            } else {
                self.model.at(cpu, taken).active = false;
            }
        }
    }

    /// A shared interrupt may be deactivated from anywhere.
    fn deactivate(&mut self, cpu: u8) {
        if let Some(it) = self.ended.pop() {
            self.machine.deactivate(cpu, it);
            self.model.at(cpu, it).active = false;
        }
    }

    fn leave(&mut self, cpu: u8) {
        self.machine.leave(cpu);
        let held = self.machine.gic.hw_in_flight(VcpuId(cpu), intid(TIMER));
        let active = self.machine.cpus[usize::from(cpu)].physical_active >> TIMER & 1 != 0;
        // What is to be released is known to the GIC already, and done by the flush.
        assert!(active || !held, "a physical interrupt is not held");
    }

    fn reset(&mut self, cpu: u8) {
        let interface = &mut self.machine.cpus[usize::from(cpu)];
        let notify = self.machine.gic.reset_vcpu(VcpuId(cpu), interface);
        Machine::check(&self.machine.gic, notify);
        interface.restart();
        self.model.reset(cpu);
        for taken in std::mem::take(&mut self.handling[usize::from(cpu)]) {
            if !taken.is_private() {
                self.machine.write_bit(cpu, cpu, CLEAR_ACTIVE, taken);
                self.model.at(cpu, taken).active = false;
            }
        }
    }

    /// What registers read as is what the model says, when nothing is in list registers.
    fn inspect(&mut self, by: u8, of: u8, it: IntId) {
        (0..VCPUS).for_each(|cpu| self.leave(cpu));
        let model = *self.model.at(of, it);
        let pending = self.machine.read_bit(by, of, SET_PENDING, it);
        assert_eq!(pending, model.pending(), "pending {it:?} {model:?}");
        let active = self.machine.read_bit(by, of, CLEAR_ACTIVE, it);
        assert_eq!(active, model.active, "active {it:?} {model:?}");
    }

    /// A physical interrupt is held only for a virtual one that is pending or active.
    fn check_physical(&mut self) {
        for (cpu, raw) in (0..VCPUS).flat_map(|cpu| [(cpu, TIMER), (cpu, DEVICE)]) {
            let model = *self.model.at(cpu, intid(raw));
            let active = self.machine.cpus[usize::from(cpu)].is_active(raw);
            let held = self.machine.gic.hw_in_flight(VcpuId(cpu), intid(raw));
            assert!(!active || model.latch || model.active, "{raw} of {cpu} is stuck");
            assert!(!active || held, "{raw} of {cpu} is forgotten");
        }
    }
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 400, failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_gic_whose_vcpus_look_when_told_is_the_model(
        size in prop::sample::select(vec![1_usize, 2, 4, 16]), split: bool, steps in steps(300),
    ) {
        let mut pair = Pair::new(size, split);
        pair.machine.settle();
        for step in steps {
            pair.step(step, intid(INTERRUPTS[step.2]));
            pair.machine.settle();
            pair.check_physical();
        }
        for of in 0..VCPUS {
            for raw in INTERRUPTS {
                pair.inspect(0, of, intid(raw));
            }
        }
    }

    #[test]
    fn random_accesses_upset_neither_the_gic_nor_the_list_registers(
        size in prop::sample::select(vec![1_usize, 2, 4, 16]),
        accesses in prop::collection::vec(
            (0..VCPUS, 0..VCPUS, 0_u32..0x2_0000, 0_usize..4, any::<u64>(), 0..4), 1..300),
    ) {
        let mut machine = Machine::new(VCPUS, SPIS, size);
        for (by, of, offset, width, value, kind) in accesses {
            let width = [Width::Byte, Width::Half, Width::Word, Width::Double][width];
            let offset = offset & !(width as u32 - 1);
            let operation = if kind == 0 { Operation::Read } else { Operation::Write(value) };
            let _ = machine.access(by, offset & 0xfff, width, operation);
            let _ = machine.access(by, offset, width, operation);
            let _ = machine.private(by, of, SGI_FRAME | offset & 0xfff, width, operation);
            let _ = machine.private(by, of, offset, width, operation);
            machine.fire(of, intid(TIMER));
            machine.fire(of, intid(DEVICE));
            machine.settle();
            if let Some(taken) = machine.acknowledge(of) && kind > 1 {
                machine.end(of, taken);
            }
            if kind == 3 {
                machine.deactivate(by, intid((value % 1020) as u32));
            }
        }
    }

    #[test]
    fn edges_are_neither_lost_nor_repeated_however_late_the_vcpus_look(
        size in prop::sample::select(vec![1_usize, 2, 4, 16]), steps in steps(300),
        looks in prop::collection::vec(0..VCPUS + 5, 300),
    ) {
        let mut pair = Pair::new(size, false);
        for raw in INTERRUPTS {
            (0..VCPUS).for_each(|of| pair.step((0, of, 0, Op::Edge(true)), intid(raw)));
        }
        pair.machine.settle();
        let mut tally = vec![Tally::default(); usize::from(VCPUS) * 96];
        for (step, look) in steps.into_iter().zip(looks) {
            late_step(&mut pair, &mut tally, step);
            if look < VCPUS {
                pair.machine.enter(look);
            }
        }
        drain(&mut pair, &mut tally);
        for (place, tally) in tally.iter().enumerate() {
            prop_assert!(!tally.owed, "{place} is lost: {tally:?}");
            prop_assert!(tally.taken <= tally.raised, "{place} is repeated: {tally:?}");
        }
    }
}

/// What became of an edge interrupt.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    raised: u32,
    taken: u32,
    /// It was raised and not taken since.
    owed: bool,
}

fn tally_of(tally: &mut [Tally], of: u8, it: IntId) -> &mut Tally {
    let of = if it.is_private() { usize::from(of) } else { 0 };
    &mut tally[of * 96 + usize::from(it.get())]
}

/// One step of vCPUs that do not look when they are told.
fn late_step(pair: &mut Pair, tally: &mut [Tally], step: Step) {
    let (by, of, which, op) = step;
    let it = intid(INTERRUPTS[which]);
    match op {
        Op::Raise | Op::Pend(true) => {
            pair.step(step, it);
            // An access to a register is an exit of the vCPU that makes it.
            pair.machine.enter(by);
            let tally = tally_of(tally, of, it);
            tally.raised += 1;
            tally.owed = true;
        }
        Op::Acknowledge => {
            if let Some(taken) = pair.machine.acknowledge(of) {
                let tally = tally_of(tally, of, taken);
                tally.taken += 1;
                tally.owed = false;
                pair.model.at(of, taken).active = true;
                pair.handling[usize::from(of)].push(taken);
            }
        }
        // A guest that gives what is pending another priority while it may be taking it, and nests
        // deeper than there are list registers, may see the wrong one ended.
        Op::Priority(_) if tally_of(tally, of, it).owed => {}
        Op::Enable(_) | Op::Priority(_) | Op::Route(_) | Op::Distributor(_) | Op::Mask(_) => {
            pair.step(step, it);
            pair.machine.enter(by);
        }
        // A vCPU that is in maintenance does not run on before it has looked.
        Op::End => {
            pair.end(of);
            pair.machine.enter(of);
        }
        Op::Leave => {
            pair.machine.leave(of);
            pair.machine.enter(of);
        }
        _ => {}
    }
}

/// Everything on: all that is pending is taken.
fn drain(pair: &mut Pair, tally: &mut [Tally]) {
    pair.step((0, 0, 0, Op::Distributor(true)), intid(0));
    for of in 0..VCPUS {
        pair.step((0, of, 0, Op::Mask(0xff)), intid(0));
        for raw in INTERRUPTS {
            for op in [Op::Enable(true), Op::Route(0)] {
                pair.step((0, of, 0, op), intid(raw));
            }
        }
    }
    pair.machine.settle();
    for of in (0..VCPUS).cycle().take(1000) {
        pair.end(of);
        pair.machine.settle();
        if pair.handling[usize::from(of)].is_empty() {
            late_step(pair, tally, (of, of, 0, Op::Acknowledge));
            pair.machine.settle();
        }
    }
}
