//! Interrupts with a physical one behind them: neither the timer nor a passed-through device storms or stops.

use super::cpu_interface::Fields;
use super::machine::{CLEAR_ACTIVE, CLEAR_ENABLE, CLEAR_PENDING, Machine, SET_ACTIVE, SET_ENABLE, SET_PENDING, intid};
use crate::id::VcpuId;
use crate::vgic::IntId;

const TIMER: u32 = 27;
const PRIORITY: u8 = 0xa0;

fn with_timer() -> (Machine, IntId) {
    let mut machine = Machine::new(1, 32, 4);
    let timer = machine.enable(0, TIMER, PRIORITY);
    (machine, timer)
}

/// Whether the physical interrupt is held, and that the GIC agrees once it knows.
fn held(machine: &mut Machine) -> bool {
    machine.leave(0);
    let in_flight = machine.gic.hw_in_flight(VcpuId(0), intid(TIMER));
    machine.settle();
    let active = machine.cpus[0].physical_active >> TIMER & 1 != 0;
    assert_eq!(in_flight, active);
    active
}

#[test]
fn the_guests_end_frees_the_physical_interrupt_without_an_exit() {
    let (mut machine, timer) = with_timer();
    for _ in 0..5 {
        assert!(machine.fire(0, timer));
        machine.settle();
        assert_eq!(machine.acknowledge(0), Some(timer));
        assert!(!machine.fire(0, timer), "it cannot fire while it is handled");
        machine.cpus[0].end(timer);
        assert_eq!(machine.cpus[0].physical_active, 0);
        assert!(!machine.gic.needs_flush(VcpuId(0)) && !machine.cpus[0].needs_maintenance());
    }
    assert!(!held(&mut machine));
}

#[test]
fn a_flight_survives_the_vcpus_moves() {
    let (mut machine, timer) = with_timer();
    machine.fire(0, timer);
    machine.settle();
    assert!(held(&mut machine));
    assert_eq!(machine.acknowledge(0), Some(timer));
    assert!(held(&mut machine));
    machine.end(0, timer);
    assert!(!held(&mut machine));
}

#[test]
fn a_timer_that_the_guest_has_off_is_held_until_it_is_on() {
    let (mut machine, timer) = with_timer();
    machine.write_bit(0, 0, CLEAR_ENABLE, timer);
    machine.fire(0, timer);
    machine.settle();
    assert_eq!(machine.acknowledge(0), None);
    assert!(held(&mut machine), "so it cannot storm");
    machine.write_bit(0, 0, SET_ENABLE, timer);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(timer));
    machine.end(0, timer);
    assert!(!held(&mut machine));
}

#[test]
fn state_that_the_guest_clears_frees_the_physical_interrupt() {
    let (mut machine, timer) = with_timer();
    machine.fire(0, timer);
    machine.settle();
    machine.write_bit(0, 0, CLEAR_PENDING, timer);
    machine.settle();
    assert!(!held(&mut machine));

    machine.fire(0, timer);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(timer));
    machine.write_bit(0, 0, CLEAR_ACTIVE, timer);
    machine.settle();
    assert!(!held(&mut machine));
}

#[test]
fn a_withdrawn_interrupt_frees_the_physical_one_unless_it_is_handled() {
    let (mut machine, timer) = with_timer();
    machine.fire(0, timer);
    machine.settle();
    machine.write_bit(0, 0, CLEAR_PENDING, timer);
    machine.settle();
    assert_eq!(machine.acknowledge(0), None);
    assert!(!held(&mut machine));

    machine.fire(0, timer);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(timer));
    machine.write_bit(0, 0, CLEAR_PENDING, timer);
    machine.settle();
    assert!(held(&mut machine));
    machine.end(0, timer);
    assert!(!held(&mut machine));
}

#[test]
fn one_pended_by_software_deactivates_nothing() {
    let (mut machine, timer) = with_timer();
    machine.write_bit(0, 0, SET_PENDING, timer);
    machine.settle();
    assert!(!held(&mut machine));
    assert_eq!(machine.acknowledge(0), Some(timer));
    assert!(machine.fire(0, timer), "the timer itself is free to fire");
    machine.settle();
    assert_eq!(machine.acknowledge(0), None);
    machine.end(0, timer);
    assert_eq!(machine.acknowledge(0), Some(timer));
    machine.end(0, timer);
    assert!(!held(&mut machine));
}

