//! The console on a terminal: everything as it comes, without the report lines.

use super::reports::{Reports, Taken};

/// Lets bytes through at once, except at the start of a line while they could still become a
/// report.
#[derive(Debug)]
pub struct Screen {
    // At the start of a line that could be a report: its bytes so far.
    held: Option<Vec<u8>>,
    reports: Reports,
}

impl Default for Screen {
    fn default() -> Self {
        Self { held: Some(Vec::new()), reports: Reports::default() }
    }
}

impl Screen {
    /// Takes `bytes`; returns those to show, and the reports that are complete.
    pub fn push(&mut self, bytes: &[u8]) -> (Vec<u8>, Vec<String>) {
        let (mut shown, mut reports) = (Vec::with_capacity(bytes.len()), Vec::new());
        for &byte in bytes {
            let Some(mut held) = self.held.take() else {
                shown.push(byte);
                self.held = begins_line(byte).then(Vec::new);
                continue;
            };
            held.push(byte);
            let text = String::from_utf8_lossy(&held);
            if byte == b'\n' {
                match self.reports.take(text.trim_end()) {
                    Taken::Nothing => shown.append(&mut held),
                    Taken::Part => {}
                    Taken::Report(json) => reports.push(json),
                }
                self.held = Some(Vec::new());
            } else if self.reports.may_begin(&text) {
                self.held = Some(held);
            } else {
                shown.append(&mut held);
                self.held = begins_line(byte).then(Vec::new);
            }
        }
        (shown, reports)
    }

    /// What is held back, at the end.
    pub fn rest(&mut self) -> Vec<u8> {
        self.held.take().unwrap_or_default()
    }
}

/// Whether a line begins after a byte that was shown.
const fn begins_line(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_vanish_however_the_bytes_are_cut() {
        let text = b"~ # ls\r\n(mote) off\r\n(mote) report {\"a\":1}\r\ncontrol: report {\"b\"\r\ncontrol: :2}\r\n(mo";
        for cut in 1..text.len() {
            let mut screen = Screen::default();
            let (mut shown, mut reports) = screen.push(&text[..cut]);
            let (more, later) = screen.push(&text[cut..]);
            shown.extend(more);
            shown.extend(screen.rest());
            reports.extend(later);
            assert_eq!(shown, b"~ # ls\r\n(mote) off\r\n(mo");
            assert_eq!(reports, ["{\"a\":1}", "{\"b\":2}"]);
        }
    }

    #[test]
    fn a_prompt_is_shown_at_once() {
        let mut screen = Screen::default();
        assert_eq!(screen.push(b"~ # ").0, b"~ # ");
        assert_eq!(screen.push(b"l").0, b"l");
    }
}
