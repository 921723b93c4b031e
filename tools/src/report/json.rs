//! What a run measured, as a file for programs.

use std::path::Path;

use serde::Serialize;

use super::Report;
use crate::boot::machine::Machine;
use crate::cli::Hypervisor;
use crate::console::Heard;
use crate::failure::Result;
use crate::workspace;

/// The figures of one run.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    /// `mote` or `xen`.
    pub hypervisor: &'static str,
    /// The emulated CPU's model.
    pub cpu: &'a str,
    /// Physical CPUs.
    pub cpus: u32,
    /// Physical memory in bytes.
    pub memory_bytes: u64,
    /// Whether the ticks in the reports are instructions.
    pub ticks_are_instructions: bool,
    /// The hypervisor's reports, in the order in which it made them.
    pub reports: &'a [Report],
}

impl<'a> Document<'a> {
    /// The figures that were `heard` from `machine`.
    #[must_use]
    pub fn of_run(machine: &'a Machine, hypervisor: Hypervisor, heard: &'a Heard) -> Self {
        Self {
            hypervisor: hypervisor.name(),
            cpu: &machine.cpu,
            cpus: machine.cpus,
            memory_bytes: machine.memory.bytes(),
            ticks_are_instructions: machine.icount,
            reports: &heard.reports,
        }
    }

    /// Writes them to `file`.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        write(file, self)
    }
}

/// Writes any figures to `file`.
///
/// # Errors
///
/// The file cannot be written.
pub fn write(file: &Path, figures: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(figures).map_err(|error| miette::miette!("{error}"))?;
    text.push(b'\n');
    Ok(workspace::replace_file(file, &text)?)
}
