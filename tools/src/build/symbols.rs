//! Which function and line of the hypervisor an address in a crash report belongs to.

use std::path::Path;

use addr2line::Loader;
use miette::{Result, miette};

/// How the hypervisor writes an address of its own code: its offset in the image follows.
const OFFSET_MARK: &str = "(image+0x";

/// A program's symbols.
pub struct Symbols {
    loader: Loader,
}

impl Symbols {
    /// Reads those of the ELF file at `path`, which is linked at address 0.
    ///
    /// # Errors
    ///
    /// It cannot be read or has none.
    pub fn open(path: &Path) -> Result<Self> {
        let loader = Loader::new(path).map_err(|error| miette!("cannot read {}: {error}", path.display()))?;
        Ok(Self { loader })
    }

    /// Where the code at `offset` comes from, the function that was compiled into another one
    /// before that other.
    #[must_use]
    pub fn describe(&self, offset: u64) -> Vec<String> {
        let Ok(mut frames) = self.loader.find_frames(offset) else { return Vec::new() };
        let mut places = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            let function = frame.function.as_ref().and_then(|name| name.demangle().ok().map(String::from));
            let location = frame.location.and_then(|place| Some(format!("{}:{}", place.file?, place.line?)));
            places.push(match (function, location) {
                (Some(function), Some(location)) => format!("{function} at {location}"),
                (Some(text), None) | (None, Some(text)) => text,
                (None, None) => continue,
            });
        }
        if places.is_empty() {
            let symbol = self.loader.find_symbol(offset);
            places.extend(symbol.map(|name| addr2line::demangle_auto(name.into(), None).into_owned()));
        }
        places
    }

    /// What an address in `line`, a line of a crash report, means: one line per function. Nothing
    /// if none is in it.
    #[must_use]
    pub fn explain(&self, line: &str) -> Vec<String> {
        offset(line).map(|offset| self.describe(offset)).unwrap_or_default()
    }
}

impl std::fmt::Debug for Symbols {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Symbols")
    }
}

fn offset(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(OFFSET_MARK)?;
    let (digits, _) = rest.split_once(')')?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_found_in_a_crash_report() {
        assert_eq!(offset("(mote) pc  0x0000000040201234 (image+0x1234)"), Some(0x1234));
        assert_eq!(offset("(mote) sp  0x0000000040201234"), None);
        assert_eq!(offset("(image+0xwhat)"), None);
    }
}
