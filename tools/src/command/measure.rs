//! Boots that are measured: on one CPU, with the clock counting instructions.

use std::io;
use std::time::Duration;

use miette::miette;

use crate::boot::Boot;
use crate::boot::machine::Machine;
use crate::cli::Hypervisor;
use crate::config::Config;
use crate::console::{Heard, Line};
use crate::failure::{Failure, Result};
use crate::progress::Step;
use crate::session::{End, Wish};
use crate::setup::{self, Need};
use crate::workspace;

/// Far longer than any measurement takes: what is not over by then will never be.
pub(super) const PATIENCE: Duration = Duration::from_secs(1800);

/// Boots the workspace's configuration `file` on `hypervisor` and `machine`, has `watch` see every line, and returns what was heard when all guests have ended.
///
/// # Errors
///
/// It cannot be booted, or does not come to an end.
pub(super) fn boot(
    file: &str,
    machine: &Machine,
    hypervisor: Hypervisor,
    title: &str,
    mut watch: impl FnMut(&Line),
) -> Result<Heard> {
    setup::ensure(&[Need::Qemu, Need::Dtc])?;
    let config = Config::load(&workspace::root().join(file), machine.memory)?;
    let boot = Boot::prepare(&config, machine, hypervisor, false)?;
    let step = Step::begin(title);
    let console = boot.console(io::sink()).watched(|line| {
        step.detail(&line.text);
        watch(line);
        Wish::GoOn
    });
    let (end, heard) = boot.run(Some(PATIENCE), console)?;
    drop(step);
    check_end(end)?;
    if heard.panicked {
        let words = boot.explain(&heard).join("\n");
        return Err(Failure::unable(miette!("the hypervisor panicked\n{words}")));
    }
    Ok(heard)
}

/// A measurement that was broken off has no result.
///
/// # Errors
///
/// Then.
pub(super) fn check_end(end: End) -> Result<()> {
    match end {
        End::PoweredOff | End::Finished => Ok(()),
        End::Left | End::Signalled(_) => Err(Failure::unable(miette!("interrupted"))),
        End::TimedOut => Err(Failure::unable(miette!("the machine did not come to an end"))),
    }
}
