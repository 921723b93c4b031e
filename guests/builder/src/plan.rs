//! How a domain is built, as far as it can be said without building it: what must lie where when its first vCPU starts.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use thiserror::Error;

use crate::addr::Ipa;
use crate::config::Definition;
use crate::guest_tree::{self, TreeError};
use crate::image::{self, ImageError, Kernel};
use crate::layout::{self, IpaRange, Layout, LayoutError};
use crate::passthrough::{DeviceError, Devices};
use crate::random::SEED;
use crate::tree::{Malformed, Tree};

/// The bytes that a domain is built from.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    /// Its kernel.
    pub kernel: &'a [u8],
    /// Its initial RAM disk.
    pub ramdisk: Option<&'a [u8]>,
    /// Its partial device tree, at a multiple of 8.
    pub device_tree: Option<&'a [u8]>,
}

/// Why a domain cannot be built.
#[derive(Debug, Error)]
pub enum PlanError {
    /// Its kernel is none.
    #[error("its kernel cannot be loaded: {0}")]
    Kernel(#[from] ImageError),
    /// Its content does not fit its memory.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Its partial device tree is malformed.
    #[error("its partial device tree is malformed: {0}")]
    PartialTree(#[from] Malformed),
    /// A device that it is to get cannot be given away.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// It is to get devices and is no driver domain.
    #[error("its partial device tree names devices, which only a domain with mote,driver gets")]
    NoDriver,
    /// Its device tree cannot be made.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// A domain that can be built.
pub struct Plan<'a> {
    definition: &'a Definition,
    images: Images<'a>,
    kernel: Kernel,
    partial: Option<Tree<'a>>,
    devices: Devices,
}

/// What is in a domain's memory when it starts; all else is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents<'a> {
    /// Bytes and where they go. They do not overlap.
    pub pieces: Vec<(Ipa, Cow<'a, [u8]>)>,
    /// Its first instruction.
    pub entry: Ipa,
    /// Its device tree, whose address the first vCPU finds in x0.
    pub tree: Ipa,
}

impl<'a> Plan<'a> {
    /// Looks at what a domain is to be built from.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn new(definition: &'a Definition, images: Images<'a>) -> Result<Self, PlanError> {
        let kernel = image::parse(images.kernel, images.kernel.len() as u64)?;
        let partial = images.device_tree.map(Tree::check).transpose()?;
        let devices = partial.as_ref().map(Devices::read).transpose()?.unwrap_or_default();
        if !devices.is_empty() && !definition.driver {
            return Err(PlanError::NoDriver);
        }
        Ok(Self { definition, images, kernel, partial, devices })
    }

    /// The devices that it gets.
    #[must_use]
    pub const fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Where its memory is, unless it is where the machine has it.
    ///
    /// # Errors
    /// If it is more than the memory map has room for.
    pub fn banks(&self) -> Result<Vec<IpaRange>, PlanError> {
        Ok(layout::banks(self.definition.memory)?)
    }

    /// What goes where in memory that is at `banks`. With no `seed` the domain is told of no entropy.
    ///
    /// # Errors
    /// Why it does not.
    pub fn place(&self, mut banks: Vec<IpaRange>, seed: Option<[u8; SEED]>) -> Result<Contents<'a>, PlanError> {
        let tree_size = guest_tree::size(self.definition, banks.len(), self.partial.as_ref())?;
        let ramdisk_size = self.images.ramdisk.map(|ramdisk| ramdisk.len() as u64);
        if self.definition.direct_map {
            // Frames that the machine had: the more of them, the more fits.
            let largest = (0..banks.len()).rev().max_by_key(|index| banks.get(*index).map(|bank| bank.size));
            banks.swap(0, largest.unwrap_or(0));
        }
        let layout = Layout::new(banks, &self.kernel, ramdisk_size, tree_size)?;
        let tree = guest_tree::build(self.definition, &layout, self.partial.as_ref(), seed)?;
        let base = layout.kernel.base.0;
        let mut pieces: Vec<(Ipa, Cow<'a, [u8]>)> = Vec::new();
        for segment in &self.kernel.segments {
            let (from, to) = (segment.offset as usize, segment.offset.saturating_add(segment.length) as usize);
            let bytes = self.images.kernel.get(from..to).ok_or(ImageError::Truncated)?;
            pieces.push((Ipa(base + segment.target), bytes.into()));
        }
        if let (Some(bytes), Some(place)) = (self.images.ramdisk, layout.ramdisk) {
            pieces.push((place.base, bytes.into()));
        }
        pieces.push((layout.tree.base, tree.into()));
        Ok(Contents { pieces, entry: Ipa(base + self.kernel.entry), tree: layout.tree.base })
    }
}

#[cfg(test)]
mod tests;
