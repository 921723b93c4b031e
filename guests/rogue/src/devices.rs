//! The emulated devices, touched in every way at every offset.

use core::ops::Range;

use mote_unikernel::{Machine, interrupts, println};

use crate::{
    interrupts as sgis,
    wild::{Access, Wild},
};

/// Bytes between the places that are touched, without the argument `stride=N`: prime to most layouts, and quick.
const STRIDE: u64 = 36;
/// UARTDR and UARTRSR: what is stored there is printed.
const UART_DATA: usize = 8;
/// GICD_CTLR to GICD_SEIR-like registers come first; these clear all that the sweep set (GICv3 specification, 12.8).
const CLEAR: [Range<usize>; 3] = [0x180..0x200, 0x280..0x300, 0x380..0x400];
/// One vCPU's redistributor, and the frame in it that has the registers to clear.
const REDISTRIBUTOR: usize = 0x2_0000;
const SGI_FRAME: usize = 0x1_0000;
/// GICR_WAKER.
const GICR_WAKER: usize = 0x14;

/// Loads and stores of every form on the GIC and the UART are carried out or abort, and the GIC still works after it.
pub fn mmio(machine: &Machine) {
    let stride = machine.number("stride").unwrap_or(STRIDE) as usize;
    let gic = |index| machine.device("arm,gic-v3").nth(index).expect("a GICv3");
    let (distributor, first) = (gic(0), gic(1).start);
    let redistributor = first..first + REDISTRIBUTOR;
    let uart = machine.device("arm,sbsa-uart").next().expect("a UART");
    let uart = uart.start + UART_DATA..uart.start + 0x1000;
    interrupts::masked(|| {
        for (name, range) in [("distributor", &distributor), ("redistributor", &redistributor), ("UART", &uart)] {
            sweep(machine, name, range, stride);
        }
        for frame in [distributor.start, redistributor.start + SGI_FRAME] {
            for address in CLEAR.into_iter().flat_map(|range| range.step_by(4)) {
                store(machine, frame + address, u64::MAX);
            }
        }
        store(machine, redistributor.start + GICR_WAKER, 0);
        sgis::set_priorities(machine, |_| 0);
    });
    sgis::storm(machine);
}

fn store(machine: &Machine, address: usize, value: u64) {
    let _ = Wild::new(machine, address).expect("a device").touch(Access::StoreWord, value);
}

fn sweep(machine: &Machine, name: &str, range: &Range<usize>, stride: usize) {
    let (mut done, mut aborted) = (0_u32, 0_u32);
    let mut touch = |address: usize, access: Access, value: u64| {
        let address = Wild::new(machine, address).expect("a device");
        match address.touch(access, value) {
            Ok(_) => done += 1,
            Err(fault) => {
                assert!(fault.is_data_abort(), "{access:?} at {address:x?}: {fault:x?}");
                aborted += 1;
            }
        }
    };
    for address in range.clone().step_by(stride) {
        for access in Access::LOADS {
            touch(address, access, 0);
        }
        // Misaligned by one, two and three bytes.
        (1..4).for_each(|byte| touch(address + byte, Access::LoadWord, 0));
        for access in Access::STORES {
            [0, u64::MAX].into_iter().for_each(|value| touch(address, access, value));
        }
        (1..4).for_each(|byte| touch(address + byte, Access::StoreWord, u64::MAX));
    }
    println!("rogue: {name}: {done} accesses carried out, {aborted} aborted");
}
