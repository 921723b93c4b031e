//! What each register reads as, keeps, and refuses.

use super::machine::Machine;
use crate::id::VcpuId;
use crate::mmio::Width;
use crate::vgic::{Affinity, Operation, Outcome, VGic, VcpuSet};

use Width::{Byte, Double, Half, Word};

fn sizes() -> [Width; 4] {
    [Byte, Half, Word, Double]
}

/// A register of one vCPU's redistributor or of the distributor.
#[derive(Clone, Copy, Debug)]
enum Place {
    Distributor(u32),
    Redistributor(u32),
}

use Place::{Distributor as D, Redistributor as R};

fn access(machine: &mut Machine, place: Place, width: Width, operation: Operation) -> Outcome {
    match place {
        D(offset) => machine.access(0, offset, width, operation),
        R(offset) => machine.private(0, 0, offset, width, operation),
    }
}

/// `GICD_TYPER` but for the number of SPIs.
const TYPER: u64 = 9 << 19;

/// Sizes that a register takes, its value after a reset, and its value after ones were written.
#[rustfmt::skip]
const REGISTERS: &[(&str, Place, &[Width], u64, u64)] = &[
    ("GICD_CTLR",          D(0x0),    &[Word],         0x50,          0x52),
    ("GICD_TYPER",         D(0x4),    &[Word],         TYPER | 2,     TYPER | 2),
    ("GICD_IIDR",          D(0x8),    &[Word],         0x34c,         0x34c),
    ("GICD_STATUSR",       D(0x10),   &[Word],         0,             0),
    ("GICD_SETSPI_NSR",    D(0x40),   &[Byte, Half, Word, Double], 0, 0),
    ("GICD_IGROUPR0",      D(0x80),   &[Word],         0xffff_ffff,   0xffff_ffff),
    ("GICD_IGROUPR1",      D(0x84),   &[Word],         0xffff_ffff,   0xffff_ffff),
    ("GICD_IGROUPR3",      D(0x8c),   &[Word],         0xffff_ffff,   0xffff_ffff),
    ("GICD_ISENABLER0",    D(0x100),  &[Word],         0,             0),
    ("GICD_ISENABLER1",    D(0x104),  &[Word],         0,             0xffff_ffff),
    ("GICD_ICENABLER1",    D(0x184),  &[Word],         0,             0),
    ("GICD_ISPENDR1",      D(0x204),  &[Word],         0,             0xffff_ffff),
    ("GICD_ICPENDR1",      D(0x284),  &[Word],         0,             0),
    ("GICD_ISACTIVER1",    D(0x304),  &[Word],         0,             0),
    ("GICD_ICACTIVER2",    D(0x388),  &[Word],         0,             0),
    ("GICD_IPRIORITYR0",   D(0x400),  &[Byte, Word],   0,             0),
    ("GICD_IPRIORITYR8",   D(0x420),  &[Byte, Word],   0,             0xf8f8_f8f8),
    ("GICD_IPRIORITYR8.1", D(0x421),  &[Byte],         0,             0xf8),
    ("GICD_IPRIORITYR24",  D(0x460),  &[Byte, Word],   0,             0),
    ("GICD_IPRIORITYR254", D(0x7f8),  &[Byte, Word],   0,             0),
    ("GICD_ITARGETSR8",    D(0x820),  &[Byte, Half, Word, Double], 0, 0),
    ("GICD_ICFGR0",        D(0xc00),  &[Word],         0,             0),
    ("GICD_ICFGR2",        D(0xc08),  &[Word],         0,             0xaaaa_aaaa),
    ("GICD_ICFGR3",        D(0xc0c),  &[Word],         0,             0xaaaa_aaaa),
    ("GICD_IGRPMODR1",     D(0xd04),  &[Byte, Half, Word, Double], 0, 0),
    ("GICD_NSACR2",        D(0xe08),  &[Byte, Half, Word, Double], 0, 0),
    ("GICD_SGIR",          D(0xf00),  &[Byte, Half, Word, Double], 0, 0),
    ("reserved",           D(0x1000), &[Byte, Half, Word, Double], 0, 0),
    ("GICD_IROUTER0",      D(0x6000), &[Word, Double], 0,             0),
    ("GICD_IROUTER32",     D(0x6100), &[Word, Double], 0,             0),
    ("GICD_IROUTER32.H",   D(0x6104), &[Word],         0,             0),
    ("GICD_IROUTER96",     D(0x6300), &[Word, Double], 0,             0),
    ("GICD_IROUTER1023",   D(0x7ff8), &[Word, Double], 0,             0),
    ("reserved",           D(0x8000), &[Byte, Half, Word, Double], 0, 0),
    ("GICD_PIDR2",         D(0xffe8), &[Word],         0x30,          0x30),
    ("GICR_CTLR",          R(0x0),    &[Word],         0,             0),
    ("GICR_IIDR",          R(0x4),    &[Word],         0x34c,         0x34c),
    ("GICR_TYPER",         R(0x8),    &[Word, Double], 0x10,          0x10),
    ("GICR_TYPER.H",       R(0xc),    &[Word],         0,             0),
    ("GICR_STATUSR",       R(0x10),   &[Word],         0,             0),
    ("GICR_WAKER",         R(0x14),   &[Word],         0,             0),
    ("GICR_PROPBASER",     R(0x70),   &[Byte, Half, Word, Double], 0, 0),
    ("GICR_SYNCR",         R(0xc0),   &[Word],         0,             0),
    ("GICR_PIDR2",         R(0xffe8), &[Word],         0x30,          0x30),
    ("GICR_IGROUPR0",      R(0x10080), &[Word],        0xffff_ffff,   0xffff_ffff),
    ("GICR_IGROUPR1",      R(0x10084), &[Word],        0xffff_ffff,   0xffff_ffff),
    ("GICR_ISENABLER0",    R(0x10100), &[Word],        0,             0xffff_ffff),
    ("GICR_ICENABLER0",    R(0x10180), &[Word],        0,             0),
    ("GICR_ISPENDR0",      R(0x10200), &[Word],        0,             0xffff_ffff),
    ("GICR_ICPENDR0",      R(0x10280), &[Word],        0,             0),
    ("GICR_ISACTIVER0",    R(0x10300), &[Word],        0,             0),
    ("GICR_ICACTIVER0",    R(0x10380), &[Word],        0,             0),
    ("GICR_IPRIORITYR7",   R(0x1041c), &[Byte, Word],  0,             0xf8f8_f8f8),
    ("GICR_IPRIORITYR8",   R(0x10420), &[Byte, Word],  0,             0),
    ("GICR_ICFGR0",        R(0x10c00), &[Word],        0xaaaa_aaaa,   0xaaaa_aaaa),
    ("GICR_ICFGR1",        R(0x10c04), &[Word],        0,             0xaaaa_aaaa),
    ("GICR_IGRPMODR0",     R(0x10d00), &[Byte, Half, Word, Double], 0, 0),
    ("GICR_NSACR",         R(0x10e00), &[Byte, Half, Word, Double], 0, 0),
    ("reserved",           R(0x11000), &[Byte, Half, Word, Double], 0, 0),
];

