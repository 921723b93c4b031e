//! Linux on the same machine without a hypervisor.

use std::io;

use crate::boot::machine::{Machine, Memory};
use crate::cli::Hypervisor;
use crate::command::measure::{PATIENCE, check_end};
use crate::console::Console;
use crate::failure::Result;
use crate::progress::Step;
use crate::session::{self, Wish};
use crate::setup::{self, Linux, Need};

/// What the first program prints: the counter at its first instruction.
const READY: &str = "init: ready ";

/// The instructions from power-on to the first one of Linux' first program, if it said.
///
/// # Errors
///
/// The machine cannot be booted, or does not come to its end.
pub fn linux_to_init(like: &Machine) -> Result<Option<u64>> {
    const LINUX: Linux = Linux::V6_12;
    let paths = setup::ensure(&[Need::Qemu, Need::Kernel(LINUX), Need::Initramfs(LINUX)])?;
    // As much memory as the guest has in the other case: what it clears and lists depends on it.
    let machine = Machine { hypervisor: false, memory: Memory::from_mib(256), ..like.clone() };
    let mut arguments = machine.arguments();
    let (kernel, ramdisk) = (paths.kernel(LINUX), paths.initramfs(LINUX));
    for (option, value) in [("-kernel", kernel), ("-initrd", ramdisk)] {
        arguments.extend([option.into(), value.display().to_string()]);
    }
    arguments.extend(["-append".into(), "console=ttyAMA0".into()]);

    let step = Step::begin(format!("Linux without a hypervisor, boot {}", like.seed));
    let mut ready = None;
    let mut console = Console::new(Hypervisor::Mote, Vec::new(), io::sink()).watched(|line| {
        step.detail(&line.text);
        if let Some(ticks) = line.text.strip_prefix(READY) {
            ready = ticks.trim().parse().ok();
        }
        Wish::GoOn
    });
    check_end(session::run(&arguments, false, Some(PATIENCE), &mut console)?)?;
    drop(console);
    Ok(ready)
}
