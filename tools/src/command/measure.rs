//! Boots that are measured: on one CPU, with the clock counting instructions.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
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
/// What a guest that measures says when it has measured all.
pub(super) const DONE: &str = "bench: done";
/// How often is looked whether something has come about.
const LOOK: Duration = Duration::from_millis(50);

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

/// What somebody has who deals with a machine from outside while it runs.
#[derive(Debug)]
pub(super) struct Outside<'a> {
    /// How the machine is found.
    pub state: &'a State,
    /// What the user is told.
    pub step: &'a Step,
    /// Everything that it prints.
    pub lines: Receiver<Line>,
    is_over: &'a AtomicBool,
}

impl Outside<'_> {
    /// Whether the machine has ended: then nothing comes about any more.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Waits until something `is_so`, of which the user is told as `what`.
    ///
    /// # Errors
    ///
    /// The machine ends before, or it cannot be found out.
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
        self.step.detail(what);
        while !is_so()? {
            if self.is_over() {
                return Err(Failure::unable(miette!("the machine ended before {what}")));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// Boots the workspace's configuration `file` on `machine` and does `work` with it from outside while it runs, which has to end it.
///
/// # Errors
///
/// The machine cannot be booted, `work` fails, or the machine does not come to an end.
pub(super) fn work<T: Send>(
    file: &str,
    machine: &Machine,
    title: &str,
    work: impl FnOnce(&Outside<'_>) -> Result<T> + Send,
) -> Result<(Heard, T)> {
    let (config, boot) = prepare(file, machine, Hypervisor::Mote)?;
    let (state, step) = (boot.state(&config), Step::begin(title));
    let (is_over, has_failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let (speaker, lines) = channel();
    let outside = Outside { state: &state, step: &step, lines, is_over: &is_over };
    let (ran, worked) = thread::scope(|scope| {
        let has_failed = &has_failed;
        let worker = scope.spawn(move || {
            let worked = work(&outside);
            has_failed.store(worked.is_err(), Ordering::Relaxed);
            worked
        });
        let console = boot.console(io::sink()).until(has_failed).watched(|line| {
            // Whoever works may have heard enough.
            let _ = speaker.send(line.clone());
            Wish::GoOn
        });
        let ran = boot.run(Some(PATIENCE), console);
        is_over.store(true, Ordering::Relaxed);
        (ran, worker.join())
    });
    let (end, heard) = ran?;
    let worked = worked.map_err(|_| Failure::unable(miette!("the measurement panicked")))??;
    check_end(end)?;
    Ok((heard, worked))
}

/// The machine of the workspace's configuration `file`.
///
/// # Errors
///
/// It cannot be booted.
pub(super) fn prepare(file: &str, machine: &Machine, hypervisor: Hypervisor) -> Result<(Config, Boot)> {
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
