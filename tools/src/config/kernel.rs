//! Whether a file is a kernel that can be started: asked of the code that builds it.

use std::path::Path;

use mote_builder::image::{self, ImageError};
use mote_builder::layout::{self, Layout, LayoutError};

use super::source::Wrong;

const FORMATS: &str = "a kernel is an arm64 Linux Image or an arm64 ELF file";
/// A guest's device tree is one page at least.
const TREE: u64 = 4096;

/// Looks at the kernel in `file` for a guest with `memory` bytes.
///
/// # Errors
///
/// The file cannot be read, is no kernel, is cut short, or needs more memory.
pub fn check(file: &Path, memory: u64) -> Result<(), Wrong> {
    let name = file.display();
    let bytes = std::fs::read(file)
        .map_err(|error| (format!("cannot read {name}: {error}"), "check its permissions".into()))?;
    if let Some(format) = compressed(&bytes) {
        return Err((format!("{name} is compressed with {format}"), format!("uncompress it; {FORMATS}")));
    }
    let kernel = image::parse(&bytes, bytes.len() as u64)
        .map_err(|error| (format!("{name} is no kernel: {error}"), remedy(error)))?;
    match layout::banks(memory).and_then(|banks| Layout::new(banks, &kernel, None, TREE)) {
        // Memory that is wrong in itself is told of where it is said.
        Ok(_) | Err(LayoutError::TooMuch) => Ok(()),
        Err(LayoutError::TooLittle(_)) if memory == 0 => Ok(()),
        Err(LayoutError::TooLittle(needed)) => Err((
            format!("{name} does not fit the guest's {} KiB", memory >> 10),
            format!("it needs at least memory = <0x0 {:#x}>;", needed.div_ceil(4096) * 4),
        )),
        Err(LayoutError::KernelPlace) => Err((
            format!("{name} is linked for an address where guests have no RAM"),
            "guests' RAM begins at 0x40000000; or make it an arm64 Image, which runs anywhere".into(),
        )),
    }
}

fn remedy(error: ImageError) -> String {
    match error {
        ImageError::Truncated => "copy or download it again".into(),
        _ => FORMATS.into(),
    }
}

/// The compression whose mark `bytes` start with.
fn compressed(bytes: &[u8]) -> Option<&'static str> {
    const MARKS: [(&[u8], &str); 4] =
        [(b"\x1f\x8b", "gzip"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2")];
    MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)).map(|(_, name)| *name)
}
