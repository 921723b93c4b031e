//! What is to be booted: a device-tree source file, read and checked.
//!
//! Every mistake is found in one pass and shown with its place in the file. The tree itself stays
//! as written: [`crate::boot`] adds to it, nothing here removes from it.

mod check;
mod devices;
mod dtc;
pub(crate) mod kernel;
mod mistake;
mod positions;
mod property;
pub mod source;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use dtoolkit::model::DeviceTree;
use miette::miette;

use crate::boot::machine::Memory;
use crate::failure::{Failure, Result};
use source::Source;

/// The `compatible` value of a guest's node.
pub const DOMAIN: &str = "xen,domain";

/// A configuration without a mistake.
#[derive(Debug, Default)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// The whole tree of the file.
    pub tree: DeviceTree,
    /// The guests, in the order of the file, which is the order of their domain numbers.
    pub domains: Vec<Domain>,
    /// What the configuration says of the control domain.
    pub control: Control,
}

/// The control domain, which builds the guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Its node's name, if it has one.
    pub node: Option<String>,
    /// Memory in bytes.
    pub memory: u64,
    /// The package of this workspace that it is.
    pub guest: String,
    /// Its ports that are to be reached from this machine, besides the API's.
    pub publish: Vec<Publish>,
}

impl Control {
    /// Memory in bytes unless said, and where there is a driver domain: then images can be sent to it.
    pub const USUAL: u64 = 2 << 20;
    /// See [`Control::USUAL`].
    pub const WITH_NETWORK: u64 = 4 << 20;
}

impl Default for Control {
    fn default() -> Self {
        Self { node: None, memory: Self::USUAL, guest: mote_builder::config::CONTROL.into(), publish: Vec::new() }
    }
}

/// A guest.
#[derive(Debug, Default)]
pub struct Domain {
    /// Its node's name, which is its own.
    pub name: String,
    /// Memory in bytes.
    pub memory: u64,
    /// Whether its kernel is told when somebody sits at the console (`mote,shell`).
    pub shell: bool,
    /// What is loaded for it.
    pub modules: Vec<Module>,
    /// Its disks.
    pub disks: Vec<Disk>,
    /// Whether it is to have devices of the machine.
    pub driver: bool,
    /// Whether it vanishes when it ends, without a report.
    pub ephemeral: bool,
    /// Its ports that are to be reached from this machine.
    pub publish: Vec<Publish>,
}

/// A port on loopback that leads to a guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The port on loopback; 0 for any.
    pub host: u16,
    /// The guest's address.
    pub address: Ipv4Addr,
    /// The guest's port.
    pub guest: u16,
}

/// A disk of a guest's: a file of this machine, which the emulated one has as a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// By this serial number the emulated machine's disk is known as the guest's.
    pub serial: String,
    /// Its content.
    pub file: PathBuf,
    /// Whether it cannot be written.
    pub read_only: bool,
}

/// Bytes to be loaded for a guest.
#[derive(Clone, Debug)]
pub struct Module {
    /// The path of its node.
    pub node: String,
    /// What the bytes are for.
    pub role: Role,
    /// Where they come from.
    pub source: Source,
}

/// What a module is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The program that the guest starts with.
    Kernel,
    /// The kernel's initial file system.
    Ramdisk,
    /// Nodes to be added to the guest's device tree.
    DeviceTree,
}

impl Role {
    /// Every role with the `compatible` value that says so.
    const ALL: [(Self, &'static str); 3] = [
        (Self::Kernel, "multiboot,kernel"),
        (Self::Ramdisk, "multiboot,ramdisk"),
        (Self::DeviceTree, "multiboot,device-tree"),
    ];
}

impl Config {
    /// Reads and checks the file at `path` for a machine with `memory`.
    ///
    /// # Errors
    ///
    /// Every mistake in the file, or the one reason why it could not be read.
    pub fn load(path: &Path, memory: Memory) -> Result<Self> {
        Self::load_beside(path, memory, None)
    }

    /// Reads and checks the file at `path` for a machine that runs, with `memory` and guests called so.
    ///
    /// # Errors
    ///
    /// Every mistake in the file, or the one reason why it could not be read.
    pub fn load_for_running(path: &Path, memory: Memory, guests: &[String]) -> Result<Self> {
        Self::load_beside(path, memory, Some(guests))
    }

    fn load_beside(path: &Path, memory: Memory, running: Option<&[String]>) -> Result<Self> {
        if !path.is_file() {
            return Err(Failure::misused(vec![miette!(
                help = "name a device-tree source file, such as dtb/demo.dts",
                "{}: there is no such file",
                path.display()
            )]));
        }
        let compiled = dtc::compile(path)?;
        let mut mistakes = compiled.mistakes;
        let (tree, (domains, control)) = match compiled.tree {
            Some(tree) => {
                let (found, wrong) = check::check(&tree, directory(path), memory, running);
                mistakes.extend(wrong);
                (tree, found)
            }
            None => (DeviceTree::new(), Default::default()),
        };
        if mistakes.is_empty() {
            return Ok(Self { path: path.into(), tree, domains, control });
        }
        let places = compiled.positions;
        Err(Failure::misused(mistakes.into_iter().map(|m| m.into_report(&places)).collect()))
    }
}

/// The directory that holds `path`.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
