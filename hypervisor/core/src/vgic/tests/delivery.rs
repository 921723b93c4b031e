//! Interrupts from their source to the guest's handler.

use std::vec;
use std::vec::Vec;

use super::machine::{CLEAR_ACTIVE, CLEAR_ENABLE, CLEAR_PENDING, Machine, SET_ACTIVE, SET_ENABLE, SET_PENDING, intid};
use crate::id::VcpuId;
use crate::mmio::Width;
use crate::vgic::{VcpuSet, Vmcr};

const PMR_OPEN: u64 = 0xf8 << 24;

#[test]
fn an_sgi_to_oneself_is_taken_and_ended_without_maintenance() {
    let mut machine = Machine::new(1, 32, 4);
    let sgi = machine.enable(0, 1, 0xa0);
    for _ in 0..10 {
        let told = machine.send_sgi(0, 1 << 24 | 1);
        assert!(told.contains(VcpuId(0)));
        machine.settle();
        assert_eq!(machine.acknowledge(0), Some(sgi));
        assert_eq!(machine.acknowledge(0), None);
        machine.cpus[0].end(sgi);
        assert!(!machine.cpus[0].needs_maintenance());
    }
}

#[test]
fn an_sgi_that_is_sent_again_while_handled_comes_again() {
    let mut machine = Machine::new(1, 32, 4);
    let sgi = machine.enable(0, 0, 0xa0);
    let _ = machine.send_sgi(0, 1);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(sgi));
    let _ = machine.send_sgi(0, 1);
    machine.settle();
    assert_eq!(machine.acknowledge(0), None);
    machine.cpus[0].end(sgi);
    assert_eq!(machine.acknowledge(0), Some(sgi), "from the same list register, with no exit");
    machine.end(0, sgi);
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn sgis_go_to_whom_the_register_names() {
    let set = |ids: &[u8]| {
        let mut set = VcpuSet::EMPTY;
        ids.iter().for_each(|&id| set.insert(VcpuId(id)));
        set
    };
    let mut machine = Machine::new(20, 0, 4);
    for cpu in 0..20 {
        machine.enable(cpu, 2, 0xa0);
    }
    let sgi2 = 2 << 24;
    for (value, whom) in [
        (0b1011, set(&[0, 1, 3])),
        (1 << 16 | 0b1001, set(&[16, 19])),
        (1 << 16 | 0xfff0, VcpuSet::EMPTY),
        (2 << 16 | 1, VcpuSet::EMPTY),
        (1 << 32 | 1, VcpuSet::EMPTY),
        (1 << 48 | 1, VcpuSet::EMPTY),
        (1 << 44 | 1, VcpuSet::EMPTY),
        (1 << 40 | 1, set(&(0..20).filter(|&id| id != 5).collect::<Vec<_>>())),
    ] {
        let told = machine.send_sgi(5, sgi2 | value);
        assert_eq!(told, whom, "{value:#x}");
        machine.settle();
        for cpu in 0..20 {
            let taken = machine.acknowledge(cpu);
            assert_eq!(taken.is_some(), whom.contains(VcpuId(cpu)), "{value:#x} {cpu}");
            if let Some(taken) = taken {
                assert_eq!(taken, intid(2));
                machine.end(cpu, taken);
            }
        }
    }
}

#[test]
fn a_level_stays_pending_until_its_line_falls() {
    let mut machine = Machine::new(1, 32, 4);
    let uart = machine.enable(0, 32, 0xa0);
    machine.set_line(0, uart, true);
    for _ in 0..3 {
        machine.settle();
        assert_eq!(machine.acknowledge(0), Some(uart));
        assert_eq!(machine.acknowledge(0), None);
        machine.end(0, uart);
    }
    machine.set_line(0, uart, false);
    machine.settle();
    assert_eq!(machine.acknowledge(0), None);
    assert!(!machine.read_bit(0, 0, SET_PENDING, uart));
}

