//! Numbers that a stranger cannot guess as long as he does not know the seed.

/// Steele, Lea and Flood's SplitMix64: small, and without a bad seed.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A port of the dynamic range (RFC 6335).
    pub(crate) const fn port(&mut self) -> u16 {
        0xc000 | (self.next() >> 50) as u16
    }
}
