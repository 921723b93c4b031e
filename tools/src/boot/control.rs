//! The control domain: its image and its device tree, which the hypervisor starts it with.

use std::path::Path;

use dtoolkit::fdt::Fdt;
use dtoolkit::model::DeviceTree;
use miette::miette;
use mote_builder::addr::{Ipa, PaRange};
use mote_builder::config::{CONTROL, Definition};
use mote_builder::guest_tree;
use mote_builder::layout::{self, IpaRange, Layout};
use mote_builder::random::SEED;

use super::modules::{File, machine_tree};
use super::tree::{Tree, c_string, set};
use crate::build;
use crate::config::Control;
use crate::failure::{Failure, Result};

/// The files that the control domain starts with, the first the image and the second the tree, which is written in `scratch`
/// and has the `token` that its API asks for.
///
/// # Errors
///
/// It does not compile, or its tree cannot be written.
pub fn files(machine: &Tree, ram: PaRange, control: &Control, token: &str, scratch: &Path) -> Result<Vec<File>> {
    let image = build::guest(&control.guest)?.image;
    let dtb = scratch.join("control.dtb");
    let unable = |what: String| Failure::unable(miette!("{what}"));
    let tree = tree(machine, ram, control.memory, token).map_err(unable)?;
    std::fs::write(&dtb, tree).map_err(|error| unable(format!("cannot write {}: {error}", dtb.display())))?;
    let size = |path: &Path| {
        let data = std::fs::metadata(path);
        data.map(|data| data.len()).map_err(|error| unable(format!("cannot read {}: {error}", path.display())))
    };
    let files = [("control-kernel", &image), ("control-tree", &dtb)];
    files
        .into_iter()
        .map(|(node, path)| Ok(File { node: node.into(), path: path.clone(), size: size(path)? }))
        .collect()
}

/// Its own tree: that of a guest, and where it finds the machine's.
fn tree(machine: &Tree, ram: PaRange, memory: u64, token: &str) -> Result<Vec<u8>, String> {
    let definition = Definition { enhanced: true, ..Definition::bare(CONTROL, memory, ram) };
    let banks = layout::banks(memory).map_err(|error| error.to_string())?;
    // Where the hypervisor puts its image it knows itself.
    let nowhere = IpaRange { base: Ipa(0), size: 0 };
    let layout = Layout { banks, kernel: nowhere, ramdisk: None, tree: nowhere };
    let seed = machine.seed().and_then(|seed| seed.first_chunk::<SEED>().copied());
    let bytes = guest_tree::build(&definition, &layout, None, seed).map_err(|error| error.to_string())?;
    let fdt = Fdt::new(&bytes).map_err(|error| error.to_string())?;
    let mut tree = DeviceTree::from_fdt(&fdt);
    let chosen = tree.find_node_mut("/chosen").ok_or("a guest's tree has no /chosen")?;
    set(chosen, "mote,api-token", c_string(token));
    set(chosen, "mote,machine-tree", machine_tree(ram).to_be_bytes().into());
    Ok(tree.to_dtb())
}
