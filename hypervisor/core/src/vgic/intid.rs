//! Interrupt numbers, and where a vCPU sits in the affinity hierarchy.

use crate::id::VcpuId;

/// Interrupts in one bank of registers, and private interrupts (SGIs and PPIs) of a vCPU.
pub(super) const BANK: u16 = 32;
/// First of the special INTIDs, which name no interrupt (IHI0069 §2.2).
const FIRST_SPECIAL: u32 = 1020;

/// Number of an SGI (0 to 15), PPI (16 to 31) or SPI (32 to 1019): an INTID of IHI0069.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntId(
    // Below 1020.
    u16,
);

impl IntId {
    /// The interrupt numbered `raw`, or `None` for special and larger numbers.
    pub const fn new(raw: u32) -> Option<Self> {
        if raw < FIRST_SPECIAL { Some(Self(raw as u16)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether every vCPU has one of its own (SGI or PPI).
    pub const fn is_private(self) -> bool {
        self.0 < BANK
    }

    /// The interrupt at place `bit` of bank `bank`: for banks and bits that exist.
    pub(super) const fn at(bank: usize, bit: usize) -> Self {
        Self(bank as u16 * BANK + bit as u16)
    }

    /// Which bank of 32 interrupts it is in; 0 is the private one.
    pub(super) const fn bank(self) -> usize {
        (self.0 / BANK) as usize
    }

    /// Its place in the bank.
    pub(super) const fn bit(self) -> usize {
        (self.0 % BANK) as usize
    }

    /// Its place in the bank, as a mask.
    pub(super) const fn mask(self) -> u32 {
        1 << self.bit()
    }
}

/// Affinity of a PE: Aff2, Aff1, Aff0 from bit 16 down, as in `MPIDR_EL1` (Aff3 is 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity(pub u32);

/// vCPUs that share an Aff1: as many as an SGI's target list names.
const CLUSTER: u32 = 16;
const AFF1_SHIFT: u32 = 8;
const AFF_MASK: u32 = 0xff;

impl Affinity {
    /// The PE `aff0` of cluster `aff1`.
    pub(super) const fn new(aff1: u32, aff0: u32) -> Self {
        Self(aff1 << AFF1_SHIFT | aff0)
    }

    /// Where Xen puts a vCPU: 16 to a cluster.
    pub const fn of(vcpu: VcpuId) -> Self {
        let id = vcpu.0 as u32;
        Self::new(id / CLUSTER, id % CLUSTER)
    }

    /// The vCPU that sits there, if one can.
    pub const fn vcpu(self) -> Option<VcpuId> {
        let (aff1, aff0) = (self.0 >> AFF1_SHIFT, self.0 & AFF_MASK);
        if aff0 >= CLUSTER || aff1 > AFF_MASK / CLUSTER {
            return None;
        }
        Some(VcpuId((aff1 * CLUSTER + aff0) as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vcpu_is_found_at_its_affinity() {
        for id in 0..=u8::MAX {
            assert_eq!(Affinity::of(VcpuId(id)).vcpu(), Some(VcpuId(id)));
        }
        assert_eq!(Affinity::of(VcpuId(17)), Affinity(0x101));
    }

    #[test]
    fn an_affinity_without_a_vcpu_names_none() {
        for affinity in [0x10, 0xff, 0x1000, 0x1_0000, 0xff_ffff, u32::MAX] {
            assert_eq!(Affinity(affinity).vcpu(), None, "{affinity:#x}");
        }
    }

    #[test]
    fn special_interrupt_numbers_are_none() {
        assert_eq!(IntId::new(1019).map(IntId::get), Some(1019));
        assert_eq!(IntId::new(1020), None);
        assert_eq!(IntId::new(u32::MAX), None);
    }
}
