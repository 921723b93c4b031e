//! What a service's machines boot from: images in the memory of a domain that never runs and stands for the service, so that they are
//! accounted for where they are needed, and outlive this domain.

use mote_builder::addr::{Ipa, PAGE_SIZE};
use mote_builder::layout::IpaRange;
use mote_builder::plan::Images;
use mote_unikernel::Machine;
use mote_unikernel::xen::Errno;
use mote_unikernel::xen::foreign::Region;

use crate::keeper::Place;
use crate::record::Kept;

/// Where the memory is, in frames.
const FIRST_FRAME: u64 = 0x4_0000;

/// The images of a service.
pub struct Stock {
    region: Region,
    /// Where they are, and their sizes.
    pub kept: Kept,
}

/// Where images lie in the memory of such a domain: each begins with a page.
pub fn plan(images: &Images<'_>) -> Kept {
    let sizes = parts(images).map(|part| part.len() as u64);
    let pages: u64 = sizes.iter().map(|size| size.div_ceil(PAGE_SIZE)).sum();
    Kept { place: Place { frame: FIRST_FRAME, pages: pages as u32 }, sizes }
}

/// Kernel, RAM disk, device tree; nothing for what is not there.
pub fn parts<'a>(images: &Images<'a>) -> [&'a [u8]; 3] {
    [Some(images.kernel), images.ramdisk, images.device_tree].map(Option::unwrap_or_default)
}

impl Kept {
    /// All of the memory.
    pub const fn range(&self) -> IpaRange {
        IpaRange { base: Ipa(self.place.frame * PAGE_SIZE), size: self.place.pages as u64 * PAGE_SIZE }
    }

    /// Where each image begins, in bytes from the first.
    pub fn offsets(&self) -> [u64; 3] {
        let mut next = 0;
        self.sizes.map(|size| {
            let this = next;
            next += size.next_multiple_of(PAGE_SIZE);
            this
        })
    }
}

impl Stock {
    /// What domain `id` has.
    ///
    /// # Errors
    /// The hypervisor's: there is none.
    pub fn find(machine: &Machine, id: u16, kept: Kept) -> Result<Self, Errno> {
        Region::new(machine, id, kept.place.frame, kept.place.pages as usize).map(|region| Self { region, kept })
    }

    /// The images.
    pub fn images(&self) -> Option<Images<'_>> {
        let mut parts = self.kept.offsets().into_iter().zip(self.kept.sizes);
        let mut next = || parts.next().and_then(|(at, size)| self.region.bytes(at as usize, size as usize));
        let (kernel, ramdisk, device_tree) = (next()?, next()?, next()?);
        let [ramdisk, device_tree] = [ramdisk, device_tree].map(|part| Some(part).filter(|part| !part.is_empty()));
        Some(Images { kernel, ramdisk, device_tree })
    }
}