#[test]
fn a_level_that_falls_while_handled_does_not_come_again() {
    let mut machine = Machine::new(1, 32, 4);
    let uart = machine.enable(0, 32, 0xa0);
    machine.set_line(0, uart, true);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(uart));
    machine.set_line(0, uart, false);
    machine.settle();
    assert!(machine.read_bit(0, 0, SET_ACTIVE, uart));
    machine.cpus[0].end(uart);
    assert!(!machine.cpus[0].needs_maintenance(), "nothing is left to do");
    machine.settle();
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn a_level_pended_by_software_is_taken_once_if_its_line_is_low() {
    let mut machine = Machine::new(1, 32, 4);
    let uart = machine.enable(0, 32, 0xa0);
    machine.write_bit(0, 0, SET_PENDING, uart);
    machine.settle();
    machine.set_line(0, uart, true);
    machine.set_line(0, uart, false);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(uart));
    machine.end(0, uart);
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn a_level_raised_by_software_while_listed_outlives_its_line() {
    let mut machine = Machine::new(1, 32, 4);
    let timer = machine.enable(0, 27, 0xa0);
    machine.set_line(0, timer, true);
    machine.settle();
    machine.raise(0, timer);
    machine.settle();
    machine.set_line(0, timer, false);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(timer));
    machine.end(0, timer);
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn clearing_pending_does_not_silence_a_high_line() {
    let mut machine = Machine::new(1, 32, 4);
    let uart = machine.enable(0, 32, 0xa0);
    machine.set_line(0, uart, true);
    machine.write_bit(0, 0, CLEAR_PENDING, uart);
    machine.settle();
    assert!(machine.read_bit(0, 0, SET_PENDING, uart));
    assert_eq!(machine.acknowledge(0), Some(uart));
}

#[test]
fn an_edge_line_is_pending_once_for_each_rise() {
    let mut machine = Machine::new(1, 32, 4);
    let device = machine.enable(0, 40, 0xa0);
    machine.write_edge(0, 0, device, true);
    machine.set_line(0, device, true);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(device));
    machine.end(0, device);
    assert_eq!(machine.acknowledge(0), None);
    machine.set_line(0, device, false);
    machine.set_line(0, device, true);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(device));
}

#[test]
fn more_than_fit_are_delivered_the_highest_priority_first() {
    for list_registers in [1, 2, 4, 16] {
        let mut machine = Machine::new(1, 64, list_registers);
        for raw in 16..80 {
            let interrupt = machine.enable(0, raw, (raw * 37 % 31 * 8) as u8);
            machine.write_edge(0, 0, interrupt, true);
        }
        for raw in 16..80 {
            machine.raise(0, intid(raw));
        }
        machine.settle();
        let mut priorities = vec![];
        while let Some(taken) = machine.acknowledge(0) {
            priorities.push(u32::from(taken.get()) * 37 % 31 * 8);
            machine.settle();
            machine.end(0, taken);
        }
        assert_eq!(priorities.len(), 64, "with {list_registers}");
        assert!(priorities.is_sorted(), "{priorities:?}");
    }
}

#[test]
fn a_newcomer_of_higher_priority_displaces_a_lower_one() {
    let mut machine = Machine::new(1, 32, 2);
    let low: Vec<_> = (0..3).map(|raw| machine.enable(0, raw, 0xa0)).collect();
    for &sgi in &low {
        machine.raise(0, sgi);
    }
    machine.settle();
    let high = machine.enable(0, 9, 0x20);
    machine.raise(0, high);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(high));
    machine.end(0, high);
    for _ in 0..3 {
        let taken = machine.acknowledge(0).expect("none of the three is lost");
        machine.end(0, taken);
    }
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn handlers_may_nest_deeper_than_there_are_list_registers() {
    for (list_registers, split) in [(1, false), (1, true), (2, false), (4, false), (4, true)] {
        let mut machine = Machine::new(1, 32, list_registers);
        machine.cpus[0].split = split;
        let mut stack = vec![];
        for level in 0..12_u32 {
            let sgi = machine.enable(0, level, 0xf0 - level as u8 * 16);
            machine.raise(0, sgi);
            machine.settle();
            assert_eq!(machine.acknowledge(0), Some(sgi), "{list_registers} {split}");
            machine.settle();
            stack.push(sgi);
        }
        while let Some(sgi) = stack.pop() {
            assert!(machine.read_bit(0, 0, SET_ACTIVE, sgi));
            machine.end(0, sgi);
            if split {
                assert!(machine.read_bit(0, 0, SET_ACTIVE, sgi), "only its priority dropped");
                machine.deactivate(0, sgi);
                machine.settle();
            }
            assert!(!machine.read_bit(0, 0, SET_ACTIVE, sgi), "{list_registers} {split} {sgi:?}");
            let left: Vec<_> = (0..12).filter(|&raw| machine.read_bit(0, 0, SET_ACTIVE, intid(raw))).collect();
            assert_eq!(left.len(), stack.len());
        }
        assert_eq!(machine.gic.cpu(VcpuId(0)).map(|cpu| cpu.control), Some(super::super::Hcr::BASE));
    }
}

