//! Bytes into lines.

/// Collects bytes until a line is complete.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// A guest that never ends its line must not fill our memory.
    const LONGEST: usize = 64 * 1024;

    /// Takes `bytes` and returns the lines that they complete, without their ends.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                lines.push(self.take());
                continue;
            }
            self.partial.push(byte);
            if self.partial.len() >= Self::LONGEST {
                lines.push(self.take());
            }
        }
        lines
    }

    /// Takes the line that has begun, if one has.
    pub fn rest(&mut self) -> Option<String> {
        (!self.partial.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let bytes = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&bytes);
        text.trim_end_matches('\r').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_the_bytes_are_cut() {
        let text = b"one\r\n\ntwo\nrest";
        for cut in 0..text.len() {
            let mut lines = Lines::default();
            let mut found = lines.push(&text[..cut]);
            found.extend(lines.push(&text[cut..]));
            assert_eq!(found, ["one", "", "two"]);
            assert_eq!(lines.rest().as_deref(), Some("rest"));
            assert_eq!(lines.rest(), None);
        }
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut lines = Lines::default();
        let found = lines.push(&vec![b'x'; Lines::LONGEST + 1]);
        assert_eq!(found.len(), 1);
        assert_eq!(lines.rest().as_deref(), Some("x"));
    }
}
