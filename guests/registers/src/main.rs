//! Reads every system register that an MRS can name and writes each value that it got back, and tells what answered.
//!
//! Whatever the hypervisor does not mean a guest to see must be undefined, and nothing else may come of it. With
//! the argument `list=yes` the readable ones are listed with their values, to be compared between hypervisors.

#![no_std]
#![no_main]

use core::fmt;

use mote_unikernel::{Machine, exceptions::Fault, interrupts, println};
use registers::Register;

mote_unikernel::entry!(main);

fn main(machine: Machine) {
    let list = machine.argument("list").is_some();
    let mut answers = Answers::default();
    for register in Register::all() {
        // What was pending here would be acknowledged by the reading of it.
        let (read, written) = interrupts::masked(|| {
            let read = register.read();
            // SAFETY: the register has this value.
            (read, read.ok().map(|value| unsafe { register.write(value) }))
        });
        answers.count(read.is_ok(), read.err(), written);
        if let (true, Ok(value)) = (list, read) {
            println!("registers: {register} = {value:#x}");
        }
        if let Some(fault) = read.err().filter(|fault| !is_refusal(fault)) {
            println!("registers: {register} gives syndrome {:#x}", fault.syndrome);
        }
    }
    println!("registers: {answers}");
    assert_eq!(answers.strange, 0, "answers other than a value or an undefined instruction");
    println!("registers: ok");
}

/// Whether the register is as good as absent: undefined, or, on CPUs that tell these apart, a gap among the feature
/// registers (FEAT_IDST), or SVE's or SME's while CPACR_EL1 has it off (Arm ARM D24.2.45).
fn is_refusal(fault: &Fault) -> bool {
    const SYSTEM_REGISTER: u64 = 0x18;
    const SVE: u64 = 0x19;
    const SME: u64 = 0x1d;
    fault.is_undefined() || matches!(fault.class(), SYSTEM_REGISTER | SVE | SME)
}

#[derive(Default)]
struct Answers {
    read: u32,
    undefined: u32,
    written: u32,
    strange: u32,
}

impl Answers {
    fn count(&mut self, readable: bool, fault: Option<Fault>, written: Option<Result<(), Fault>>) {
        self.read += u32::from(readable);
        self.undefined += u32::from(fault.as_ref().is_some_and(is_refusal));
        self.written += u32::from(matches!(written, Some(Ok(()))));
        for fault in [fault, written.and_then(Result::err)].into_iter().flatten() {
            self.strange += u32::from(!is_refusal(&fault));
        }
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read, undefined, written, strange } = self;
        write!(f, "{read} readable, {written} of them writable, {undefined} undefined, {strange} strange")
    }
}
