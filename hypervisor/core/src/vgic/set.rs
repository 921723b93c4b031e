//! A set of one domain's vCPUs.

use crate::id::VcpuId;

/// vCPUs of a domain: whom an operation concerns beside the one that asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "these vCPUs wait to be told"]
pub struct VcpuSet(u128);

impl VcpuSet {
    /// Nobody.
    pub const EMPTY: Self = Self(0);

    /// Nobody but `vcpu`. Numbers of 128 and more are no vCPU's and are left out.
    pub const fn of(vcpu: VcpuId) -> Self {
        Self(if vcpu.0 < 128 { 1 << vcpu.0 } else { 0 })
    }

    /// Adds a vCPU.
    pub const fn insert(&mut self, vcpu: VcpuId) {
        self.0 |= Self::of(vcpu).0;
    }

    /// Those that are not in the other set.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether `vcpu` is in the set.
    pub const fn contains(self, vcpu: VcpuId) -> bool {
        self.0 & Self::of(vcpu).0 != 0
    }

    /// Those in either set.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether nobody is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Iterator for VcpuSet {
    type Item = VcpuId;

    /// Takes out the lowest-numbered vCPU.
    fn next(&mut self) -> Option<VcpuId> {
        if self.0 == 0 {
            return None;
        }
        let lowest = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(VcpuId(lowest as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_set_holds_what_was_inserted_in_order() {
        let mut set = VcpuSet::EMPTY;
        for id in [127, 0, 64, 64] {
            set.insert(VcpuId(id));
        }
        set.insert(VcpuId(128));
        set.insert(VcpuId(255));
        assert!(set.contains(VcpuId(64)) && !set.contains(VcpuId(1)));
        assert!(!set.contains(VcpuId(200)));
        assert_eq!(set.collect::<Vec<_>>(), [VcpuId(0), VcpuId(64), VcpuId(127)]);
        set = set.without(VcpuSet::of(VcpuId(0))).without(VcpuSet::of(VcpuId(200)));
        assert_eq!(set.collect::<Vec<_>>(), [VcpuId(64), VcpuId(127)]);
    }
}