#[test]
fn disabling_withdraws_what_is_listed_elsewhere() {
    let mut machine = Machine::new(2, 32, 4);
    let device = machine.enable(0, 33, 0xa0);
    machine.route(0, device, 1);
    machine.raise(0, device);
    machine.settle();
    assert_eq!(machine.listed(1), [33]);
    machine.write_bit(0, 0, CLEAR_ENABLE, device);
    assert!(machine.gic.needs_flush(VcpuId(1)));
    machine.settle();
    assert!(machine.listed(1).is_empty());
    assert!(machine.read_bit(0, 0, SET_PENDING, device), "it stays pending");
    machine.write_bit(0, 0, SET_ENABLE, device);
    machine.settle();
    assert_eq!(machine.acknowledge(1), Some(device));
}

#[test]
fn a_new_route_takes_a_pending_interrupt_along() {
    let mut machine = Machine::new(3, 32, 4);
    let device = machine.enable(0, 33, 0xa0);
    machine.raise(0, device);
    machine.settle();
    assert_eq!(machine.listed(0), [33]);
    machine.route(0, device, 2);
    machine.settle();
    assert_eq!((machine.listed(0), machine.listed(2)), (vec![], vec![33]));
    machine.route(0, device, 0x7f);
    machine.settle();
    assert_eq!(machine.acknowledge(2), Some(device), "nobody is at that affinity");
    machine.route(0, device, 1);
    machine.raise(0, device);
    machine.settle();
    assert!(machine.listed(1).is_empty(), "still active on the third");
    machine.end(2, device);
    assert_eq!(machine.acknowledge(1), Some(device));
}

#[test]
fn a_priority_written_while_listed_takes_effect() {
    let mut machine = Machine::new(1, 32, 4);
    let (one, two) = (machine.enable(0, 1, 0x80), machine.enable(0, 2, 0x90));
    machine.raise(0, one);
    machine.raise(0, two);
    machine.settle();
    machine.write_priority(0, 0, two, 0x10);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(two));
}

#[test]
fn a_distributor_that_is_off_delivers_nothing() {
    let mut machine = Machine::new(1, 32, 4);
    let device = machine.enable(0, 33, 0x80);
    machine.raise(0, device);
    for (enables, listed) in [(0b11, vec![33]), (0b01, vec![]), (0b10, vec![33]), (0, vec![])] {
        machine.write(0, 0, Width::Word, enables);
        machine.settle();
        assert_eq!(machine.listed(0), listed, "{enables:#b}");
    }
}

#[test]
fn only_its_own_list_registers_tell_a_vcpu_what_is_active() {
    let mut machine = Machine::new(2, 32, 4);
    let device = machine.enable(0, 33, 0xa0);
    machine.route(0, device, 1);
    machine.write_edge(0, 0, device, true);
    machine.raise(0, device);
    machine.settle();
    assert_eq!(machine.acknowledge(1), Some(device));
    assert!(machine.read_bit(1, 0, SET_ACTIVE, device) && !machine.read_bit(1, 0, SET_PENDING, device));
    assert!(!machine.read_bit(0, 0, SET_ACTIVE, device));
    machine.raise(0, device);
    assert!(machine.read_bit(0, 0, SET_PENDING, device) && machine.read_bit(1, 0, SET_PENDING, device), "since then");
    machine.leave(1);
    assert!(machine.read_bit(0, 0, SET_ACTIVE, device), "a vCPU without a CPU holds no secret");
}

