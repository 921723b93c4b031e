//! Seeds for guests' random numbers, drawn from the one that the boot loader passes in `/chosen`.
//!
//! A ChaCha20 stream under that seed gives each domain bytes of its own, from which it learns nothing of the seed or of
//! another domain's. A machine without a seed gives none: a guest that knows it has no entropy is better off than one
//! that believes it has.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};

use crate::tree::Tree;

/// Bytes of a seed.
pub const SEED: usize = 32;

/// A source of seeds.
pub struct Seeds(Option<ChaCha20Rng>);

impl Seeds {
    /// From `rng-seed` of the machine's tree.
    pub fn new(tree: &Tree<'_>) -> Self {
        let bytes = tree.node("/chosen").and_then(|chosen| chosen.bytes("rng-seed"));
        let seed = bytes.and_then(|bytes| bytes.first_chunk::<SEED>());
        Self(seed.map(|seed| ChaCha20Rng::from_seed(*seed)))
    }

    /// As from the same seed, but none that it has given or gives otherwise: whoever begins again under it begins for the `times`th time.
    #[must_use]
    pub fn again(mut self, times: u8) -> Self {
        if let Some(stream) = &mut self.0 {
            stream.set_stream(times.into());
        }
        self
    }

    /// A seed that nobody else gets.
    pub fn draw(&mut self) -> Option<[u8; SEED]> {
        let stream = self.0.as_mut()?;
        let mut seed = [0; SEED];
        stream.fill_bytes(&mut seed);
        Some(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_another() {
        let mut seeds = Seeds(Some(ChaCha20Rng::from_seed([7; SEED])));
        let drawn: std::collections::BTreeSet<_> = (0..100).filter_map(|_| seeds.draw()).collect();
        assert_eq!(drawn.len(), 100);
    }

    #[test]
    fn without_entropy_there_is_no_seed() {
        assert_eq!(Seeds(None).draw(), None);
    }
}
