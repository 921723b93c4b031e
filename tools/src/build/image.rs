//! An ELF file's segments as the flat bytes that a boot loader puts into memory.

use miette::{IntoDiagnostic, Result, miette};
use object::Endianness;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

/// More than any program of ours: a segment at a stray address would make a file of gigabytes.
const LONGEST: u64 = 64 << 20;

/// The bytes from where the lowest segment is loaded to the last that a file has; what is zero at
/// the end is left out.
///
/// # Errors
///
/// `elf` is not an ELF file, has no bytes to load, or they lie too far apart.
pub fn flatten(elf: &[u8]) -> Result<Vec<u8>> {
    let header = FileHeader64::<Endianness>::parse(elf).into_diagnostic()?;
    let endian = header.endian().into_diagnostic()?;
    let mut pieces = Vec::new();
    for segment in header.program_headers(endian, elf).into_diagnostic()? {
        let bytes = segment.data(endian, elf).map_err(|()| miette!("a segment is cut off"))?;
        if segment.p_type(endian) == PT_LOAD && !bytes.is_empty() {
            pieces.push((segment.p_paddr(endian), bytes));
        }
    }
    let base = pieces.iter().map(|(address, _)| *address).min().ok_or_else(|| miette!("there is nothing to load"))?;
    let mut image = Vec::new();
    for (address, bytes) in pieces {
        put(&mut image, address - base, bytes)?;
    }
    Ok(image)
}

fn put(image: &mut Vec<u8>, offset: u64, bytes: &[u8]) -> Result<()> {
    let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= LONGEST);
    let end = end.ok_or_else(|| miette!("its segments lie more than {LONGEST} bytes apart"))?;
    let (start, end) = (usize::try_from(offset).into_diagnostic()?, usize::try_from(end).into_diagnostic()?);
    if image.len() < end {
        image.resize(end, 0);
    }
    if let Some(place) = image.get_mut(start..end) {
        place.copy_from_slice(bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use object::elf::{PT_DYNAMIC, ProgramType};

    use super::*;

    const HEADER_SIZE: usize = 64;
    const SEGMENT_SIZE: usize = 56;

    /// An ELF file with these segments: type, address, bytes.
    fn elf(segments: &[(ProgramType, u64, &[u8])]) -> Vec<u8> {
        let mut file = vec![0; HEADER_SIZE];
        file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
        file[32..40].copy_from_slice(&(HEADER_SIZE as u64).to_le_bytes()); // e_phoff
        file[54..56].copy_from_slice(&(SEGMENT_SIZE as u16).to_le_bytes()); // e_phentsize
        file[56..58].copy_from_slice(&(segments.len() as u16).to_le_bytes()); // e_phnum
        let mut offset = HEADER_SIZE + SEGMENT_SIZE * segments.len();
        for (kind, address, bytes) in segments {
            file.extend(kind.0.to_le_bytes());
            file.extend([0; 4]);
            let size = bytes.len() as u64;
            for word in [offset as u64, !0, *address, size, size + 100, 1] {
                file.extend(word.to_le_bytes());
            }
            offset += bytes.len();
        }
        segments.iter().for_each(|(_, _, bytes)| file.extend_from_slice(bytes));
        file
    }

    #[test]
    fn segments_lie_as_in_memory_whatever_their_order() {
        let file = elf(&[
            (PT_LOAD, 0x1004, b"data"),
            (PT_LOAD, 0x1000, b"tx"),
            (PT_LOAD, 0x2000, b""),
            (PT_DYNAMIC, 0, b"skip"),
        ]);
        assert_eq!(flatten(&file).expect("flat"), b"tx\0\0data");
    }

    #[test]
    fn what_cannot_be_an_image_is_refused() {
        assert!(flatten(b"text").is_err());
        assert!(flatten(&elf(&[])).is_err());
        assert!(flatten(&elf(&[(PT_LOAD, 0, b"a"), (PT_LOAD, LONGEST, b"b")])).is_err());
        assert!(flatten(&elf(&[(PT_LOAD, u64::MAX, b"abc"), (PT_LOAD, 0, b"b")])).is_err());
        let mut cut = elf(&[(PT_LOAD, 0, b"bytes")]);
        cut.pop();
        assert!(flatten(&cut).is_err());
    }
}
