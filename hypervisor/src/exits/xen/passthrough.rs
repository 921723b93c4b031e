//! The machine's devices for domains: those parts of `domctl` (`domctl.h`; Xen 4.20 for Arm's errors).
//!
//! Only domain 0 calls these, and it holds whatever may be passed on at all. So what a domain was permitted would
//! restrict nobody: who maps could permit first. Permissions are checked when they are given and not kept; no call exists by
//! which a domain could use one by itself (`XENMAPSPACE_dev_mmio` is refused). `irq_permission` is not there on Arm.

use alloc::sync::Arc;

use mote_core::addr::{Ipa, PAGE_SIZE, Pa, PaRange};
use xen_abi::domctl::{BindPtIrq, IomemPermission, MemoryMapping, PT_IRQ_TYPE_SPI};

use super::{Errno, Session};
use crate::domain::Domain;
use crate::passthrough;

/// Most pages that are mapped by one call.
const MOST_PAGES: u64 = 64;

/// Pages by the number of their first; there is at least one, and the last has an address (of 48 bits).
fn pages(first: u64, count: u64) -> Result<PaRange, Errno> {
    let end = first.checked_add(count).filter(|&end| first < end && end <= 1 << 36).ok_or(Errno::EINVAL)?;
    PaRange::new(Pa(first * PAGE_SIZE), (end - first) * PAGE_SIZE).ok_or(Errno::EINVAL)
}

impl Session<'_> {
    /// `iomem_permission`: permits a domain pages of devices, or forbids them.
    pub(super) fn iomem_permission(&self, asked: &IomemPermission) -> Result<(), Errno> {
        passthrough::permit(pages(asked.first_mfn, asked.nr_mfns)?)
    }

    /// `memory_mapping`: maps pages of devices, or takes them away again.
    pub(super) fn memory_mapping(&self, target: &Domain, asked: &MemoryMapping) -> Result<(), Errno> {
        let (from, to) = (pages(asked.first_mfn, asked.nr_mfns)?, pages(asked.first_gfn, asked.nr_mfns)?);
        if asked.nr_mfns > MOST_PAGES {
            return Err(Errno::E2BIG);
        }
        passthrough::permit(from)?;
        let mut memory = target.memory.lock();
        for done in (0..from.size()).step_by(PAGE_SIZE as usize) {
            let (ipa, page) = (Ipa(to.base().0 + done), Pa(from.base().0 + done));
            if asked.add_mapping != 0 {
                memory.map_device(ipa, page)?;
            } else if !memory.remove_shared(ipa, page) {
                return Err(Errno::EILSEQ);
            }
        }
        Ok(())
    }

    /// `bind_pt_irq`: gives a domain an SPI of the machine under the same number. It keeps it as long as it is there: for
    /// `unbind_pt_irq` Xen has `EBUSY`.
    pub(super) fn bind_pt_irq(&self, target: &Arc<Domain>, asked: &BindPtIrq) -> Result<(), Errno> {
        match asked.irq_type == PT_IRQ_TYPE_SPI {
            true if asked.machine_irq == u32::from(asked.spi) => passthrough::bind(target, asked.machine_irq),
            true => Err(Errno::EINVAL),
            false => Err(Errno::EOPNOTSUPP),
        }
    }
}
