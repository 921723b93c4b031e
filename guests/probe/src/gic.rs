//! The GICv3: its registers, and how interrupts come. It is the last, because it leaves what it finds in disorder.

mod delivery;
mod interface;

use mote_unikernel::{Machine, interrupts};

use crate::say;
use crate::wild::{self, Outcome, WIDTHS, Width};

/// The distributor's registers (GICv3 specification, 12.9), with gaps among them.
static DISTRIBUTOR: [usize; 61] = [
    0x0000, 0x0004, 0x0008, 0x000c, 0x0010, 0x0014, 0x0040, 0x0048, 0x0050, 0x0058, 0x0068, 0x0080, 0x0084, 0x0088,
    0x00fc, 0x0100, 0x0104, 0x0108, 0x0180, 0x0184, 0x0188, 0x0200, 0x0204, 0x0280, 0x0284, 0x0300, 0x0304, 0x0380,
    0x0384, 0x0400, 0x0420, 0x0424, 0x0440, 0x07f8, 0x0800, 0x0820, 0x0840, 0x0c00, 0x0c04, 0x0c08, 0x0c0c, 0x0c10,
    0x0d00, 0x0d04, 0x0e00, 0x0e08, 0x0f00, 0x0f10, 0x0f20, 0x1000, 0x6000, 0x6100, 0x6104, 0x6108, 0x6200, 0x7fd8,
    0x8000, 0xc000, 0xffd0, 0xffe8, 0xfffc,
];
/// A redistributor's (12.11), in both its frames.
static REDISTRIBUTOR: [usize; 43] = [
    0x0000, 0x0004, 0x0008, 0x000c, 0x0010, 0x0014, 0x0018, 0x0020, 0x0040, 0x0048, 0x0070, 0x0074, 0x0078, 0x007c,
    0x00a0, 0x00b0, 0x00c0, 0x0100, 0x0200, 0xffd0, 0xffe8, 0xfffc, 0x1_0000, 0x1_0080, 0x1_0084, 0x1_0100, 0x1_0180,
    0x1_0200, 0x1_0280, 0x1_0300, 0x1_0380, 0x1_0400, 0x1_0404, 0x1_041c, 0x1_0420, 0x1_0c00, 0x1_0c04, 0x1_0c08,
    0x1_0d00, 0x1_0e00, 0x1_0f00, 0x1_c000, 0x1_ffe8,
];
/// One vCPU's redistributor.
const STRIDE: usize = 0x2_0000;
/// Offsets that distributor and redistributor have in common.
const GROUP: usize = 0x80;
const ENABLE: usize = 0x100;
const DISABLE: usize = 0x180;
const PEND: usize = 0x200;
const UNPEND: usize = 0x280;
const ACTIVATE: usize = 0x300;
const DEACTIVATE: usize = 0x380;
const PRIORITY: usize = 0x400;
const SGI_FRAME: usize = 0x1_0000;
const ROUTE: usize = 0x6000;

/// Asks all of it.
#[inline(never)]
pub fn probe(machine: &Machine) {
    let mut ranges = machine.device("arm,gic-v3");
    let (Some(distributor), Some(redistributors)) = (ranges.next(), ranges.next()) else { return };
    let gic = Gic { distributor: distributor.start, redistributor: redistributors.start };
    interrupts::masked(|| {
        gic.reset_values();
        for (name, at) in
            [("past the distributor", distributor.end), ("past vCPU 1's", redistributors.start + 2 * STRIDE)]
        {
            say(format_args!("gic {name}"), Outcome(wild::load(at, Width::Word)));
        }
        gic.widths();
        interface::probe();
        gic.own_interrupts();
        gic.priorities();
        gic.set_pending();
        gic.shared_interrupts();
        gic.masks();
    });
}

#[derive(Clone, Copy)]
struct Gic {
    distributor: usize,
    redistributor: usize,
}

impl Gic {
    #[inline(never)]
    fn reset_values(self) {
        for offset in &DISTRIBUTOR {
            say(format_args!("gicd {offset:#x}"), Outcome(wild::load(self.distributor + offset, Width::Word)));
        }
        for (name, first) in [("gicr", self.redistributor), ("gicr of vCPU 1", self.redistributor + STRIDE)] {
            for offset in &REDISTRIBUTOR {
                say(format_args!("{name} {offset:#x}"), Outcome(wild::load(first + offset, Width::Word)));
            }
        }
    }

    /// What is kept of ones and of zeroes.
    #[inline(never)]
    fn masks(self) {
        let tries = DISTRIBUTOR.iter().map(|offset| ("gicd", self.distributor, offset));
        let tries = tries.chain(REDISTRIBUTOR.iter().map(|offset| ("gicr", self.redistributor, offset)));
        for (name, first, offset) in tries {
            let at = first + offset;
            let before = wild::load(at, Width::Word);
            for value in [u32::MAX.into(), 0] {
                let read = wild::store(at, Width::Word, value).and_then(|()| wild::load(at, Width::Word));
                say(format_args!("{name} {offset:#x} after {value:#x}"), Outcome(read));
            }
            if let Ok(before) = before {
                let _ = wild::store(at, Width::Word, before);
            }
            for frame in [self.distributor + 4, self.redistributor + SGI_FRAME] {
                for clear in [DISABLE, UNPEND, DEACTIVATE] {
                    let _ = wild::store(frame + clear, Width::Word, u32::MAX.into());
                }
            }
        }
    }

    #[inline(never)]
    fn widths(self) {
        let places = [
            ("GICD_TYPER", self.distributor + 4),
            ("GICD_IPRIORITYR", self.distributor + PRIORITY + 32),
            ("GICD_IROUTER", self.distributor + ROUTE + 32 * 8),
            ("GICD_ISENABLER", self.distributor + ENABLE + 4),
            ("GICD_PIDR2", self.distributor + 0xffe8),
            ("GICR_TYPER", self.redistributor + 8),
            ("GICR_IPRIORITYR", self.redistributor + SGI_FRAME + PRIORITY),
            ("GICR_ISENABLER", self.redistributor + SGI_FRAME + ENABLE),
            ("GICR_PROPBASER", self.redistributor + 0x70),
        ];
        for (name, at) in places {
            for width in WIDTHS {
                say(format_args!("{name}, {width:?}"), Outcome(wild::load(at, width)));
                let value = wild::load(at, Width::Word).unwrap_or(0);
                say(format_args!("{name}, {width:?} written"), Outcome(wild::store(at, width, value).map(|()| 0)));
            }
        }
        for odd in 1..4 {
            let at = self.distributor + PRIORITY + 32 + odd;
            say(format_args!("GICD_IPRIORITYR, byte {odd}"), Outcome(wild::load(at, Width::Byte)));
        }
    }
}
