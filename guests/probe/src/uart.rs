//! The emulated UART. What prints is left alone: data and its lower half.

use mote_unikernel::Machine;

use crate::say;
use crate::wild::{self, Outcome, WIDTHS, Width};

/// Offsets of registers that a guest may touch: those that PL011 has, the identification, and some that are none.
const REGISTERS: [usize; 34] = [
    0x004, 0x008, 0x00c, 0x010, 0x014, 0x018, 0x01c, 0x020, 0x024, 0x028, 0x02c, 0x030, 0x034, 0x038, 0x03c, 0x040,
    0x044, 0x048, 0x04c, 0x080, 0x400, 0x800, 0xfd0, 0xfdc, 0xfe0, 0xfe4, 0xfe8, 0xfec, 0xff0, 0xff4, 0xff8, 0xffc,
    0x019, 0x03a,
];
/// The flags.
const UARTFR: usize = 0x18;

/// Asks all of it.
#[inline(never)]
pub fn probe(machine: &Machine) {
    let Some(range) = machine.device("arm,sbsa-uart").next() else { return };
    let at = |offset: usize| range.start + offset;
    say("uart size", range.len());
    for offset in REGISTERS {
        say(format_args!("uart {offset:#x}"), Outcome(wild::load(at(offset), Width::Word)));
        let before = wild::load(at(offset), Width::Word);
        for value in [u32::MAX.into(), 0] {
            let stored = wild::store(at(offset), Width::Word, value).and_then(|()| wild::load(at(offset), Width::Word));
            say(format_args!("uart {offset:#x} after {value:#x}"), Outcome(stored));
        }
        if let Ok(before) = before {
            let _ = wild::store(at(offset), Width::Word, before);
        }
    }
    for width in WIDTHS {
        say(format_args!("uart flags, {width:?}"), Outcome(wild::load(at(UARTFR), width)));
        say(format_args!("uart data, {width:?}"), Outcome(wild::load(at(0), width)));
        say(format_args!("uart behind it, {width:?}"), Outcome(wild::load(range.end, width)));
    }
}