#[test]
fn one_pended_by_software_while_handled_comes_again_and_frees_the_physical_one() {
    let (mut machine, timer) = with_timer();
    machine.fire(0, timer);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(timer));
    machine.write_bit(0, 0, SET_PENDING, timer);
    machine.settle();
    machine.end(0, timer);
    assert_eq!(machine.acknowledge(0), Some(timer));
    machine.end(0, timer);
    assert!(!held(&mut machine));
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn the_trigger_that_the_guest_chooses_makes_no_difference() {
    for edge in [false, true] {
        let (mut machine, timer) = with_timer();
        machine.write_edge(0, 0, timer, edge);
        for _ in 0..3 {
            assert!(machine.fire(0, timer));
            machine.settle();
            assert_eq!(machine.acknowledge(0), Some(timer));
            machine.end(0, timer);
            assert!(!held(&mut machine));
        }
    }
}

#[test]
fn a_timer_that_fits_no_list_register_is_ended_all_the_same() {
    let mut machine = Machine::new(1, 32, 1);
    let timer = machine.enable(0, TIMER, PRIORITY);
    machine.fire(0, timer);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(timer));
    let urgent = machine.enable(0, 3, 0x10);
    machine.raise(0, urgent);
    machine.settle();
    assert_eq!(machine.listed(0), [3]);
    assert_eq!(machine.acknowledge(0), Some(urgent));
    assert!(machine.read_bit(0, 0, SET_ACTIVE, timer));
    machine.end(0, urgent);
    machine.end(0, timer);
    assert!(!machine.read_bit(0, 0, SET_ACTIVE, timer));
    assert!(!held(&mut machine));
}

#[test]
fn a_vcpu_switched_off_lets_its_timer_go() {
    let (mut machine, timer) = with_timer();
    machine.fire(0, timer);
    machine.settle();
    let _ = machine.gic.reset_vcpu(VcpuId(0), &mut machine.cpus[0]);
    machine.cpus[0].restart();
    assert!(machine.gic.hw_in_flight(VcpuId(0), timer), "the CPU that it leaves must know");
    machine.settle();
    assert_eq!(machine.cpus[0].physical_active, 0);
    assert!(!machine.gic.hw_in_flight(VcpuId(0), timer));
}

#[test]
fn what_software_makes_pending_before_the_vcpu_is_on_again_ends_the_old_flight() {
    let (mut machine, timer) = with_timer();
    machine.fire(0, timer);
    let _ = machine.gic.reset_vcpu(VcpuId(0), &mut machine.cpus[0]);
    machine.cpus[0].restart();
    machine.write_bit(0, 0, SET_PENDING, timer);
    machine.enable(0, TIMER, PRIORITY);
    assert_eq!(machine.acknowledge(0), Some(timer));
    assert!(held(&mut machine));
    machine.end(0, timer);
    assert_eq!(machine.cpus[0].physical_active, 0);
}

#[test]
fn one_raised_by_software_after_the_end_is_not_linked() {
    let (mut machine, timer) = with_timer();
    machine.fire(0, timer);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(timer));
    machine.cpus[0].end(timer);
    machine.raise(0, timer);
    machine.settle();
    assert_eq!(machine.cpus[0].listed()[0].physical(), None);
}

#[test]
fn a_release_that_is_overdue_does_not_release_the_next_flight() {
    let (mut machine, timer) = with_timer();
    machine.fire(0, timer);
    machine.settle();
    machine.leave(0);
    machine.write_bit(0, 0, CLEAR_PENDING, timer);
    assert!(machine.gic.hw_in_flight(VcpuId(0), timer), "until the flush, wherever it is loaded next");
    machine.settle();
    assert!(machine.fire(0, timer), "it is released");
    machine.settle();
    assert!(held(&mut machine));
}

const DEVICE: u32 = 48;

/// Two vCPUs; the first has a device's SPI.
fn with_device() -> (Machine, IntId) {
    let mut machine = Machine::new(2, 64, 4);
    let device = machine.enable(0, DEVICE, PRIORITY);
    (machine, device)
}

