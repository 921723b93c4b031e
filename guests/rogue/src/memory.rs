//! Memory that is not there, or not this domain's.

use mote_unikernel::{Machine, exceptions::Fault, println};

use crate::wild::{self, Access, Untranslated, Wild};

/// Where QEMU's `virt` has its own devices: flash, GIC, UART, RTC, fw_cfg, virtio, PCIe.
const FOREIGN_DEVICES: [usize; 8] =
    [0, 0x0800_0000, 0x080a_0000, 0x0900_0000, 0x0901_0000, 0x0902_0000, 0x0a00_0000, 0x1000_0000];

/// Addresses that no domain of this size has, with the memory's first byte past the end as the first.
fn outside_addresses(machine: &Machine) -> impl Iterator<Item = Wild> {
    let end = machine.memory().map(|bank| bank.end).max();
    let far = [0x3800_0000, 0x3fff_ff80, 0x1_0000_0000, 0x2_0000_0000, 0xf_ffff_ff80];
    end.into_iter().chain(far).filter_map(|address| Wild::new(machine, address))
}

/// Loads and stores of every form outside memory abort.
pub fn outside(machine: &Machine) {
    all_abort(outside_addresses(machine));
}

/// The machine's own devices are as good as absent.
pub fn foreign_devices(machine: &Machine) {
    all_abort(FOREIGN_DEVICES.iter().filter_map(|address| Wild::new(machine, *address)));
}

fn all_abort(addresses: impl Iterator<Item = Wild>) {
    for address in addresses {
        let mut statuses = 0_u64;
        for access in Access::LOADS.into_iter().chain(Access::STORES) {
            let fault = address.touch(access, 0).expect_err("the access was carried out");
            assert!(fault.is_data_abort(), "{access:?} at {address:?}: {fault:x?}");
            statuses |= 1 << fault.status();
        }
        println!("rogue: {address:x?}: data aborts, set of statuses {statuses:#x}");
    }
}

/// Without stage 1, neither a load nor an instruction comes from where nothing is, nor from beyond the address space.
pub fn fetch(machine: &Machine) {
    let beyond = [1 << 40, 1 << 47].into_iter().filter_map(|address| Wild::new(machine, address));
    for address in outside_addresses(machine).chain(beyond) {
        let load = wild::untranslated(address, Untranslated::Load).expect("the load was carried out");
        assert!(load.is_data_abort(), "load at {address:?}: {load:x?}");
        let jump = wild::untranslated(address, Untranslated::Jump).expect("there was an instruction");
        assert!(jump.is_instruction_abort(), "jump to {address:?}: {jump:x?}");
        println!("rogue: {address:x?}: load status {:#x}, fetch status {:#x}", load.status(), jump.status());
    }
}

/// Cache and TLB maintenance on everything.
pub fn maintenance(machine: &Machine) {
    for address in outside_addresses(machine) {
        for access in [Access::CleanLine, Access::InvalidateLine, Access::ZeroLine] {
            let answer = address.touch(access, 0);
            assert!(answer.is_err_and(|fault| fault.is_data_abort()) || access != Access::ZeroLine);
        }
        println!("rogue: {address:x?}: AT S1E1R gives {:#x}", wild::translate(address));
    }
    let set_way = wild::maintain_by_set_and_way();
    assert!(set_way.is_none_or(|fault| fault.is_undefined()), "set and way: {set_way:x?}");
    let [own, foreign] = wild::maintain_translations();
    assert_eq!(own, None, "a guest may drop its own translations");
    assert!(foreign.as_ref().is_some_and(Fault::is_undefined), "EL2's instructions: {foreign:x?}");
}
