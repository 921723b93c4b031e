//! Boots that are measured: on one CPU, with the clock counting instructions.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use miette::miette;

use crate::boot::Boot;
use crate::boot::machine::Machine;
use crate::cli::Hypervisor;
use crate::config::Config;
use crate::console::{Heard, Line};
use crate::failure::{Failure, Result};
use crate::progress::Step;
use crate::running::State;
use crate::session::{End, Wish};
use crate::setup::{self, Need};
use crate::workspace;

/// Far longer than any measurement takes: what is not over by then will never be.
pub(super) const PATIENCE: Duration = Duration::from_secs(1800);

/// Boots the workspace's configuration `file` on `hypervisor` and `machine`, has `watch` see every line, and returns what was heard when all guests have ended
/// or `watch` has had enough.
///
/// # Errors
///
/// It cannot be booted, or does not come to an end.
pub(super) fn boot(
    file: &str,
    machine: &Machine,
    hypervisor: Hypervisor,
    title: &str,
    mut watch: impl FnMut(&Line) -> Wish,
) -> Result<Heard> {
    let (_, boot) = prepare(file, machine, hypervisor)?;
    let step = Step::begin(title);
    let console = boot.console(io::sink()).watched(|line| {
        step.detail(&line.text);
        watch(line)
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

/// Boots the workspace's configuration `file` on `machine` and does `work` with it from outside while it runs, which has to end it.
/// `work` should give up when the flag that it gets is set: then the machine has ended.
///
/// # Errors
///
/// The machine cannot be booted, `work` fails, or the machine does not come to an end.
pub(super) fn work<T: Send>(
    file: &str,
    machine: &Machine,
    title: &str,
    work: impl FnOnce(&State, &Step, &AtomicBool) -> Result<T> + Send,
) -> Result<(Heard, T)> {
    let (config, boot) = prepare(file, machine, Hypervisor::Mote)?;
    let (state, step) = (boot.state(&config), Step::begin(title));
    let (is_over, has_failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let (ran, worked) = thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let worked = work(&state, &step, &is_over);
            has_failed.store(worked.is_err(), Ordering::Relaxed);
            worked
        });
        let ran = boot.run(Some(PATIENCE), boot.console(io::sink()).until(&has_failed));
        is_over.store(true, Ordering::Relaxed);
        (ran, worker.join())
    });
    let (end, heard) = ran?;
    let worked = worked.map_err(|_| Failure::unable(miette!("the measurement panicked")))??;
    check_end(end)?;
    Ok((heard, worked))
}

/// The machine of the workspace's configuration `file`.
fn prepare(file: &str, machine: &Machine, hypervisor: Hypervisor) -> Result<(Config, Boot)> {
    setup::ensure(&[Need::Qemu, Need::Dtc])?;
    let config = Config::load(&workspace::root().join(file), machine.memory)?;
    let boot = Boot::prepare(&config, machine, hypervisor, false)?;
    Ok((config, boot))
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
