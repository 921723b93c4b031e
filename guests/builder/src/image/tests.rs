use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn image(text_offset: u64, image_size: u64, flags: u64, size: usize) -> Vec<u8> {
    let mut bytes = std::vec![0; size.max(64)];
    for (at, value) in [(8, text_offset), (16, image_size), (24, flags)] {
        bytes[at..at + 8].copy_from_slice(&u64::to_le_bytes(value));
    }
    bytes[56..60].copy_from_slice(b"ARM\x64");
    bytes.truncate(size);
    bytes
}

/// An ELF file with these segments (address, offset, bytes in the file, bytes in memory).
fn elf(entry: u64, segments: &[(u64, u64, u64, u64)], size: usize) -> Vec<u8> {
    let mut bytes = std::vec![0; size];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &2u16.to_le_bytes());
    put(18, &183u16.to_le_bytes());
    put(24, &entry.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &(segments.len() as u16).to_le_bytes());
    for (index, &(address, offset, length, memory)) in segments.iter().enumerate() {
        let at = 64 + index * 56;
        put(at, &1u32.to_le_bytes());
        for (field, value) in [(8, offset), (24, address), (32, length), (40, memory)] {
            put(at + field, &u64::to_le_bytes(value));
        }
    }
    bytes
}

fn parsed(bytes: &[u8]) -> Result<Kernel, ImageError> {
    parse(&bytes[..bytes.len().min(HEAD)], bytes.len() as u64)
}

#[test]
fn an_image_goes_where_its_header_says() {
    let kernel = parsed(&image(0x8_0000, 0x20_0000, 0xa, 0x1000)).expect("an Image");
    assert_eq!(kernel.base, Base::Ram(0x8_0000));
    assert_eq!((kernel.entry, kernel.size), (0, 0x20_0000));
    assert_eq!(kernel.segments[0].length, 0x1000);
    let legacy = parsed(&image(0, 0, 0, 0x1000)).expect("an old Image");
    assert_eq!((legacy.base, legacy.size), (Base::Ram(0x8_0000), 0x1000));
}

#[test]
fn what_is_no_kernel_is_told_apart() {
    assert_eq!(parsed(&image(0, 0x1000, 1, 0x1000)), Err(ImageError::BigEndian));
    assert_eq!(parsed(&image(0, 0x1000, 0, 64)), Err(ImageError::Truncated));
    assert_eq!(parsed(&image(u64::MAX, 0x1000, 0, 0x1000)), Err(ImageError::Segments));
    assert_eq!(parsed(b"\x1f\x8b and so on"), Err(ImageError::Compressed));
    assert_eq!(parsed(b"hello"), Err(ImageError::Unknown));
    assert_eq!(parsed(b""), Err(ImageError::Unknown));
    let mut other = elf(0, &[(0, 0, 1, 1)], 4096);
    other[18] = 62;
    assert_eq!(parsed(&other), Err(ImageError::OtherElf));
}

#[test]
fn an_efi_image_that_lacks_its_end_is_noticed() {
    const SIZE: usize = 0x3000;
    let mut bytes = image(0, 0x10_0000, 0xa, SIZE);
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(60, &64u32.to_le_bytes());
    put(64, b"PE\0\0");
    put(70, &1u16.to_le_bytes()); // one section
    put(84, &16u16.to_le_bytes()); // bytes of the optional header
    put(64 + 24 + 16 + 16, &0x2000u32.to_le_bytes()); // the section's size
    put(64 + 24 + 16 + 20, &0x1000u32.to_le_bytes()); // and where it is
    assert!(parsed(&bytes).is_ok());
    assert_eq!(parsed(&bytes[..SIZE - 1]), Err(ImageError::Truncated));
}

#[test]
fn an_elf_file_s_segments_are_relative_to_the_lowest() {
    let bytes = elf(0x4010_0000, &[(0x4020_0000, 0x800, 0x100, 0x200), (0x4010_0000, 0x400, 8, 8)], 4096);
    let kernel = parsed(&bytes).expect("a kernel");
    assert_eq!(kernel.base, Base::Fixed(Ipa(0x4010_0000)));
    assert_eq!((kernel.entry, kernel.size), (0, 0x10_0200));
    assert_eq!(kernel.segments[1].target, 0x10_0000);
}

#[test]
fn segments_that_cannot_be_are_refused() {
    let with = |entry, segments: &[(u64, u64, u64, u64)]| parsed(&elf(entry, segments, 4096));
    assert_eq!(with(0x1000, &[(0x1000, 0, 64, 64), (0x1020, 64, 64, 64)]), Err(ImageError::Segments));
    assert_eq!(with(0x2000, &[(0x1000, 0, 64, 64)]), Err(ImageError::Segments), "the entry is outside");
    assert_eq!(with(0, &[]), Err(ImageError::Segments));
    assert_eq!(with(0x1000, &[(0x1000, 4000, 97, 97)]), Err(ImageError::Truncated));
    assert_eq!(with(0x1000, &[(0x1000, 0, 65, 64)]), Err(ImageError::Truncated));
    assert_eq!(with(0x1000, &[(0x1000, u64::MAX, 64, 64)]), Err(ImageError::Truncated));
    assert_eq!(with(u64::MAX, &[(u64::MAX, 0, 64, 64)]), Err(ImageError::Segments));
}

proptest! {
    #[test]
    fn no_file_makes_parsing_panic_and_what_is_accepted_lies_within_it(
        entry in any::<u64>(),
        segments in prop::collection::vec((any::<u64>(), 0..8192u64, 0..8192u64, any::<u64>()), 0..6),
        changes in prop::collection::vec((0..400usize, any::<u8>()), 0..4),
        is_image in any::<bool>(),
        size in 400..5000usize,
    ) {
        let mut bytes = if is_image { image(entry, entry, 0, size) } else { elf(entry, &segments, size) };
        for (at, value) in changes {
            bytes[at] = value;
        }
        if let Ok(kernel) = parsed(&bytes) {
            let mut end = 0;
            for segment in &kernel.segments {
                prop_assert!(segment.offset + segment.length <= size as u64);
                prop_assert!(segment.length <= segment.size && end <= segment.target);
                end = segment.target + segment.size;
            }
            prop_assert!(end == kernel.size && kernel.entry < kernel.size);
        }
    }
}
