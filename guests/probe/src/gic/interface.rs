//! The CPU interface's system registers, before anything is set up.

use crate::say;
use crate::wild::{self, Outcome, Register};

/// The CPU interface's system registers (12.2): op0, op1, CRn, CRm, op2.
pub const ICC_PMR: Register = Register::new(3, 0, 4, 6, 0);
pub const ICC_IAR1: Register = Register::new(3, 0, 12, 12, 0);
pub const ICC_EOIR1: Register = Register::new(3, 0, 12, 12, 1);
pub const ICC_HPPIR1: Register = Register::new(3, 0, 12, 12, 2);
pub const ICC_BPR1: Register = Register::new(3, 0, 12, 12, 3);
const ICC_CTLR: Register = Register::new(3, 0, 12, 12, 4);
const ICC_SRE: Register = Register::new(3, 0, 12, 12, 5);
const ICC_IGRPEN0: Register = Register::new(3, 0, 12, 12, 6);
pub const ICC_IGRPEN1: Register = Register::new(3, 0, 12, 12, 7);
const ICC_IAR0: Register = Register::new(3, 0, 12, 8, 0);
const ICC_HPPIR0: Register = Register::new(3, 0, 12, 8, 2);
const ICC_BPR0: Register = Register::new(3, 0, 12, 8, 3);
const ICC_AP0R0: Register = Register::new(3, 0, 12, 8, 4);
pub const ICC_AP1R0: Register = Register::new(3, 0, 12, 9, 0);
const ICC_AP1R1: Register = Register::new(3, 0, 12, 9, 1);
pub const ICC_DIR: Register = Register::new(3, 0, 12, 11, 1);
pub const ICC_RPR: Register = Register::new(3, 0, 12, 11, 3);
pub const ICC_SGI1R: Register = Register::new(3, 0, 12, 11, 5);

/// Asks all of it.
#[inline(never)]
pub fn probe() {
    let registers = [
        ("PMR", ICC_PMR, true),
        ("BPR0", ICC_BPR0, true),
        ("BPR1", ICC_BPR1, true),
        ("CTLR", ICC_CTLR, true),
        ("SRE", ICC_SRE, true),
        ("IGRPEN0", ICC_IGRPEN0, true),
        ("IGRPEN1", ICC_IGRPEN1, true),
        ("AP0R0", ICC_AP0R0, false),
        ("AP1R0", ICC_AP1R0, false),
        ("AP1R1", ICC_AP1R1, false),
        ("RPR", ICC_RPR, false),
        ("HPPIR0", ICC_HPPIR0, false),
        ("HPPIR1", ICC_HPPIR1, false),
        ("IAR0", ICC_IAR0, false),
        ("IAR1", ICC_IAR1, false),
        ("SGI1R", ICC_SGI1R, false),
    ];
    for (name, register, writable) in registers {
        let before = register.read();
        say(format_args!("icc {name}"), Outcome(before));
        for value in [u32::MAX.into(), 0].into_iter().filter(|_| writable) {
            let after = wild::write(register, value).and_then(|()| register.read());
            say(format_args!("icc {name} after {value:#x}"), Outcome(after));
        }
        if let (true, Ok(before)) = (writable, before) {
            let _ = wild::write(register, before);
        }
    }
}
