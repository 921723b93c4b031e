//! The Internet's checksum (RFC 1071), and what changing a field does to it (RFC 1624).

/// Adds `bytes`, which begin at an even place, to a sum of words. Enough for 128 KiB.
pub fn add(sum: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let sum = words.iter().fold(sum, |sum, word| sum + u32::from(u16::from_be_bytes(*word)));
    sum + rest.first().map_or(0, |last| u32::from(*last) << 8)
}

/// A sum with its carries added.
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// The checksum after `old`, of two words at an even place, became `new` (RFC 1624, equation 3).
pub const fn update(checksum: u16, old: u32, new: u32) -> u16 {
    update_sums(checksum, (old >> 16) + (old & 0xffff), (new >> 16) + (new & 0xffff))
}

/// The same for bytes whose sums are known.
pub const fn update_sums(checksum: u16, old: u32, new: u32) -> u16 {
    !fold(!checksum as u32 + !fold(old) as u32 + fold(new) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_checksum_that_was_updated_is_the_one_of_the_new_bytes(mut bytes in prop::collection::vec(any::<u8>(), 8..64), new: u32) {
            let old = u32::from_be_bytes(*bytes.first_chunk().unwrap());
            let before = !fold(add(0, &bytes));
            bytes[..4].copy_from_slice(&new.to_be_bytes());
            // There is one number with two forms: nothing and all ones.
            let after = !fold(add(0, &bytes));
            let updated = update(before, old, new);
            prop_assert!(updated == after || fold(u32::from(!updated) + u32::from(after)) == 0xffff);
            prop_assert_eq!(fold(add(u32::from(updated), &bytes)), 0xffff);
        }
    }
}