#[test]
fn the_end_of_a_devices_interrupt_frees_it_without_an_exit_wherever_the_vcpu_is() {
    let (mut machine, device) = with_device();
    for _ in 0..3 {
        assert!(machine.fire(1, device));
        machine.settle();
        assert_eq!((machine.listed(0), machine.listed(1)), (std::vec![DEVICE], std::vec![]));
        assert_eq!(machine.cpus[0].listed()[0].physical(), Some(DEVICE));
        assert_eq!(machine.acknowledge(0), Some(device));
        assert!(!machine.fire(0, device), "it cannot fire while it is handled");
        machine.leave(0);
        machine.settle();
        machine.cpus[0].end(device);
        assert!(!machine.cpus[0].is_active(DEVICE) && !machine.cpus[0].needs_maintenance());
    }
}

#[test]
fn a_device_that_asserts_its_line_at_once_again_is_heard_again() {
    let (mut machine, device) = with_device();
    machine.fire(0, device);
    machine.settle();
    for _ in 0..3 {
        assert_eq!(machine.acknowledge(0), Some(device));
        machine.cpus[0].end(device);
        // Another CPU takes it before this one has looked.
        assert!(machine.fire(1, device));
        machine.settle();
        assert_eq!(machine.cpus[0].listed()[0].physical(), Some(DEVICE));
    }
}

#[test]
fn a_device_that_the_guest_has_off_is_held_until_it_is_on() {
    let (mut machine, device) = with_device();
    machine.write_bit(0, 0, CLEAR_ENABLE, device);
    assert!(machine.fire(0, device));
    machine.settle();
    assert_eq!(machine.acknowledge(0), None);
    assert!(!machine.fire(0, device), "so it cannot storm");
    machine.write_bit(1, 0, SET_ENABLE, device);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(device));
    machine.end(0, device);
    machine.leave(0);
    assert!(!machine.gic.hw_in_flight(VcpuId(0), device) && machine.fire(0, device));
}

#[test]
fn what_the_guest_takes_back_frees_the_device_though_its_last_vcpu_is_off() {
    let (mut machine, device) = with_device();
    machine.fire(0, device);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(device));
    machine.end(0, device);
    machine.write_bit(0, 0, CLEAR_ENABLE, device);
    machine.fire(0, device);
    machine.settle();
    machine.route(0, device, 1);
    machine.write_bit(1, 0, CLEAR_PENDING, device);
    assert!(machine.enter(1), "it is routed here");
    assert!(!machine.cpus[0].is_active(DEVICE));
}

#[test]
fn a_device_that_moves_to_another_vcpu_while_pending_is_ended_there() {
    let (mut machine, device) = with_device();
    machine.fire(0, device);
    machine.settle();
    machine.route(1, device, 1);
    machine.leave(0);
    machine.settle();
    assert_eq!((machine.acknowledge(0), machine.acknowledge(1)), (None, Some(device)));
    machine.end(1, device);
    assert!(!machine.cpus[0].is_active(DEVICE));
}

#[test]
fn split_ends_free_a_device_too() {
    let (mut machine, device) = with_device();
    machine.cpus.iter_mut().for_each(|cpu| cpu.split = true);
    machine.fire(0, device);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(device));
    machine.cpus[0].end(device);
    assert!(machine.cpus[0].is_active(DEVICE));
    machine.deactivate(1, device);
    machine.settle();
    assert!(!machine.cpus[0].is_active(DEVICE), "whichever vCPU deactivates it");
}

#[test]
fn the_largest_number_fits_a_list_register() {
    let mut machine = Machine::new(1, 960, 4);
    let last = machine.enable(0, 991, PRIORITY);
    let _ = machine.gic.raise_hw(VcpuId(0), last, last);
    let _ = machine.gic.flush(VcpuId(0), &mut machine.cpus[0], |_| ());
    assert_eq!(machine.cpus[0].listed()[0].physical(), Some(991));
}

#[test]
fn only_shared_interrupts_that_there_are_can_be_bound() {
    let (mut machine, device) = with_device();
    machine.write_edge(0, 0, device, true);
    assert_eq!(machine.gic.spi(device), Some((true, true)));
    assert_eq!(machine.gic.spi(intid(95)), Some((false, false)));
    assert_eq!((machine.gic.spi(intid(96)), machine.gic.spi(intid(TIMER))), (None, None));
}
