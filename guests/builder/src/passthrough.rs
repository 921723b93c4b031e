//! The machine's devices that a domain gets: the nodes of its partial device tree, below `/passthrough`, that name them in Xen's binding
//! (`docs/misc/arm/passthrough.txt`).

use alloc::vec::Vec;

use thiserror::Error;

use crate::addr::PAGE_SIZE;
use crate::sorted;
use crate::tree::{Node, Tree};

/// What the binding says to the hypervisor, not to the guest: it is not copied.
pub const PROPERTIES: [&str; 3] = ["xen,reg", "xen,path", "xen,force-assign-without-iommu"];

/// How deep devices are looked for.
const MAX_DEPTH: usize = 16;
/// Cells of a GIC's interrupt specifier, the kind of a shared interrupt, and its INTID's beginning.
const INTERRUPT_CELLS: usize = 3;
const SHARED: u32 = 0;
const FIRST_SPI: u32 = 32;
const SPIS: u32 = 988;

/// Pages of devices, and where the domain sees them: frame numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pages {
    /// The guest's first.
    pub gfn: u64,
    /// The machine's first.
    pub mfn: u64,
    /// How many.
    pub count: u64,
}

/// What of the machine a domain gets. No page and no interrupt is in it twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// Registers.
    pub pages: Vec<Pages>,
    /// Shared peripheral interrupts, as INTIDs. The guest has the machine's numbers.
    pub interrupts: Vec<u32>,
    /// Where the registers of those are that speak virtio, as addresses of the machine.
    pub virtio: Vec<u64>,
}

/// Why a device cannot be given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// `xen,reg` cannot be read, or moves a part of a page.
    #[error("a device's xen,reg is not address, size and the guest's address, with the same place in a page")]
    Registers,
    /// `interrupts` cannot be read.
    #[error("a device's interrupts are not the GIC's shared ones in three cells each")]
    Interrupts,
    /// It may write all of the machine's memory, and nobody says that this is meant.
    #[error("a device has no xen,force-assign-without-iommu, and there is no IOMMU")]
    Iommu,
    /// Devices within devices without end.
    #[error("devices are nested too deep")]
    Depth,
}

impl Devices {
    /// The devices that a partial tree names.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn read(partial: &Tree<'_>) -> Result<Self, DeviceError> {
        let mut devices = Self::default();
        if let Some(passthrough) = partial.node("/passthrough") {
            devices.add_below(passthrough, MAX_DEPTH)?;
        }
        devices.pages = sorted(devices.pages);
        devices.pages.dedup();
        devices.pages.dedup_by(|next, run| {
            let follows = (next.gfn, next.mfn) == (run.gfn + run.count, run.mfn + run.count);
            run.count += if follows { next.count } else { 0 };
            follows
        });
        devices.interrupts = sorted(devices.interrupts);
        devices.interrupts.dedup();
        Ok(devices)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.interrupts.is_empty()
    }

    fn add_below(&mut self, parent: Node<'_>, depth: usize) -> Result<(), DeviceError> {
        let below = depth.checked_sub(1).ok_or(DeviceError::Depth)?;
        for node in parent.children() {
            self.add(parent, node)?;
            self.add_below(node, below)?;
        }
        Ok(())
    }

    fn add(&mut self, parent: Node<'_>, node: Node<'_>) -> Result<(), DeviceError> {
        if !node.has("xen,reg") && !node.has("xen,path") {
            return Ok(());
        }
        if !node.has("xen,force-assign-without-iommu") {
            return Err(DeviceError::Iommu);
        }
        if let Some(bytes) = node.bytes("xen,reg") {
            self.add_registers(parent, bytes)?;
        }
        self.virtio.extend(self.virtio_address(parent, node));
        if node.has("interrupts") {
            let cells: Vec<u32> = node.words("interrupts").ok_or(DeviceError::Interrupts)?.collect();
            let (specifiers, rest) = cells.as_chunks::<INTERRUPT_CELLS>();
            if !rest.is_empty() {
                return Err(DeviceError::Interrupts);
            }
            for specifier in specifiers {
                self.interrupts.push(shared(*specifier).ok_or(DeviceError::Interrupts)?);
            }
        }
        Ok(())
    }

    /// Where the node's registers are in the machine, if it speaks virtio: `reg` says where the domain sees them.
    fn virtio_address(&self, parent: Node<'_>, node: Node<'_>) -> Option<u64> {
        let mut names = node.bytes("compatible")?.split(|byte| *byte == 0);
        names.find(|name| *name == b"virtio,mmio")?;
        let width = parent.number("#address-cells").filter(|width| (1..=2).contains(width)).unwrap_or(2) as usize * 4;
        let address = take(&mut node.bytes("reg")?.get(..width)?, width);
        let page = self.pages.iter().find(|page| page.gfn == address / PAGE_SIZE)?;
        Some(page.mfn * PAGE_SIZE + address % PAGE_SIZE)
    }

    /// Triples of the machine's address, size and the guest's address, in the parent's cells.
    fn add_registers(&mut self, parent: Node<'_>, bytes: &[u8]) -> Result<(), DeviceError> {
        let cells = |name, unless_said| parent.number(name).unwrap_or(unless_said);
        let widths = [cells("#address-cells", 2), cells("#size-cells", 1), cells("#address-cells", 2)];
        let triple: usize = widths.iter().map(|width| *width as usize * 4).sum();
        if widths.iter().any(|width| !(1..=2).contains(width)) || !bytes.len().is_multiple_of(triple) {
            return Err(DeviceError::Registers);
        }
        for mut region in bytes.chunks_exact(triple) {
            let [machine, size, guest] = widths.map(|width| take(&mut region, width as usize * 4));
            self.pages.extend(pages(machine, size, guest).ok_or(DeviceError::Registers)?);
        }
        Ok(())
    }
}

/// Takes a big-endian number off the beginning.
fn take(bytes: &mut &[u8], width: usize) -> u64 {
    let (value, rest) = bytes.split_at(width.min(bytes.len()));
    *bytes = rest;
    value.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The whole pages of a region, one by one so that two devices may share one.
fn pages(machine: u64, size: u64, guest: u64) -> Option<impl Iterator<Item = Pages>> {
    /// Larger devices are none that this machine has.
    const MAX_PAGES: u64 = 1 << 14;
    let (mfn, gfn) = (machine / PAGE_SIZE, guest / PAGE_SIZE);
    let count = machine.checked_add(size)?.div_ceil(PAGE_SIZE).checked_sub(mfn)?;
    guest.checked_add(size)?;
    let fits = machine % PAGE_SIZE == guest % PAGE_SIZE && size > 0 && count <= MAX_PAGES;
    fits.then(|| (0..count).map(move |page| Pages { gfn: gfn + page, mfn: mfn + page, count: 1 }))
}

/// The INTID of a shared interrupt.
fn shared([kind, number, _]: [u32; INTERRUPT_CELLS]) -> Option<u32> {
    (kind == SHARED && number < SPIS).then(|| number + FIRST_SPI)
}

#[cfg(test)]
mod tests;