fn cut(value: u64, width: Width) -> u64 {
    value & (u64::MAX >> (64 - 8 * width as u32))
}

fn fresh() -> Machine {
    let mut machine = Machine::new(1, 64, 4);
    machine.write(0, 0, Word, 0);
    machine
}

#[test]
fn every_register_resets_and_keeps_what_the_architecture_says() {
    for &(name, place, widths, reset, after_ones) in REGISTERS {
        for width in sizes() {
            let mut machine = fresh();
            let aligned = matches!(place, D(at) | R(at) if at % width as u32 == 0);
            let before = access(&mut machine, place, width, Operation::Read);
            let written = access(&mut machine, place, width, Operation::Write(u64::MAX));
            let after = access(&mut machine, place, width, Operation::Read);
            if !aligned || !widths.contains(&width) {
                assert_eq!([before, written, after], [Outcome::Abort; 3], "{name} {width:?}");
                continue;
            }
            assert_eq!(before, Outcome::Value(cut(reset, width)), "{name} {width:?}");
            assert!(matches!(written, Outcome::Written(_)), "{name} {width:?}");
            assert_eq!(after, Outcome::Value(cut(after_ones, width)), "{name} {width:?}");
        }
    }
}

#[test]
fn the_clearing_registers_clear_what_their_partners_set() {
    for (set, clear) in [(0x104, 0x184), (0x204, 0x284)] {
        let mut machine = fresh();
        machine.write(0, set, Word, 0xff00_ff00);
        machine.write(0, set, Word, 0x0f);
        machine.write(0, clear, Word, 0x0f00_0001);
        for register in [set, clear] {
            assert_eq!(machine.read(0, register, Word), 0xf000_ff0e, "{register:#x}");
        }
    }
}

