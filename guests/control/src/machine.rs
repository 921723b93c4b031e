//! The machine's device tree, in which the configuration is.

use alloc::vec::Vec;
use core::ops::Range;

use mote_builder::addr::PaRange;
use mote_builder::config::Configuration;
use mote_builder::random::Seeds;
use mote_builder::tree::{Malformed, Tree};
use mote_unikernel::Machine;
use mote_unikernel::xen::boot::BootMemory;
use thiserror::Error;

/// Why there is nothing to build.
#[derive(Debug, Error)]
pub enum MachineError {
    /// The domain's own tree does not name it, or it is not there.
    #[error("/chosen/mote,machine-tree does not say where the machine's device tree is")]
    Missing,
    /// It is none.
    #[error("the machine's device tree: {0}")]
    Malformed(#[from] Malformed),
}

/// What is to be built, seeds for it, and where all lies that the boot loader left.
pub type Found = (Configuration, Seeds, Vec<Range<u64>>);

/// Reads the machine's device tree.
///
/// If the boot loader's modules are gone, because this is not the first control domain, the configuration is read all the same.
///
/// # Errors
/// If there is none.
pub fn read(machine: &Machine, boot: &BootMemory, before: u8) -> Result<Found, MachineError> {
    let (base, bytes) = find(machine, boot).ok_or(MachineError::Missing)?;
    let tree = Tree::check(bytes)?;
    let configuration = Configuration::read(&tree, |range| before > 0 || module(boot, range).is_some());
    let modules = tree.nodes().filter(|node| node.is_compatible("multiboot,module"));
    let ranges = modules.filter_map(|node| node.ranges().first().copied());
    let is_there = |range: &PaRange| module(boot, *range).is_some();
    let modules = ranges.filter(is_there).map(|range| range.base().0..range.end().0);
    let own = base..base + bytes.len() as u64;
    let all = modules.chain([own]).collect();
    Ok((configuration, Seeds::new(&tree).again(before), all))
}

/// The bytes of a module.
pub fn module(boot: &BootMemory, range: PaRange) -> Option<&[u8]> {
    boot.bytes(range.base().0, range.size())
}

/// Where the machine's tree is, and its bytes.
fn find<'a>(machine: &Machine, boot: &'a BootMemory) -> Option<(u64, &'a [u8])> {
    let base = u64::from_be_bytes(machine.chosen("mote,machine-tree")?.try_into().ok()?);
    let size = boot.bytes(base, 8)?.last_chunk().map(|size| u32::from_be_bytes(*size))?;
    Some((base, boot.bytes(base, size.into())?))
}
