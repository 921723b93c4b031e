//! Addresses and sizes, each kind a type of its own.

/// Bytes in a page, the granule of both translation stages.
pub const PAGE_SIZE: u64 = 4096;

/// Bytes in a block, which one entry of a translation table maps.
pub const BLOCK_SIZE: u64 = 2 << 20;

/// An intermediate physical address: what a guest takes for a physical one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipa(pub u64);

/// A physical address of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pa(pub u64);

/// A range of physical addresses, in bytes. The end does not wrap: see [`PaRange::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PaRange {
    // Private so that `base + size` never overflows.
    base: Pa,
    size: u64,
}

impl PaRange {
    /// The `size` bytes from `base`, or `None` if their end does not fit an address.
    pub const fn new(base: Pa, size: u64) -> Option<Self> {
        match base.0.checked_add(size) {
            Some(_) => Some(Self { base, size }),
            None => None,
        }
    }

    /// First address.
    pub const fn base(self) -> Pa {
        self.base
    }

    /// First address past the range.
    pub const fn end(self) -> Pa {
        Pa(self.base.0 + self.size)
    }

    /// Length in bytes.
    pub const fn size(self) -> u64 {
        self.size
    }

    /// Whether no byte is in the range.
    pub const fn is_empty(self) -> bool {
        self.size == 0
    }

    /// Whether `other` lies wholly within this range.
    pub const fn contains(self, other: Self) -> bool {
        self.base.0 <= other.base.0 && other.end().0 <= self.end().0
    }

    /// Whether the two share a byte.
    pub const fn overlaps(self, other: Self) -> bool {
        self.base.0 < other.end().0 && other.base.0 < self.end().0
    }
}