#[test]
fn state_written_from_another_vcpu_overrules_a_list_register() {
    let mut machine = Machine::new(2, 32, 4);
    let device = machine.enable(0, 33, 0xa0);
    machine.route(0, device, 1);
    machine.write_edge(0, 0, device, true);

    machine.raise(0, device);
    machine.settle();
    machine.write_bit(0, 0, CLEAR_PENDING, device);
    machine.settle();
    assert_eq!(machine.acknowledge(1), None);

    machine.raise(0, device);
    machine.settle();
    assert_eq!(machine.acknowledge(1), Some(device));
    machine.write_bit(0, 0, CLEAR_ACTIVE, device);
    machine.settle();
    assert!(machine.listed(1).is_empty());

    machine.end(1, device);
    machine.write_bit(0, 0, SET_ACTIVE, device);
    machine.raise(0, device);
    machine.settle();
    assert_eq!(machine.acknowledge(1), Some(device), "nothing becomes active but by being taken");
}

#[test]
fn a_split_end_may_come_from_another_vcpu() {
    let mut machine = Machine::new(2, 32, 4);
    machine.cpus.iter_mut().for_each(|cpu| cpu.split = true);
    let device = machine.enable(0, 33, 0xa0);
    machine.raise(0, device);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(device));
    machine.end(0, device);
    machine.deactivate(1, device);
    machine.settle();
    assert!(!machine.read_bit(1, 0, SET_ACTIVE, device));
    machine.cpus.iter_mut().for_each(|cpu| cpu.split = false);
    machine.raise(0, device);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(device));
    machine.deactivate(1, device);
    assert!(machine.read_bit(0, 0, SET_ACTIVE, device), "it has no effect then");
}

#[test]
fn a_waiting_vcpu_is_woken_by_what_its_interface_would_signal() {
    let mut machine = Machine::new(2, 32, 4);
    let device = machine.enable(0, 33, 0xa0);
    machine.route(0, device, 1);
    machine.leave(0);
    machine.leave(1);
    let wakes = |machine: &Machine, cpu, vmcr| machine.gic.deliverable(VcpuId(cpu), Vmcr(vmcr));
    assert!(!wakes(&machine, 1, PMR_OPEN | 0b11));
    let told = machine.gic.raise(VcpuId(0), device);
    assert!(told.contains(VcpuId(1)));
    assert!(wakes(&machine, 1, PMR_OPEN | 0b10));
    assert!(!wakes(&machine, 0, PMR_OPEN | 0b11), "it is another's");
    assert!(!wakes(&machine, 1, PMR_OPEN | 0b01), "its group is off");
    assert!(!wakes(&machine, 1, 0xa0 << 24 | 0b11), "its priority is masked");
    machine.settle();
    assert_eq!(machine.acknowledge(1), Some(device));
}

#[test]
fn a_vcpu_that_is_switched_off_leaves_what_it_had() {
    let mut machine = Machine::new(2, 32, 4);
    let sgi = machine.enable(1, 5, 0xa0);
    let own = machine.enable(0, 41, 0xa0);
    let timer = machine.enable(0, 30, 0xa0);
    machine.raise(0, own);
    machine.set_line(0, timer, true);
    machine.settle();
    assert_eq!(machine.listed(0).len(), 2);

    let notify = machine.gic.reset_vcpu(VcpuId(0), &mut machine.cpus[0]);
    assert_eq!(notify, VcpuSet::EMPTY);
    assert!(machine.listed(0).is_empty());
    assert!(machine.read_bit(1, 0, SET_PENDING, own));
    assert!(machine.read_bit(1, 0, SET_PENDING, timer), "the line is the device's");
    assert!(!machine.read_bit(1, 0, SET_ENABLE, timer));
    let told = machine.send_sgi(1, 5 << 24 | 0b11);
    assert!(!told.contains(VcpuId(0)) && told.contains(VcpuId(1)), "{sgi:?} is off there");
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(own), "it runs again");
}
