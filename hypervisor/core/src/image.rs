//! Kernels: what a domain's image says of itself. Never reads outside the bytes it is given.

use alloc::vec::Vec;

use thiserror::Error;

use crate::addr::Ipa;

/// A part of the image, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the image, in bytes.
    pub offset: u64,
    /// Bytes to copy.
    pub length: u64,
    /// Where it goes, from [`Kernel::base`].
    pub target: u64,
    /// Bytes it takes there; what is not copied is zero.
    pub size: u64,
}

/// Where a kernel must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// So many bytes behind the beginning of RAM.
    Ram(u64),
    /// At this address.
    Fixed(Ipa),
}

/// A kernel that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// What its segments and its entry are relative to.
    pub base: Base,
    /// Its parts. They do not overlap.
    pub segments: Vec<Segment>,
    /// Its first instruction, from its base.
    pub entry: u64,
    /// Bytes from its base to the end of its last segment.
    pub size: u64,
}

/// Why an image is no kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ImageError {
    /// Neither an arm64 Image nor an ELF file.
    #[error("it is neither an arm64 Image nor an ELF file")]
    Unknown,
    /// It is compressed.
    #[error("it is compressed; unpack it first (gunzip)")]
    Compressed,
    /// It ends before what it says of itself ends.
    #[error("it is truncated: it ends before what its header says")]
    Truncated,
    /// For a big-endian CPU.
    #[error("it is a big-endian kernel; only little-endian ones are supported")]
    BigEndian,
    /// An ELF file, but not a 64-bit executable for AArch64.
    #[error("it is an ELF file, but not a 64-bit executable for AArch64")]
    OtherElf,
    /// Its segments overlap, or the entry lies in none.
    #[error("its segments overlap, or its entry point lies in none of them")]
    Segments,
}

/// The arm64 Image header (Linux, `Documentation/arch/arm64/booting.rst`).
mod header {
    pub const SIZE: usize = 64;
    pub const TEXT_OFFSET: usize = 8;
    pub const IMAGE_SIZE: usize = 16;
    pub const FLAGS: usize = 24;
    pub const MAGIC: usize = 56;
    pub const PE_OFFSET: usize = 60;
    pub const MAGIC_VALUE: &[u8] = b"ARM\x64";
    pub const BIG_ENDIAN: u64 = 1;
}

/// Bytes of an image that [`parse`] needs at least to see: an Image's header, an ELF file's headers.
pub const HEAD: usize = 4096;

/// Recognises the image whose first bytes are `head`, of `size` bytes in all. `head` is the whole image, or at least its first
/// [`HEAD`] bytes.
///
/// # Errors
/// What is wrong with it.
pub fn parse(head: &[u8], size: u64) -> Result<Kernel, ImageError> {
    const ELF_MAGIC: &[u8] = b"\x7fELF";
    const GZIP_MAGIC: &[u8] = b"\x1f\x8b";
    if head.get(header::MAGIC..header::SIZE - 4) == Some(header::MAGIC_VALUE) {
        return parse_image(head, size);
    }
    if head.starts_with(ELF_MAGIC) {
        return parse_elf(head, size);
    }
    Err(if head.starts_with(GZIP_MAGIC) { ImageError::Compressed } else { ImageError::Unknown })
}

fn parse_image(head: &[u8], size: u64) -> Result<Kernel, ImageError> {
    /// What an image from before Linux 3.17 means by an image size of zero.
    const LEGACY_TEXT_OFFSET: u64 = 0x8_0000;
    let field = |at| double(head, at).ok_or(ImageError::Truncated);
    let image_size = field(header::IMAGE_SIZE)?;
    if field(header::FLAGS)? & header::BIG_ENDIAN != 0 && image_size != 0 {
        return Err(ImageError::BigEndian);
    }
    let text_offset = if image_size == 0 { LEGACY_TEXT_OFFSET } else { field(header::TEXT_OFFSET)? };
    if size <= header::SIZE as u64 || efi_end(head).is_some_and(|end| end > size) {
        return Err(ImageError::Truncated);
    }
    let memory = image_size.max(size);
    text_offset.checked_add(memory).ok_or(ImageError::Segments)?;
    let whole = Segment { offset: 0, length: size, target: 0, size: memory };
    Ok(Kernel { base: Base::Ram(text_offset), segments: alloc::vec![whole], entry: 0, size: memory })
}

