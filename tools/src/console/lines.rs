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
            if byte == b'\n' || self.partial.len() >= Self::LONGEST {
                lines.extend(self.rest());
                if self.partial.is_empty() && byte == b'\n' {
                    continue;
                }
            }
            self.partial.push(byte);
        }
        lines
    }

    /// Takes the line that has begun, if one has.
    pub fn rest(&mut self) -> Option<String> {
        let bytes = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&bytes);
        Some(text.trim_end_matches('\r').to_owned())
    }
}