#[test]
fn a_priority_byte_leaves_its_neighbours_alone() {
    let mut machine = fresh();
    machine.write(0, 0x420, Word, 0x1020_3040);
    machine.write(0, 0x422, Byte, 0xff);
    assert_eq!(machine.read(0, 0x420, Word), 0x10f8_3040);
    assert_eq!(machine.read(0, 0x422, Byte), 0xf8);
}

#[test]
fn each_half_of_a_route_is_written_by_itself() {
    let mut machine = Machine::new(20, 64, 4);
    machine.write(0, 0x6108, Double, 0xff_0000_0102);
    assert_eq!(machine.read(0, 0x6108, Double), 0x102, "there is no Aff3");
    machine.write(0, 0x610c, Word, 3);
    assert_eq!(machine.read(0, 0x6108, Double), 0x102);
    machine.write(0, 0x6108, Word, 3);
    assert_eq!(machine.read(0, 0x6108, Double), 3);
    for nobody in [0x104, 0x10, 0x1_0000, 0xff_ffff] {
        machine.write(0, 0x6108, Double, nobody);
        assert_eq!(machine.read(0, 0x6108, Double), 3, "as on Xen, {nobody:#x} is ignored");
    }
    machine.write(0, 0x6108, Double, 0x8000_0102);
    assert_eq!(machine.read(0, 0x6108, Double), 0, "as on Xen, any vCPU is the first");
}

#[test]
fn redistributors_tell_who_they_belong_to() {
    let mut machine = Machine::new(18, 0, 4);
    let mut typer = |frame| machine.read_private(0, frame, 8, Double);
    assert_eq!(typer(0), 0);
    assert_eq!(typer(16), 0x100 << 32 | 16 << 8);
    assert_eq!(typer(17), 0x101 << 32 | 17 << 8 | 1 << 4);
    assert_eq!(machine.read(0, 4, Word), TYPER, "no SPIs");
    let past_the_last = machine.private(0, 18, 8, Double, Operation::Read);
    assert_eq!(past_the_last, Outcome::Abort);
}

#[test]
fn the_numbers_of_vcpus_and_spis_have_limits() {
    for (vcpus, spis) in [(0, 32), (129, 32), (1, 31), (1, 992), (1, u32::MAX - 31)] {
        assert!(VGic::new(vcpus, spis).is_none(), "{vcpus} {spis}");
    }
    assert!(VGic::new(128, 960).is_some());
}

#[test]
fn a_small_domain_costs_less_than_a_kibibyte() {
    let gic = VGic::new(1, 32).expect("numbers in range");
    let heap =
        gic.cpus.capacity() * size_of::<super::super::Cpu>() + gic.shared.capacity() * size_of::<super::super::Bank>();
    assert!(size_of::<VGic>() + heap < 1024, "{} + {heap}", size_of::<VGic>());
}

#[test]
fn no_offset_size_or_direction_upsets_anything() {
    let mut machine = Machine::new(2, 64, 1);
    for offset in (0..0x2_0100).chain([u32::MAX - 7, u32::MAX]) {
        for width in sizes() {
            for operation in [Operation::Read, Operation::Write(0x5555_aaaa_5555_aaaa)] {
                let _ = machine.access(0, offset, width, operation);
                let _ = machine.private(0, 0, offset, width, operation);
                let _ = machine.private(0, 1, offset, width, operation);
            }
        }
        if offset % 64 == 0 {
            machine.settle();
        }
    }
}

#[test]
fn nothing_is_asked_of_a_vcpu_that_does_not_exist() {
    let mut machine = Machine::new(1, 32, 4);
    let nobody = VcpuId(200);
    let interface = &mut machine.cpus[0].clone();
    let interrupt = super::machine::intid(3);
    let gic = &mut machine.gic;
    let mut told = gic.raise(nobody, interrupt);
    told = told.union(gic.set_line(nobody, interrupt, true));
    let _ = gic.raise_hw(nobody, interrupt, interrupt);
    told = told.union(gic.send_sgi(VcpuId(0), 0xff_00ff_fffe));
    told = told.union(gic.sync(nobody, interface));
    told = told.union(gic.deactivate(nobody, 3, interface));
    told = told.union(gic.reset_vcpu(nobody, interface));
    told = told.union(gic.flush(nobody, interface, |_| ()));
    assert_eq!(told, VcpuSet::EMPTY);
    assert!(!gic.needs_flush(nobody) && !gic.hw_in_flight(nobody, interrupt));
    assert!(!gic.deliverable(nobody, super::Vmcr(u64::MAX)));
    assert_eq!(Affinity::of(nobody).vcpu(), Some(nobody));
}
