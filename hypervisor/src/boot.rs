//! The order in which the machine comes up.

use alloc::vec::Vec;
use core::ops::Range;

use mote_core::addr::{Pa, PaRange};
use mote_core::frames::BLOCK_SIZE;
use mote_core::machine::{self, Machine as Description, Modules, Uart};
use mote_core::tree::{self, Tree};
use mote_platform::{boot_tree, cpu, firmware, gic, heap, image, memory as ram, timer, uart};

use crate::builder::Control;
use crate::machine::Machine;
use crate::pcpu::{Pcpu, Wiring};
use crate::{console, entropy, memory, passthrough};

/// Where the boot CPU begins.
pub fn main(device_tree: u64) -> ! {
    prepare(device_tree, timer::now());
    Pcpu::bring_up().serve()
}

/// Where every other CPU begins.
pub fn secondary(_pcpu: usize) -> ! {
    Pcpu::bring_up().serve()
}

/// Everything up to the point where the CPUs serve domains. What booting alone needs is gone when it returns.
fn prepare(device_tree: u64, entered: u64) {
    let bytes = boot_tree(device_tree).expect("the boot loader passes a device tree in x0");
    let tree = tree::check(&bytes).unwrap_or_else(|error| panic!("the device tree: {error}"));
    let uart = start_console(tree);
    entropy::init(tree.find_node("/chosen").and_then(|chosen| tree::property(chosen, "rng-seed")));
    let description = Description::read(tree).unwrap_or_else(|missing| panic!("{missing}"));
    let reserved: Vec<PaRange> = description.reserved.iter().copied().chain(own_memory()).collect();
    let is_free = |range: PaRange| {
        description.ram.iter().any(|bank| bank.contains(range))
            && !reserved.iter().any(|reserved| reserved.overlaps(range))
    };
    let modules = Modules::read(tree, is_free).unwrap_or_else(|missing| panic!("{missing}"));
    let machine_tree = PaRange::new(Pa(device_tree), bytes.len() as u64).expect("the device tree is in RAM");
    let control = Control { modules, machine_tree };
    let ram_bytes = description.ram.iter().map(|bank| bank.size()).sum();
    let (heap, for_domains) = memory::heap_for(ram_bytes);
    let taken = || control.modules.all.iter().chain([&control.machine_tree]);
    let is_unused = |range: &PaRange| is_free(*range) && !taken().any(|taken| taken.overlaps(*range));
    // Behind EL2, where boot loaders leave not much room, or at a bank's end.
    let ends = description.ram.iter().map(|bank| bank.end().0.saturating_sub(heap as u64) & !(BLOCK_SIZE - 1));
    let places = [image::region().end as u64].into_iter().chain(ends);
    let heap = places.filter_map(|base| PaRange::new(Pa(base), heap as u64)).find(is_unused);
    let heap = heap.expect("there is room for the heap");
    start_platform(&description, heap);
    let reserved = reserved.iter().copied().chain([heap]).chain(control.kept());
    memory::init(&description.ram, reserved, for_domains)
        .unwrap_or_else(|_| panic!("there is no memory for the pool of frames"));

    let wiring = Wiring::new(&description, uart.and_then(|uart| uart.intid));
    let machine = start_machine(&description, wiring, control, [ram_bytes, entered]);
    heap::grow();
    passthrough::KEPT.call_once(|| description.kept(uart));
    if let Some(intid) = wiring.console
        && gic::set_shared(intid, true, false).is_some()
    {
        uart::interrupt_when_typed(true);
    }
    machine.build_control(0);
}

fn start_console(tree: Tree<'_>) -> Option<Uart> {
    let uart = machine::console(tree)?;
    uart::init(range(uart.registers)).ok()?;
    console::log(format_args!("Mote {} at EL2", env!("CARGO_PKG_VERSION")));
    Some(uart)
}

fn start_platform(description: &Description, heap: PaRange) {
    firmware::init();
    let banks: Vec<Range<usize>> = description.ram.iter().copied().map(range).collect();
    ram::init(&banks, &range(heap)).expect("all RAM can be mapped");
    let redistributors: Vec<Range<usize>> = description.gic.redistributors.iter().copied().map(range).collect();
    gic::init(range(description.gic.distributor), &redistributors).expect("the GIC can be set up");
}

/// Starts the other CPUs; those that do not start are left out.
fn start_machine(description: &Description, wiring: Wiring, control: Control, numbers: [u64; 2]) -> &'static Machine {
    let this = cpu::this_affinity();
    let others = description.cpus.iter().copied().filter(|&affinity| affinity != this);
    let affinities: Vec<u64> = [this].into_iter().chain(others).take(cpu::MAX_PCPUS).collect();
    let machine = Machine::init(affinities.clone(), wiring, control, numbers);
    for (pcpu, &affinity) in affinities.iter().enumerate().skip(1) {
        if let Err(error) = cpu::start(affinity, pcpu) {
            console::log(format_args!("CPU {affinity:#x} does not start: {error:?}"));
        }
    }
    machine
}

fn range(range: PaRange) -> Range<usize> {
    range.base().0 as usize..range.end().0 as usize
}

fn own_memory() -> Option<PaRange> {
    let own = image::region();
    PaRange::new(Pa(own.start as u64), own.len() as u64)
}