/// Where the last section of an Image ends that is an EFI application as well, as Linux is. Nothing else in an Image tells how
/// long the file is (PE format, "COFF File Header" and "Section Table").
fn efi_end(head: &[u8]) -> Option<u64> {
    const SIGNATURE: &[u8] = b"PE\0\0";
    const FILE_HEADER: usize = 4;
    const OPTIONAL_HEADER: usize = 24;
    const SECTION: usize = 40;
    let pe = head.get(word(head, header::PE_OFFSET)? as usize..)?;
    pe.starts_with(SIGNATURE).then_some(())?;
    let count = half(pe, FILE_HEADER + 2)?;
    let table = OPTIONAL_HEADER + usize::from(half(pe, FILE_HEADER + 16)?);
    let sections = pe.get(table..)?.chunks_exact(SECTION).take(count.into());
    let ends = sections.filter_map(|section| {
        let (size, start) = (word(section, 16)?, word(section, 20)?);
        Some(u64::from(size) + u64::from(start))
    });
    ends.max()
}

/// ELF64 (System V ABI, chapters 4 and 5).
fn parse_elf(head: &[u8], size: u64) -> Result<Kernel, ImageError> {
    const CLASS64_LITTLE_ENDIAN: &[u8] = &[2, 1];
    const EXECUTABLE: u16 = 2;
    const POSITION_INDEPENDENT: u16 = 3;
    const AARCH64: u16 = 183;
    const PROGRAM_HEADER: usize = 56;
    const MAX_SEGMENTS: u16 = 32;
    let half_word = |at| half(head, at).ok_or(ImageError::Truncated);
    let is_executable = matches!(half_word(16)?, EXECUTABLE | POSITION_INDEPENDENT);
    let is_ours = head.get(4..6) == Some(CLASS64_LITTLE_ENDIAN) && half_word(18)? == AARCH64;
    if !is_ours || !is_executable || usize::from(half_word(54)?) != PROGRAM_HEADER {
        return Err(ImageError::OtherElf);
    }
    let entry = double(head, 24).ok_or(ImageError::Truncated)?;
    let table = double(head, 32).and_then(|at| usize::try_from(at).ok()).ok_or(ImageError::Truncated)?;
    if half_word(56)? > MAX_SEGMENTS {
        return Err(ImageError::Segments);
    }
    let mut segments = Vec::new();
    for index in 0..usize::from(half_word(56)?) {
        let at = table.checked_add(index * PROGRAM_HEADER).ok_or(ImageError::Truncated)?;
        if let Some(segment) = program_header(head, at, size)? {
            let above = segments.partition_point(|lower: &Segment| lower.target <= segment.target);
            segments.insert(above, segment);
        }
    }
    arrange(segments, entry)
}

/// A segment to load, still at its physical address; `None` for other kinds.
fn program_header(head: &[u8], at: usize, size: u64) -> Result<Option<Segment>, ImageError> {
    const LOAD: u32 = 1;
    let header = head.get(at..).ok_or(ImageError::Truncated)?;
    let field = |at| double(header, at).ok_or(ImageError::Truncated);
    let kind = header.get(..4).and_then(|kind| kind.try_into().ok()).map(u32::from_le_bytes);
    let segment = Segment { offset: field(8)?, length: field(32)?, target: field(24)?, size: field(40)? };
    if kind != Some(LOAD) || segment.size == 0 {
        return Ok(None);
    }
    let end = segment.offset.checked_add(segment.length).ok_or(ImageError::Truncated)?;
    if end > size || segment.length > segment.size {
        return Err(ImageError::Truncated);
    }
    segment.target.checked_add(segment.size).ok_or(ImageError::Segments)?;
    Ok(Some(segment))
}

/// Makes segments, which are in order, relative to the lowest.
fn arrange(mut segments: Vec<Segment>, entry: u64) -> Result<Kernel, ImageError> {
    let base = segments.first().ok_or(ImageError::Segments)?.target;
    let is_apart = |pair: &[Segment]| match pair {
        [lower, upper] => lower.target + lower.size <= upper.target,
        _ => true,
    };
    let holds_entry = |segment: &Segment| (segment.target..segment.target + segment.size).contains(&entry);
    if !segments.windows(2).all(is_apart) || !segments.iter().any(holds_entry) {
        return Err(ImageError::Segments);
    }
    for segment in &mut segments {
        segment.target -= base;
    }
    let size = segments.last().map_or(0, |last| last.target + last.size);
    Ok(Kernel { base: Base::Fixed(Ipa(base)), segments, entry: entry - base, size })
}

fn double(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    bytes.try_into().ok().map(u16::from_le_bytes)
}

#[cfg(test)]
mod tests;
