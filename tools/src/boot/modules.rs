//! Where the modules lie in the machine's memory.

use std::path::PathBuf;

use miette::miette;
use mote_builder::addr::{Pa, PaRange};

use crate::failure::{Failure, Result};

/// Modules start at multiples of this: the hypervisors map memory in blocks of it.
const ALIGNMENT: u64 = 2 << 20;
/// QEMU puts the machine's device tree at half of RAM, but no further than this from its start.
const QEMU_TREE_MAX: u64 = 128 << 20;
/// Room for the device tree and whatever QEMU puts beside it.
const QEMU_TREE_ROOM: u64 = 4 << 20;

/// A module whose bytes are in a file.
#[derive(Clone, Debug)]
pub struct File {
    /// The path of the module's node.
    pub node: String,
    /// The file with its bytes.
    pub path: PathBuf,
    /// The file's length in bytes.
    pub size: u64,
}

/// A module with its place in the machine's memory.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The module.
    pub file: File,
    /// Where it lies.
    pub range: PaRange,
}

/// Where QEMU puts the machine's device tree.
#[must_use]
pub const fn machine_tree(ram: PaRange) -> u64 {
    (ram.base().0 + qemu_tree_offset(ram)).next_multiple_of(ALIGNMENT)
}

const fn qemu_tree_offset(ram: PaRange) -> u64 {
    let half = ram.size() / 2;
    if half < QEMU_TREE_MAX { half } else { QEMU_TREE_MAX }
}

/// Gives every one of `files` a place in `ram`, after the device tree and without overlap.
///
/// # Errors
///
/// They do not all fit: the message says how much memory would do.
pub fn place(ram: PaRange, files: Vec<File>) -> Result<Vec<Placed>> {
    let mut next = machine_tree(ram) + QEMU_TREE_ROOM;
    let mut placed = Vec::with_capacity(files.len());
    for file in files {
        let start = next.next_multiple_of(ALIGNMENT);
        next = start.saturating_add(file.size);
        placed.extend(PaRange::new(Pa(start), file.size).map(|range| Placed { file, range }));
    }
    if next > ram.end().0 {
        let needed = (next - ram.base().0).div_ceil(1 << 20);
        return Err(Failure::misused(vec![miette!(
            help = format!("give the machine more memory: --memory {}G", needed.div_ceil(1024) + 1),
            "the guests' files do not fit: the machine has {} MiB, they need {needed} MiB",
            ram.size() >> 20
        )]));
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(sizes: &[u64]) -> Vec<File> {
        let file = |&size| File { node: String::new(), path: PathBuf::new(), size };
        sizes.iter().map(file).collect()
    }

    fn ram(mib: u64) -> PaRange {
        PaRange::new(Pa(0x4000_0000), mib << 20).expect("small")
    }

    #[test]
    fn modules_are_aligned_disjoint_and_clear_of_the_device_tree() {
        let placed = place(ram(2048), files(&[1, 35_000_000, ALIGNMENT, 7])).expect("they fit");
        assert!(placed[0].range.base().0 >= 0x4000_0000 + QEMU_TREE_MAX + QEMU_TREE_ROOM);
        for (i, a) in placed.iter().enumerate() {
            assert_eq!(a.range.base().0 % ALIGNMENT, 0);
            assert_eq!(a.range.size(), a.file.size);
            assert!(ram(2048).contains(a.range));
            assert!(placed[i + 1..].iter().all(|b| !a.range.overlaps(b.range)));
        }
    }

    #[test]
    fn a_small_machine_has_its_tree_at_half_of_its_memory() {
        let placed = place(ram(64), files(&[4096])).expect("it fits");
        assert_eq!(placed[0].range.base().0, 0x4000_0000 + (36 << 20));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let failure = place(ram(128), files(&[100 << 20])).expect_err("too much");
        assert!(failure.to_string().contains("--memory 2G"), "{failure}");
    }
}
