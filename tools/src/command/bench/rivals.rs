//! What Linux offers instead of a clone, on the same machine without Mote: a process, and a virtual machine by KVM.

use std::fs;
use std::io;

use miette::{IntoDiagnostic, WrapErr};

use super::{Values, read};
use crate::boot::machine::Machine;
use crate::build::{self, Package};
use crate::cli::Hypervisor;
use crate::command::measure::{PATIENCE, check_end};
use crate::console::Console;
use crate::failure::Result;
use crate::progress::Step;
use crate::session::{self, Wish};
use crate::setup::{self, Archive, Linux, Need, Target, kind};

const LINUX: Linux = Linux::V6_12;
/// The program that measures. Linux has no other.
const PROGRAM: Package<'static> = Package { name: "linux-rival", program: "rival", target: Target::Guest };

/// Boots Debian's Linux at EL2, as KVM wants it, and returns what its first program measured there.
///
/// # Errors
///
/// The machine cannot be booted, or does not come to its end.
pub fn measure() -> Result<Values> {
    let paths = setup::ensure(&[Need::Qemu, Need::Kernel(LINUX), Need::Target(Target::Guest)])?;
    let step = Step::begin("processes and KVM on Linux");
    let program = build::compile(&PROGRAM, &step)?;
    let scratch = tempfile::tempdir().into_diagnostic().wrap_err("cannot make a temporary directory")?;
    let ramdisk = scratch.path().join("initramfs");
    let pack = || {
        let mut archive = Archive::default();
        archive.add("dev", kind::DIRECTORY | 0o755, &[])?;
        archive.add_device(setup::CONSOLE)?;
        archive.add("init", kind::FILE | 0o755, &fs::read(&program)?)?;
        fs::write(&ramdisk, archive.finish()?)
    };
    pack().into_diagnostic().wrap_err("cannot put the initramfs together")?;
    let mut arguments = Machine::for_measuring().arguments();
    for (option, value) in [("-kernel", paths.kernel(LINUX)), ("-initrd", ramdisk)] {
        arguments.extend([option.into(), value.display().to_string()]);
    }
    arguments.extend(["-append".into(), "console=ttyAMA0 quiet".into()]);

    let mut values = Values::new();
    let mut console = Console::new(Hypervisor::Mote, Vec::new(), io::sink()).watched(|line| {
        step.detail(&line.text);
        values.extend(read(&line.text));
        Wish::GoOn
    });
    check_end(session::run(&arguments, false, Some(PATIENCE), &mut console)?)?;
    drop(console);
    Ok(values)
}
