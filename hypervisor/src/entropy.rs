//! Where clones' random numbers begin: a ChaCha20 stream under what the boot loader gave (`rng-seed`), and what the CPU gives (`RNDR`),
//! mixed into each seed, so that either is enough. A machine that has neither has no seeds to give.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use mote_platform::cpu;
use mote_platform::lock::Mutex;

/// What the boot loader's entropy became.
static STREAM: Mutex<Option<ChaCha20Rng>> = Mutex::new(None);

/// Begins with `seed` of the machine's tree, if there is one.
pub fn init(seed: Option<&[u8]>) {
    let seed = seed.and_then(|seed| seed.first_chunk::<32>());
    *STREAM.lock() = seed.map(|seed| ChaCha20Rng::from_seed(*seed));
}

/// 256 bits that nobody else has, if there is any entropy.
pub fn seed() -> Option<[u64; 4]> {
    let mut stream = STREAM.lock();
    let is_there = stream.is_some() || cpu::random().is_some();
    let mut word = || stream.as_mut().map_or(0, |stream| stream.next_u64()) ^ cpu::random().unwrap_or(0);
    is_there.then(|| core::array::from_fn(|_| word()))
}
