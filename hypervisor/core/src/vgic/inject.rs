//! Interrupts become pending: devices, events, SGIs.

use super::VGic;
use super::bank::bits;
use super::cpu::Attention;
use super::intid::{Affinity, IntId};
use super::set::VcpuSet;
use crate::id::VcpuId;

/// `ICC_SGI1R_EL1` (IHI0069 §12.2.16).
mod sgi {
    pub const TARGETS: u64 = 0xffff;
    pub const AFF1_SHIFT: u32 = 16;
    pub const AFF1_MASK: u64 = 0xff;
    pub const INTID_SHIFT: u32 = 24;
    pub const INTID_MASK: u64 = 0xf;
    /// `IRM`: to all but the sender.
    pub const ALL_OTHERS: u64 = 1 << 40;
    /// vCPUs have no Aff3, no Aff2, and no Aff0 in a range but the first (`RS`).
    pub const NO_VCPU: u64 = 0xff << 48 | 0xff << 32 | 0xf << 44;
}

impl VGic {
    /// A device pulses an edge interrupt, or an event makes a private one of `vcpu` pending
    /// (`vcpu` does not matter for an SPI). Returns who must look again.
    pub fn raise(&mut self, vcpu: VcpuId, intid: IntId) -> VcpuSet {
        if intid.is_private() {
            let mut told = VcpuSet::EMPTY;
            self.pend_private(vcpu, intid.mask(), &mut told);
            return told;
        }
        self.change(vcpu, intid, |bank| bank.latch |= intid.mask());
        self.take_told()
    }

    /// A device drives its interrupt line (`vcpu` does not matter for an SPI). A level-sensitive
    /// interrupt is pending as long as its line is high, an edge-triggered one once for each rise.
    /// Returns who must look again.
    pub fn set_line(&mut self, vcpu: VcpuId, intid: IntId, level: bool) -> VcpuSet {
        let mask = intid.mask();
        if self.bank(vcpu, intid).is_some_and(|bank| level != (bank.line & mask != 0)) {
            self.change(vcpu, intid, |bank| {
                bank.line ^= mask;
                bank.latch |= bank.line & bank.edge & mask;
            });
        }
        self.take_told()
    }

    /// The physical PPI `physical` fired for the PPI `intid` of `vcpu`, or the SPI `intid` for the same one of the domain;
    /// it is active and its priority dropped. It stays active until the guest deactivates it, or
    /// until a flush releases it, whatever the guest makes of its own interrupt meanwhile: so it
    /// cannot fire again and again. Returns who must look again.
    pub fn raise_hw(&mut self, vcpu: VcpuId, intid: IntId, physical: IntId) -> VcpuSet {
        if let Some(bank) = self.bank(vcpu, intid) {
            bank.set_hw(intid, physical);
        }
        self.raise(vcpu, intid)
    }

    /// Whether the physical interrupt behind a private one must be active while `vcpu` is loaded, or that behind a
    /// shared one is active: it was taken, and neither has the guest ended it nor was it released. Exact after
    /// [`Self::sync`]; ask when loading a vCPU, and set or clear the physical active state to match.
    pub fn hw_in_flight(&mut self, vcpu: VcpuId, intid: IntId) -> bool {
        self.bank(vcpu, intid).is_some_and(|bank| bank.hw & intid.mask() != 0)
    }

    /// Whether the guest has the SPI `intid` enabled, and edge-triggered; `None` if it has no such SPI.
    pub fn spi(&mut self, intid: IntId) -> Option<(bool, bool)> {
        let bank = self.bank(VcpuId(0), intid).filter(|_| !intid.is_private())?;
        Some((bank.enabled & intid.mask() != 0, bank.edge & intid.mask() != 0))
    }

    /// `from` wrote `value` to `ICC_SGI1R_EL1`. Returns who must look again, which may include `from`.
    pub fn send_sgi(&mut self, from: VcpuId, value: u64) -> VcpuSet {
        let mut told = VcpuSet::EMPTY;
        let mask = 1 << (value >> sgi::INTID_SHIFT & sgi::INTID_MASK);
        if value & sgi::ALL_OTHERS != 0 {
            for vcpu in (0..self.cpus.len()).map(|index| VcpuId(index as u8)).filter(|&vcpu| vcpu != from) {
                self.pend_private(vcpu, mask, &mut told);
            }
        } else if value & sgi::NO_VCPU == 0
            && let Some(first) = Affinity::new((value >> sgi::AFF1_SHIFT & sgi::AFF1_MASK) as u32, 0).vcpu()
        {
            for place in bits((value & sgi::TARGETS) as u32) {
                // 16 vCPUs share an Aff1, as many as there are targets.
                self.pend_private(VcpuId(first.0 | place as u8), mask, &mut told);
            }
        }
        told
    }

    /// Makes private interrupts pending on a vCPU.
    fn pend_private(&mut self, vcpu: VcpuId, mask: u32, told: &mut VcpuSet) {
        let forwarding = self.forwarding;
        let Some(cpu) = self.cpu_mut(vcpu) else { return };
        cpu.bank.latch |= mask;
        if cpu.bank.enabled & forwarding & mask != 0 {
            cpu.attend(Attention::New);
            told.insert(vcpu);
        }
    }
}
