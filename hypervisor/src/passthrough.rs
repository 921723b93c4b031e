//! The machine's devices that domains have: which pages may be one's, and which interrupt is whose.
//!
//! A domain gets a device's SPI under the same number. It comes physically while the guest has it enabled in its own
//! distributor, stays active from then on until the guest ends it, and so never comes twice in a row, whatever the guest does.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mote_core::addr::PaRange;
use mote_core::id::VcpuId;
use mote_core::vgic::{IntId, VcpuSet};
use mote_platform::gic;
use mote_platform::lock::Mutex;
use spin::Once;
use xen_abi::arch_arm::VPL011_INTID;
use xen_abi::errno::Errno;

use crate::domain::Domain;
use crate::machine::machine;

/// What no domain may have. Before it is known none may have anything.
pub static KEPT: Once<Vec<PaRange>> = Once::new();

/// Which SPIs are whose. The lock is taken before that of a domain's virtual GIC.
pub type Owners = Mutex<Vec<(IntId, Arc<Domain>)>>;

/// Whether these pages may be a domain's.
///
/// # Errors
/// `EPERM` if not.
pub fn permit(pages: PaRange) -> Result<(), Errno> {
    let kept = KEPT.get().ok_or(Errno::EPERM)?;
    if kept.iter().any(|kept| kept.overlaps(pages)) { Err(Errno::EPERM) } else { Ok(()) }
}

/// Gives a domain an SPI of the machine, until it is dismantled.
///
/// # Errors
/// `EPERM` if it is none or EL2's, `EBUSY` if it is somebody's, or the domain has no such SPI or uses it already, `ENOMEM`.
pub fn bind(domain: &Arc<Domain>, intid: u32) -> Result<(), Errno> {
    let is_el2s = machine().wiring.console == Some(intid);
    let spi = IntId::new(intid).filter(|spi| !spi.is_private() && !is_el2s).ok_or(Errno::EPERM)?;
    let mut owned = machine().owners.lock();
    let is_taken = owned.iter().any(|(other, _)| *other == spi) || domain.uart().is_some() && intid == VPL011_INTID;
    if is_taken || domain.has_ended() || domain.vgic.lock().spi(spi).is_none_or(|(enabled, _)| enabled) {
        return Err(Errno::EBUSY);
    }
    owned.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    owned.push((spi, domain.clone()));
    Ok(())
}

/// Has the machine's distributor enable the domain's SPIs as its guest has them enabled.
pub fn follow(domain: &Arc<Domain>) {
    for (spi, _) in machine().owners.lock().iter().filter(|(_, owner)| Arc::ptr_eq(owner, domain)) {
        let (enabled, edge) = domain.vgic.lock().spi(*spi).unwrap_or_default();
        // It cannot fail: this is an SPI.
        let _ = gic::set_shared(spi.get().into(), enabled, edge);
    }
}

/// An SPI came and is active: its owner has it now, and `tell` tells those who must look.
pub fn deliver(spi: IntId, tell: impl FnOnce(&Arc<Domain>, VcpuSet)) {
    let owned = machine().owners.lock();
    let Some((_, owner)) = owned.iter().find(|(other, _)| *other == spi).cloned() else {
        return gic::deactivate(spi.get().into());
    };
    let told = owner.vgic.lock().raise_hw(VcpuId(0), spi, spi);
    drop(owned);
    tell(&owner, told);
}

/// Takes all SPIs from a domain whose vCPUs have all left.
pub fn release(domain: &Domain) {
    let its = |(_, owner): &mut (_, Arc<Domain>)| core::ptr::eq(&raw const **owner, domain);
    for (spi, _) in machine().owners.lock().extract_if(.., its) {
        let _ = gic::set_shared(spi.get().into(), false, false);
        if domain.vgic.lock().hw_in_flight(VcpuId(0), spi) {
            gic::deactivate(spi.get().into());
        }
    }
}
