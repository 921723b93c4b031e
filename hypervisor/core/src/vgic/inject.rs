//! Interrupts become pending: devices, events, SGIs.

use super::VGic;
use super::bank::take_lowest;
use super::intid::{Affinity, IntId};
use super::set::VcpuSet;
use crate::id::VcpuId;

/// Through which register a vCPU sends an SGI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SgiRegister {
    /// `ICC_SGI1R_EL1`: to vCPUs that have the SGI in either group.
    Sgi1r,
    /// `ICC_SGI0R_EL1`: to those that have it in group 0.
    Sgi0r,
    /// `ICC_ASGI1R_EL1`: as SGI0R, for there is no other security state.
    Asgi1r,
}

/// The registers that generate SGIs (IHI0069 §12.2.16).
mod sgi {
    use super::Affinity;

    pub const TARGETS: u64 = 0xffff;
    pub const INTID_SHIFT: u32 = 24;
    pub const INTID_MASK: u64 = 0xf;
    /// `IRM`: to all but the sender.
    pub const ALL_OTHERS: u64 = 1 << 40;

    const AFF1_SHIFT: u32 = 16;
    /// vCPUs have no Aff3, no Aff2, and no Aff0 in a range but the first (`RS`).
    const NO_VCPU: u64 = 0xff << 48 | 0xff << 32 | 0xf << 44;

    /// The affinity that the lowest bit of the target list means, if a vCPU may have it.
    pub const fn first_target(value: u64) -> Option<Affinity> {
        if value & NO_VCPU != 0 {
            return None;
        }
        Some(Affinity((value >> AFF1_SHIFT & 0xff) as u32 * CLUSTER_STRIDE))
    }

    /// From one Aff1 to the next.
    const CLUSTER_STRIDE: u32 = 1 << 8;
}

impl VGic {
    /// A device pulses an edge interrupt, or an event makes a private one of `vcpu` pending
    /// (`vcpu` does not matter for an SPI). Returns who must look again.
    pub fn raise(&mut self, vcpu: VcpuId, intid: IntId) -> VcpuSet {
        let mut notify = VcpuSet::EMPTY;
        if intid.is_private() {
            self.pend_private(vcpu, intid.mask(), true, &mut notify);
        } else if let Some(shared) = self.shared_mut(intid) {
            shared.bank.pend(intid.mask());
            self.touch(vcpu, intid, &mut notify);
        }
        notify
    }

    /// A device drives its interrupt line (`vcpu` does not matter for an SPI). A level-sensitive
    /// interrupt is pending as long as its line is high, an edge-triggered one once for each rise.
    /// Returns who must look again.
    pub fn set_line(&mut self, vcpu: VcpuId, intid: IntId, level: bool) -> VcpuSet {
        let mut notify = VcpuSet::EMPTY;
        let mask = intid.mask();
        let Some(bank) = self.bank_of(vcpu, intid) else {
            return notify;
        };
        if level == (bank.line & mask != 0) {
            return notify;
        }
        bank.line ^= mask;
        if level && bank.edge & mask != 0 {
            bank.pend(mask);
        }
        self.touch(vcpu, intid, &mut notify);
        notify
    }

    /// The physical PPI `physical` fired for the PPI `intid` of `vcpu`; it is active and its priority
    /// dropped. It stays active until the guest deactivates it, or until [`super::Flushed::release`],
    /// whatever the guest makes of its own interrupt meanwhile: so it cannot fire again and again.
    /// Returns who must look again.
    pub fn raise_hw(&mut self, vcpu: VcpuId, intid: IntId, physical: IntId) -> VcpuSet {
        let mut notify = VcpuSet::EMPTY;
        let groups = self.groups;
        if intid.is_private()
            && let Some(cpu) = self.cpu_mut(vcpu)
        {
            cpu.set_physical(intid, physical);
            cpu.release &= !intid.mask();
            cpu.bank.pend_hw(intid.mask());
            if cpu.attend_new(intid.mask(), groups) {
                notify.insert(vcpu);
            }
        }
        notify
    }

    /// The device behind [`Self::raise_hw`] no longer asks: withdraws what the guest has not
    /// acknowledged. Returns who must look again.
    pub fn lower_hw(&mut self, vcpu: VcpuId, intid: IntId) -> VcpuSet {
        let mut notify = VcpuSet::EMPTY;
        let Some(bank) = self.bank_of(vcpu, intid) else {
            return notify;
        };
        bank.unpend(intid.mask() & bank.hw);
        self.touch(vcpu, intid, &mut notify);
        notify
    }

    /// Whether the physical interrupt behind a private one must be active while `vcpu` is loaded:
    /// it was taken and the guest has not ended it. Exact after [`Self::sync`]; ask when loading a
    /// vCPU, and set or clear the physical active state to match.
    #[must_use]
    pub fn hw_in_flight(&self, vcpu: VcpuId, intid: IntId) -> bool {
        let cpu = self.cpus.get(usize::from(vcpu.0));
        intid.is_private() && cpu.is_some_and(|cpu| cpu.bank.hw & intid.mask() != 0)
    }

    /// `from` wrote `value` to a register that generates SGIs. Returns who must look again, which
    /// may include `from`.
    pub fn send_sgi(&mut self, from: VcpuId, value: u64, register: SgiRegister) -> VcpuSet {
        let mut notify = VcpuSet::EMPTY;
        let mask = 1 << (value >> sgi::INTID_SHIFT & sgi::INTID_MASK);
        let either = register == SgiRegister::Sgi1r;
        if value & sgi::ALL_OTHERS != 0 {
            let mut others = VcpuSet::first(self.cpus.len() as u32);
            others.remove(from);
            for vcpu in others {
                self.pend_private(vcpu, mask, either, &mut notify);
            }
            return notify;
        }
        let Some(first) = sgi::first_target(value).and_then(Affinity::vcpu) else {
            return notify;
        };
        let mut targets = (value & sgi::TARGETS) as u32;
        while let Some(place) = take_lowest(&mut targets) {
            // 16 vCPUs share an Aff1, as many as there are targets.
            let vcpu = VcpuId(first.0 | place as u8);
            self.pend_private(vcpu, mask, either, &mut notify);
        }
        notify
    }

    /// Makes private interrupts pending on a vCPU: those of group 0, or of `either`.
    fn pend_private(&mut self, vcpu: VcpuId, mask: u32, either: bool, notify: &mut VcpuSet) {
        let groups = self.groups;
        let Some(cpu) = self.cpu_mut(vcpu) else {
            return;
        };
        let mask = if either { mask } else { mask & !cpu.bank.group1 };
        cpu.bank.pend(mask);
        if cpu.attend_new(mask, groups) {
            notify.insert(vcpu);
        }
    }
}
