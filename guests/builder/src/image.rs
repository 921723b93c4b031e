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

/// Bytes of an image that [`parse`] needs at least to see: an Image's header, an ELF file's headers.
pub const HEAD: usize = 4096;

/// Recognises the image whose first bytes are `head`, of `size` bytes in all. `head` is the whole image, or at least its first
/// [`HEAD`] bytes.
///
/// # Errors
/// What is wrong with it.
pub fn parse(head: &[u8], size: u64) -> Result<Kernel, ImageError> {
    const IMAGE_MAGIC: &[u8] = b"ARM\x64";
    const ELF_MAGIC: &[u8] = b"\x7fELF";
    const GZIP_MAGIC: &[u8] = b"\x1f\x8b";
    if head.get(56..60) == Some(IMAGE_MAGIC) {
        return parse_image(head, size);
    }
    if head.starts_with(ELF_MAGIC) {
        return parse_elf(head, size);
    }
    Err(if head.starts_with(GZIP_MAGIC) { ImageError::Compressed } else { ImageError::Unknown })
}

/// An arm64 Image (Linux, `Documentation/arch/arm64/booting.rst`).
fn parse_image(head: &[u8], size: u64) -> Result<Kernel, ImageError> {
    const HEADER: u64 = 64;
    const BIG_ENDIAN: u64 = 1;
    /// What an image from before Linux 3.17 means by an image size of zero.
    const LEGACY_TEXT_OFFSET: u64 = 0x8_0000;
    let (text_offset, image_size, flags) = (double(head, 8)?, double(head, 16)?, double(head, 24)?);
    if flags & BIG_ENDIAN != 0 && image_size != 0 {
        return Err(ImageError::BigEndian);
    }
    let text_offset = if image_size == 0 { LEGACY_TEXT_OFFSET } else { text_offset };
    if size <= HEADER || efi_end(head).is_ok_and(|end| end > size) {
        return Err(ImageError::Truncated);
    }
    let memory = image_size.max(size);
    text_offset.checked_add(memory).ok_or(ImageError::Segments)?;
    let whole = Segment { offset: 0, length: size, target: 0, size: memory };
    Ok(Kernel { base: Base::Ram(text_offset), segments: alloc::vec![whole], entry: 0, size: memory })
}

/// Where the last section ends of an Image that is an EFI application as well, as Linux is; an error if it is none. Nothing
/// else in an Image tells how long the file is (PE format, "COFF File Header" and "Section Table").
fn efi_end(head: &[u8]) -> Result<u64, ImageError> {
    const SIGNATURE: &[u8] = b"PE\0\0";
    const HEADERS: usize = 24;
    const SECTION: usize = 40;
    let pe = head.get(word(head, 60)? as usize..).filter(|pe| pe.starts_with(SIGNATURE)).unwrap_or_default();
    let (count, optional_header) = (half(pe, 6)?, half(pe, 20)?);
    let table = pe.get(HEADERS + usize::from(optional_header)..).unwrap_or_default();
    table.chunks_exact(SECTION).take(count.into()).try_fold(0, |end, section| {
        let (size, start) = (word(section, 16)?, word(section, 20)?);
        Ok(end.max(u64::from(size) + u64::from(start)))
    })
}

/// ELF64 (System V ABI, chapters 4 and 5).
fn parse_elf(head: &[u8], size: u64) -> Result<Kernel, ImageError> {
    const CLASS64_LITTLE_ENDIAN: &[u8] = &[2, 1];
    const EXECUTABLE: u16 = 2;
    const POSITION_INDEPENDENT: u16 = 3;
    const AARCH64: u16 = 183;
    const PROGRAM_HEADER: u16 = 56;
    const MAX_SEGMENTS: u16 = 32;
    let is_executable = matches!(half(head, 16)?, EXECUTABLE | POSITION_INDEPENDENT);
    let is_ours = head.get(4..6) == Some(CLASS64_LITTLE_ENDIAN) && half(head, 18)? == AARCH64;
    if !is_ours || !is_executable || half(head, 54)? != PROGRAM_HEADER {
        return Err(ImageError::OtherElf);
    }
    let (entry, table, count) = (double(head, 24)?, double(head, 32)?, half(head, 56)?);
    if count > MAX_SEGMENTS {
        return Err(ImageError::Segments);
    }
    let table = usize::try_from(table).ok().and_then(|table| head.get(table..)).ok_or(ImageError::Truncated)?;
    let mut segments = Vec::new();
    for index in 0..usize::from(count) {
        let header = table.get(index * usize::from(PROGRAM_HEADER)..).unwrap_or_default();
        if let Some(segment) = program_header(header, size)? {
            let above = segments.partition_point(|lower: &Segment| lower.target <= segment.target);
            segments.insert(above, segment);
        }
    }
    arrange(segments, entry)
}

/// A segment to load, still at its physical address; `None` for other kinds.
fn program_header(header: &[u8], size: u64) -> Result<Option<Segment>, ImageError> {
    const LOAD: u32 = 1;
    let field = |at| double(header, at);
    let segment = Segment { offset: field(8)?, length: field(32)?, target: field(24)?, size: field(40)? };
    if word(header, 0)? != LOAD || segment.size == 0 {
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

fn double(bytes: &[u8], at: usize) -> Result<u64, ImageError> {
    field(bytes, at).map(u64::from_le_bytes)
}

fn word(bytes: &[u8], at: usize) -> Result<u32, ImageError> {
    field(bytes, at).map(u32::from_le_bytes)
}

fn half(bytes: &[u8], at: usize) -> Result<u16, ImageError> {
    field(bytes, at).map(u16::from_le_bytes)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], ImageError> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(ImageError::Truncated)
}

#[cfg(test)]
mod tests;
