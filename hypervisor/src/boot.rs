//! The order in which the machine comes up.

use alloc::vec::Vec;
use core::ops::Range;

use mote_core::addr::{Pa, PaRange};
use mote_core::config::{Configuration, DomainConfig};
use mote_core::frames::BLOCK_SIZE;
use mote_core::id::VcpuId;
use mote_core::machine::{self, Conduit, Machine as Description, Uart};
use mote_core::random::Seeds;
use mote_core::tree::Tree;
use mote_core::{events, frames};
use mote_platform::{boot_tree, cpu, firmware, gic, heap, image, memory as ram, timer, uart};

use crate::machine::Machine;
use crate::pcpu::{Pcpu, Wiring};
use crate::{builder, console, memory, report};

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
    let tree = Tree::check(&bytes).unwrap_or_else(|error| panic!("the device tree: {error}"));
    let uart = start_console(&tree);
    let description = Description::read(&tree).unwrap_or_else(|missing| panic!("{missing}"));
    let tree_range = PaRange::new(Pa(device_tree), bytes.len() as u64);
    let own = [tree_range, own_memory()].into_iter().flatten();
    let reserved: Vec<PaRange> = description.reserved.iter().copied().chain(own).collect();
    let is_free = |range: PaRange| {
        description.ram.iter().any(|bank| bank.contains(range))
            && !reserved.iter().any(|reserved| reserved.overlaps(range))
    };
    let configuration = Configuration::read(&tree, is_free);
    let modules: Vec<PaRange> = configuration.domains.iter().flat_map(modules).collect();
    let taken = || reserved.iter().chain(&modules).copied();
    start_platform(&description, heap_needed(&description, &configuration, taken()));
    // EL2's own is more by now.
    memory::init(&description.ram, taken().chain(own_memory()))
        .unwrap_or_else(|_| panic!("there is no memory for the pool of frames"));

    let wiring = Wiring::new(&description, uart.and_then(|uart| uart.intid));
    let machine = start_machine(&description, wiring, entered);
    heap::grow();
    if let Some(intid) = wiring.console
        && gic::enable_shared(intid).is_ok()
    {
        uart::enable_input();
    }
    build_all(machine, &configuration, Seeds::new(&tree));
    // Domains may have modules in common.
    for (index, module) in modules.iter().enumerate() {
        if !modules.iter().take(index).any(|other| other.overlaps(*module)) {
            memory::release_module(*module);
        }
    }
}

fn start_console(tree: &Tree<'_>) -> Option<Uart> {
    let uart = machine::console(tree)?;
    uart::init(range(uart.registers)).ok()?;
    console::log(format_args!("Mote {} at EL2", env!("CARGO_PKG_VERSION")));
    Some(uart)
}

/// Bytes of heap that the guests can make EL2 need, whatever they do, in blocks behind EL2's own; 0 if these are taken.
fn heap_needed(
    description: &Description,
    configuration: &Configuration,
    mut taken: impl Iterator<Item = PaRange>,
) -> usize {
    let of_domains = configuration.domains.iter().map(|domain| domain.grants.heap_bytes() + events::HEAP_BYTES);
    let of_ram = description.ram.iter().map(|bank| frames::table_bytes(bank.size()));
    let bytes = of_domains.chain(of_ram).fold(0, u64::saturating_add).next_multiple_of(BLOCK_SIZE);
    let range = PaRange::new(Pa(image::region().end as u64), bytes);
    if range.is_none_or(|range| taken.any(|taken| taken.overlaps(range))) {
        console::log(format_args!("there is no room for a larger heap: guests can use up what there is"));
        return 0;
    }
    bytes as usize
}

fn start_platform(description: &Description, heap: usize) {
    firmware::init(match description.conduit {
        Conduit::Smc => firmware::Conduit::Smc,
        Conduit::Hvc => firmware::Conduit::Hvc,
    });
    let banks: Vec<Range<usize>> = description.ram.iter().copied().map(range).collect();
    ram::init(&banks, heap).expect("all RAM can be mapped");
    let redistributors: Vec<Range<usize>> = description.gic.redistributors.iter().copied().map(range).collect();
    gic::init(range(description.gic.distributor), &redistributors).expect("the GIC can be set up");
}

/// Starts the other CPUs; those that do not start are left out.
fn start_machine(description: &Description, wiring: Wiring, entered: u64) -> &'static Machine {
    let this = cpu::this_affinity();
    let others = description.cpus.iter().copied().filter(|&affinity| affinity != this);
    let affinities: Vec<u64> = [this].into_iter().chain(others).take(cpu::MAX_PCPUS).collect();
    let ram_bytes = description.ram.iter().map(|bank| bank.size()).sum();
    let machine = Machine::init(affinities.clone(), wiring, ram_bytes, entered);
    for (pcpu, &affinity) in affinities.iter().enumerate().skip(1) {
        if let Err(error) = cpu::start(affinity, pcpu) {
            console::log(format_args!("CPU {affinity:#x} does not start: {error:?}"));
        }
    }
    machine
}

/// Builds every domain, connects them, and only then lets the first run.
fn build_all(machine: &Machine, configuration: &Configuration, mut seeds: Seeds) {
    let mut starts = Vec::new();
    for (name, error) in &configuration.refused {
        report::refused(name, error);
    }
    for domain in &configuration.domains {
        match builder::build(machine, domain, configuration.peers_of(domain), &mut seeds) {
            Ok(start) => starts.push((domain.id, start)),
            Err(error) => report::refused(&domain.name, error),
        }
    }
    configuration.connections().for_each(|ends| builder::connect(machine, ends));
    if starts.is_empty() {
        console::log(format_args!("no domain could be built"));
        machine.power_off();
    }
    for (id, start) in starts {
        if let Some(domain) = machine.domain(id) {
            domain.start(VcpuId(0), start);
        }
    }
    if configuration.interactive {
        console::focus_first();
    }
    machine.leave();
}

fn modules(domain: &DomainConfig) -> impl Iterator<Item = PaRange> + use<> {
    [Some(domain.kernel), domain.ramdisk, domain.device_tree].into_iter().flatten()
}

fn range(range: PaRange) -> Range<usize> {
    range.base().0 as usize..range.end().0 as usize
}

fn own_memory() -> Option<PaRange> {
    let own = image::region();
    PaRange::new(Pa(own.start as u64), own.len() as u64)
}
