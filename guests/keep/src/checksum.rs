//! A checksum by which a record that was written in part is told from a whole one: eight bytes at a time, because records are written at
//! every step of whoever keeps them. Nobody who could forge one writes there.

/// An odd number with its bits well spread (that of splitmix64).
const FACTOR: u64 = 0xbf58_476d_1ce4_e5b9;

/// The checksum of these pieces, one behind the other. Where one ends and the next begins counts.
pub(crate) fn of(pieces: &[&[u8]]) -> u32 {
    let sum = pieces.iter().fold(!0, |sum, piece| {
        let (words, rest) = piece.as_chunks::<8>();
        let sum = words.iter().fold(sum, |sum, word| mix(sum, u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        mix(mix(sum, u64::from_le_bytes(last)), piece.len() as u64)
    });
    (sum ^ sum >> 32) as u32
}

const fn mix(sum: u64, word: u64) -> u64 {
    let product = (sum ^ word).wrapping_mul(FACTOR);
    product ^ product >> 32
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn every_bit_counts_and_so_does_the_length() {
        let bytes: [u8; 21] = core::array::from_fn(|index| index as u8);
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(of(&[&bytes]), of(&[&other]), "{bit}");
        }
        for length in 0..bytes.len() {
            assert_ne!(of(&[&[0; 21][..length]]), of(&[&[0; 21]]), "{length}");
        }
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
    }
}
