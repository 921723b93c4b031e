//! VMIDs: the tags by which TLBs tell the domains' translations apart.

use alloc::vec::Vec;

/// A VMID in use by one domain. Giving it back is explicit, because TLBs must forget it first.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a VMID that is dropped is lost: give it back to its pool"]
pub struct Vmid(u16);

impl Vmid {
    /// The tag. Never zero, which EL2 keeps for running no guest.
    pub const fn get(&self) -> u16 {
        self.0
    }
}

/// The VMIDs of the machine.
pub struct VmidPool {
    // One bit for each VMID, set while a domain has it; bit 0 is always set.
    used: Vec<u64>,
    // Where the search begins: the VMID just given back is the last to be used again.
    next: usize,
}

impl VmidPool {
    /// All VMIDs of `bits` bits, 8 or 16 (Arm ARM D8.15.3).
    pub fn new(bits: u32) -> Self {
        let words = (1_usize << bits.clamp(8, 16)) / 64;
        let mut used = alloc::vec![0; words];
        if let Some(first) = used.first_mut() {
            *first = 1;
        }
        Self { used, next: 0 }
    }

    /// A VMID that no domain has, or `None` if all are taken.
    pub fn allocate(&mut self) -> Option<Vmid> {
        let words = self.used.len();
        let word = (0..words).map(|i| (self.next + i) % words).find(|&word| self.used[word] != u64::MAX)?;
        let bit = self.used[word].trailing_ones();
        self.used[word] |= 1 << bit;
        self.next = (word + 1) % words;
        u16::try_from(word * 64 + bit as usize).ok().map(Vmid)
    }

    /// Takes back a VMID that no TLB remembers any more.
    pub fn release(&mut self, vmid: Vmid) {
        if let Some(word) = self.used.get_mut(usize::from(vmid.0) / 64) {
            *word &= !(1 << (vmid.0 % 64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_vmid_but_zero_is_given_once() {
        for (bits, count) in [(8, 255), (16, 65_535)] {
            let mut pool = VmidPool::new(bits);
            let given: BTreeSet<u16> = core::iter::from_fn(|| pool.allocate()).map(|v| v.get()).collect();
            assert_eq!(given.len(), count);
            assert!(!given.contains(&0));
        }
    }

    #[test]
    fn a_vmid_given_back_can_be_given_again() {
        let mut pool = VmidPool::new(8);
        let mut all: Vec<Vmid> = core::iter::from_fn(|| pool.allocate()).collect();
        let one = all.swap_remove(100);
        let number = one.get();
        pool.release(one);
        assert_eq!(pool.allocate().map(|v| v.get()), Some(number));
        assert_eq!(pool.allocate(), None);
    }
}
