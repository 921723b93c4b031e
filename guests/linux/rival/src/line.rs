//! Lines of text, each put together before it is written so that no other's can come between.

use core::fmt::{self, Arguments, Write};

use crate::calls;

struct Line {
    // Private so that `length` stays within `bytes`.
    bytes: [u8; Self::MAX],
    length: usize,
}

impl Line {
    const MAX: usize = 80;
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length.checked_add(text.len()).ok_or(fmt::Error)?;
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Prints a line; what is too long of it is missing.
pub fn print(text: Arguments<'_>) {
    let mut line = Line { bytes: [0; Line::MAX], length: 0 };
    let _ = writeln!(line, "{text}");
    calls::write(line.bytes.get(..line.length).unwrap_or_default());
}
