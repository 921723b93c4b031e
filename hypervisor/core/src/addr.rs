//! Addresses and sizes, each kind a type of its own.

/// Bytes in a page, the granule of both translation stages.
pub const PAGE_SIZE: u64 = 4096;

/// An intermediate physical address: what a guest takes for a physical one.
///
/// It is an allegation: any value a guest can form, until the domain's p2m has translated it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipa(pub u64);

impl Ipa {
    /// Where the frame of this number begins, or `None` if its address does not fit.
    pub const fn of_frame(number: u64) -> Option<Self> {
        match number.checked_mul(PAGE_SIZE) {
            Some(address) => Some(Self(address)),
            None => None,
        }
    }

    /// Where its page begins.
    pub const fn page(self) -> Self {
        Self(self.0 & !(PAGE_SIZE - 1))
    }
}

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

    /// The whole pages that it lies in.
    pub const fn in_pages(self) -> Self {
        let (base, end) = (self.base.0 & !(PAGE_SIZE - 1), self.end().0.next_multiple_of(PAGE_SIZE));
        Self { base: Pa(base), size: end - base }
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
