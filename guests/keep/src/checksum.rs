//! CRC-32 as Ethernet has it, by half bytes: a small table, and records are short.

const POLYNOMIAL: u32 = 0xedb8_8320;

const TABLE: [u32; 16] = {
    let mut table = [0; 16];
    let mut index = 0;
    while index < table.len() {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 4 {
            value = if value & 1 == 0 { value >> 1 } else { value >> 1 ^ POLYNOMIAL };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

/// The checksum of these pieces, one behind the other.
pub(crate) fn of(pieces: &[&[u8]]) -> u32 {
    let bytes = pieces.iter().flat_map(|piece| piece.iter());
    !bytes.fold(!0, |sum, byte| half(half(sum, *byte), *byte >> 4))
}

fn half(sum: u32, bits: u8) -> u32 {
    sum >> 4 ^ TABLE[((sum ^ u32::from(bits)) & 0xf) as usize]
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_one_that_all_have() {
        assert_eq!(super::of(&[b"1234", b"56789"]), 0xcbf4_3926);
        assert_eq!(super::of(&[]), 0);
    }
}
