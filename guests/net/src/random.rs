//! Numbers that a stranger cannot guess as long as he does not know the seed.

/// Steele, Lea and Flood's SplitMix64: small, and without a bad seed.
#[derive(Debug)]
pub(crate) struct Random {
    state: u64,
    // Ports that were given out before this one come again last.
    port: u16,
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        let mut random = Self { state: seed, port: 0 };
        random.port = random.next() as u16;
        random
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A port of the dynamic range (RFC 6335), a few behind the last (RFC 6056, algorithm 5). One that comes again soon is still known to
    /// a peer that closed the connection, which does not answer at once.
    pub(crate) const fn port(&mut self) -> u16 {
        const STEP_BITS: u32 = 3;
        let step = 1 + (self.next() >> (u64::BITS - STEP_BITS)) as u16;
        self.port = self.port.wrapping_add(step);
        0xc000 | self.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn no_port_comes_again_soon_and_none_is_told_by_the_last() {
        let mut random = Random::new(7);
        let ports: alloc::vec::Vec<_> = (0..2000).map(|_| random.port()).collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
        assert!(ports.iter().all(|port| *port >= 0xc000));
        let steps: BTreeSet<_> = ports.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) & 0x3fff).collect();
        assert_eq!(steps, (1..=8).collect());
        assert_ne!(Random::new(8).port(), Random::new(7).port());
    }
}
