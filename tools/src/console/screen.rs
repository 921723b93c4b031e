//! The console on a terminal: everything as it comes, without the report lines.

use super::REPORT;

/// Lets bytes through at once, except at the start of a line while they could still become a
/// report.
#[derive(Debug)]
pub struct Screen {
    state: State,
}

#[derive(Debug)]
enum State {
    /// At the start of a line; these bytes so far are the start of [`REPORT`].
    Start(Vec<u8>),
    /// In a line that is no report.
    Line,
    /// In a report; these are its bytes.
    Report(Vec<u8>),
}

impl Default for Screen {
    fn default() -> Self {
        Self { state: State::Start(Vec::new()) }
    }
}

impl Screen {
    /// Takes `bytes`; returns those to show, and the reports that are complete.
    pub fn push(&mut self, bytes: &[u8]) -> (Vec<u8>, Vec<String>) {
        let (mut shown, mut reports) = (Vec::with_capacity(bytes.len()), Vec::new());
        for &byte in bytes {
            match &mut self.state {
                State::Start(held) => {
                    held.push(byte);
                    if held == REPORT.as_bytes() {
                        self.state = State::Report(Vec::new());
                    } else if !REPORT.as_bytes().starts_with(held) {
                        shown.append(held);
                        self.state = after(byte);
                    }
                }
                State::Line => {
                    shown.push(byte);
                    self.state = after(byte);
                }
                State::Report(json) if byte == b'\n' => {
                    reports.push(String::from_utf8_lossy(json).trim_end().to_owned());
                    self.state = after(byte);
                }
                State::Report(json) => json.push(byte),
            }
        }
        (shown, reports)
    }

    /// What is held back, at the end.
    pub fn rest(&mut self) -> Vec<u8> {
        match &mut self.state {
            State::Start(held) => std::mem::take(held),
            State::Line | State::Report(_) => Vec::new(),
        }
    }
}

/// The state after a byte that was shown.
const fn after(byte: u8) -> State {
    match byte {
        b'\n' | b'\r' => State::Start(Vec::new()),
        _ => State::Line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_vanish_however_the_bytes_are_cut() {
        let text = b"~ # ls\r\n(mote) off\r\n(mote) report {\"a\":1}\r\n(mo";
        for cut in 1..text.len() {
            let mut screen = Screen::default();
            let (mut shown, mut reports) = screen.push(&text[..cut]);
            let (more, later) = screen.push(&text[cut..]);
            shown.extend(more);
            shown.extend(screen.rest());
            reports.extend(later);
            assert_eq!(shown, b"~ # ls\r\n(mote) off\r\n(mo");
            assert_eq!(reports, ["{\"a\":1}"]);
        }
    }

    #[test]
    fn a_prompt_is_shown_at_once() {
        let mut screen = Screen::default();
        assert_eq!(screen.push(b"~ # ").0, b"~ # ");
        assert_eq!(screen.push(b"l").0, b"l");
    }
}
