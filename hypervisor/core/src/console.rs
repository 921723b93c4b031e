//! The physical console that EL2 and all guests share.
//!
//! A guest's output is kept until its line is complete, then written behind the guest's name, so that lines never mix and none can pass
//! for another guest's or EL2's own. The output of a guest that somebody watches goes to the wire as it comes: it may draw what it likes.
//! Who is watched, and gets what is typed, is for the control domain to say.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::mem::take;

/// Bytes of a line from which on it is written in parts.
const LINE: usize = 256;
/// From a control character to the one that is shown for it behind a caret, as `cat -v` does.
const CARET: u8 = 0x40;
/// What begins EL2's own lines.
const OWN_PREFIX: &str = "(mote) ";

/// The last of what EL2 said itself.
#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    /// How many bytes were before.
    before: u32,
}

impl Log {
    /// Bytes that are kept.
    const ROOM: usize = 16 << 10;

    fn forget(&mut self, bytes: usize) {
        self.before = self.before.wrapping_add(bytes as u32);
        self.bytes.drain(..bytes);
    }
}

impl Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes.extend(text.bytes());
        self.forget(self.bytes.len().saturating_sub(Self::ROOM));
        Ok(())
    }
}

/// What takes the console's bytes. It does not fail.
pub struct Wire<W>(pub W);

impl<W: FnMut(&[u8])> Write for Wire<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        (self.0)(text.as_bytes());
        Ok(())
    }
}

/// The console's state.
pub struct Console<W> {
    wire: Wire<W>,
    // Whether a guest that is watched has left the wire within a line.
    within_line: bool,
    log: Log,
}

impl<W: FnMut(&[u8])> Console<W> {
    /// A console that nothing was written to.
    pub fn new(wire: W) -> Self {
        Self { wire: Wire(wire), within_line: false, log: Log::default() }
    }

    /// Writes one line of EL2's own.
    pub fn own_line(&mut self, line: fmt::Arguments<'_>) {
        // Neither fails.
        let _ = writeln!(self.log, "{line}");
        self.print_line(format_args!("{OWN_PREFIX}{line}"));
    }

    /// What EL2 said from byte `from` on, or from as early on as is known, `most` bytes at most, and the number of the byte behind it;
    /// with `clear`, all is forgotten then.
    pub fn said(&mut self, from: u32, most: usize, clear: bool) -> (Vec<u8>, u32) {
        // Numbers wrap around: what lies less far ahead than behind is ahead.
        let skip = from.wrapping_sub(self.log.before).cast_signed().max(0) as usize;
        let skip = skip.min(self.log.bytes.len());
        let text: Vec<u8> = self.log.bytes.iter().skip(skip).take(most).copied().collect();
        let end = self.log.before.wrapping_add((skip + text.len()) as u32);
        if clear {
            self.log.forget(self.log.bytes.len());
        }
        (text, end)
    }

    /// Writes a guest's bytes as they are.
    fn pass(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.within_line = *last != b'\n';
            (self.wire.0)(bytes);
        }
    }

    /// Writes a line at the beginning of one.
    fn print_line(&mut self, line: fmt::Arguments<'_>) {
        let before = if take(&mut self.within_line) { "\r\n" } else { "" };
        // The wire does not fail.
        let _ = write!(self.wire, "{before}{line}\r\n");
    }
}

/// What a domain has on the console.
#[derive(Default)]
pub struct Output {
    /// What begins its lines.
    pub name: String,
    line: Vec<u8>,
    // A line that contains this shows that the domain is ready for its work; any that is not blank, if this is empty. `None` if it
    // is ready, or nobody asks.
    ready: Option<String>,
    is_watched: bool,
}

impl Output {
    /// What a domain has that has said nothing yet.
    pub fn new(name: String, ready: String) -> Self {
        Self { name, ready: Some(ready), ..Self::default() }
    }

    /// The domain says something. Returns whether this made it ready.
    pub fn say(&mut self, text: &[u8], console: &mut Console<impl FnMut(&[u8])>) -> bool {
        if self.is_watched {
            console.pass(text);
        }
        let asked = self.ready.is_some();
        for part in text.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.pop_if(|byte| *byte == b'\n').is_some() {
                self.complete(console);
            } else if self.line.len() >= LINE {
                self.flush(unfinished(&self.line), console);
            }
        }
        asked && self.ready.is_none()
    }

    /// What there is of a line is one.
    pub fn complete(&mut self, console: &mut Console<impl FnMut(&[u8])>) {
        self.flush(0, console);
    }

    /// Somebody begins or ends to watch the domain: what it has written of a line is perhaps a prompt.
    pub fn watch(&mut self, is_watched: bool, console: &mut Console<impl FnMut(&[u8])>) {
        self.is_watched = is_watched;
        if is_watched {
            console.pass(&self.line);
        }
    }

    /// Writes what there is of a line behind the domain's name, unless it is there already because somebody watches. The last `keep`
    /// bytes stay for the next line.
    fn flush(&mut self, keep: usize, console: &mut Console<impl FnMut(&[u8])>) {
        let shown = self.line.len().saturating_sub(keep);
        let text = self.line.get(..shown).unwrap_or_default();
        if !self.is_watched && text.iter().any(|&byte| byte != b'\r') {
            console.print_line(format_args!("{}: {}", self.name, Plain(text)));
        }
        let is_blank = text.trim_ascii().is_empty();
        self.ready
            .take_if(|ready| !is_blank && text.windows(ready.len().max(1)).any(|at| at.starts_with(ready.as_bytes())));
        self.line.drain(..shown);
    }
}

/// How many bytes at the end of a line begin a character that is not complete.
fn unfinished(line: &[u8]) -> usize {
    match core::str::from_utf8(line) {
        Err(error) if error.error_len().is_none() => line.len() - error.valid_up_to(),
        _ => 0,
    }
}

/// A guest's line, without what could move the cursor or pass for another line: text and tabs stay, carriage
/// returns go, other control characters are shown as `^X`, and what reorders or breaks lines as unknown.
struct Plain<'a>(&'a [u8]);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for text in chunk.valid().split_inclusive(is_special) {
                f.write_str(text.trim_end_matches(is_special))?;
                match text.chars().next_back().filter(|&c| is_special(c)) {
                    None | Some('\r') => {}
                    Some(c) if c.is_ascii_control() => write!(f, "^{}", char::from(c as u8 ^ CARET))?,
                    Some(c) if c.is_control() => f.write_str("^?")?,
                    Some(_) => f.write_char(char::REPLACEMENT_CHARACTER)?,
                }
            }
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

/// Control characters, line and paragraph separators, and what sets the direction of text.
fn is_special(c: char) -> bool {
    c.is_control() && c != '\t' || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::{boxed::Box, rc::Rc};

    type Sink = Box<dyn FnMut(&[u8])>;

    /// A console whose wire is kept, and two domains.
    struct Machine {
        wire: Rc<RefCell<Vec<u8>>>,
        console: Console<Sink>,
        domains: [Output; 2],
    }

    impl Machine {
        fn new() -> Self {
            let wire = Rc::new(RefCell::new(Vec::new()));
            let end = wire.clone();
            let console = Console::<Sink>::new(Box::new(move |bytes: &[u8]| end.borrow_mut().extend_from_slice(bytes)));
            let domains = [Output::new("one".into(), String::new()), Output::new("two".into(), "init: ".into())];
            Self { wire, console, domains }
        }

        fn say(&mut self, number: usize, text: impl AsRef<[u8]>) -> bool {
            self.domains[number - 1].say(text.as_ref(), &mut self.console)
        }

        fn say_bytewise(&mut self, number: usize, text: impl AsRef<[u8]>) {
            for byte in text.as_ref() {
                self.say(number, [*byte]);
            }
        }

        fn watch(&mut self, number: usize, is_watched: bool) {
            self.domains[number - 1].watch(is_watched, &mut self.console);
        }

        /// What was written since the last time.
        fn wire(&self) -> String {
            String::from_utf8(take(&mut self.wire.borrow_mut())).expect("text")
        }
    }

    #[test]
    fn what_was_said_can_be_read_again() {
        let mut console = Console::new(|_: &[u8]| {});
        console.own_line(format_args!("one"));
        console.own_line(format_args!("two"));
        assert_eq!(console.said(0, 100, false), (b"one\ntwo\n".to_vec(), 8));
        assert_eq!(console.said(4, 2, false), (b"tw".to_vec(), 6));
        assert_eq!(console.said(8, 100, true), (Vec::new(), 8));
        assert_eq!(console.said(0, 100, false), (Vec::new(), 8));
        for _ in 0..Log::ROOM {
            console.own_line(format_args!("x"));
        }
        let (text, end) = console.said(8, usize::MAX, false);
        assert_eq!((text.len(), end), (Log::ROOM, 8 + 2 * Log::ROOM as u32), "the oldest is forgotten");
        assert_eq!(console.said(end - 2, usize::MAX, false).0, b"x\n");
        assert_eq!(console.said(end + 5, usize::MAX, false).0, b"");
    }

    #[test]
    fn lines_do_not_mix_and_carry_names() {
        let mut machine = Machine::new();
        machine.say(1, "hel");
        machine.say(2, "wor");
        machine.say(1, "lo\r\nagain\nno");
        machine.console.own_line(format_args!("mine"));
        machine.say(2, "ld\n");
        machine.domains[0].complete(&mut machine.console);
        machine.domains[0].complete(&mut machine.console);
        assert_eq!(machine.wire(), "one: hello\r\none: again\r\n(mote) mine\r\ntwo: world\r\none: no\r\n");
    }

    #[test]
    fn a_guest_cannot_pass_for_the_hypervisor() {
        let mut machine = Machine::new();
        machine.say(1, "x\r(mote) report {}\n\x1b[2J\x1b]0;\u{9b}\u{e9}\n");
        machine.say_bytewise(1, "y".repeat(LINE));
        machine.say(1, "(mote) z\n");
        let wire = machine.wire();
        assert!(wire.lines().all(|line| line.starts_with("one: ")), "{wire}");
        assert!(wire.contains("^[[2J^[]0;^?\u{e9}"));
    }

    #[test]
    fn text_stays_as_it_is() {
        let mut machine = Machine::new();
        machine.say(1, "\r\n\ta\u{e9}\u{20ac}\x7f\u{202e}b\u{2028}c\t\n\n");
        machine.say_bytewise(1, "\u{20ac}".repeat(LINE));
        machine.say(1, "\n");
        let wire = machine.wire();
        let lines: Vec<&str> = wire.split("\r\n").collect();
        assert_eq!(lines[0], "one: \ta\u{e9}\u{20ac}^?\u{fffd}b\u{fffd}c\t");
        assert_eq!(lines[1], std::format!("one: {}", "\u{20ac}".repeat(LINE / 3)));
        assert_eq!(wire.matches('\u{20ac}').count(), LINE + 1);
        assert_eq!(wire.matches('\u{fffd}').count(), 2);
    }

    #[test]
    fn what_comes_at_once_is_what_comes_byte_by_byte() {
        let text = "a\u{e9}\n\nb\x1b\r\n".repeat(40);
        let mut machine = Machine::new();
        machine.say(1, &text);
        let at_once = machine.wire();
        machine.say_bytewise(1, &text);
        assert_eq!(machine.wire(), at_once);
        assert_eq!(at_once.lines().count(), 80);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_unknown() {
        let mut machine = Machine::new();
        machine.say_bytewise(1, [b'a', 0xff, 0xe2, 0x82, b'b', 0xe2, b'\n']);
        assert_eq!(machine.wire(), "one: a\u{fffd}\u{fffd}b\u{fffd}\r\n");
    }

    #[test]
    fn a_prompt_is_there_when_somebody_comes_to_watch() {
        let mut machine = Machine::new();
        machine.say(1, "booted\nlogin: ");
        machine.watch(1, true);
        assert_eq!(machine.wire(), "one: booted\r\nlogin: ");
        machine.say(1, "root\nwelcome");
        machine.watch(1, false);
        machine.console.own_line(format_args!("switched"));
        machine.say(1, "\non\n");
        assert_eq!(machine.wire(), "root\nwelcome\r\n(mote) switched\r\none: welcome\r\none: on\r\n");
    }

    #[test]
    fn a_domain_is_ready_once() {
        let mut machine = Machine::new();
        assert!(!machine.say(1, "\r\n"));
        assert!(machine.say(1, "a\n"));
        assert!(!machine.say(1, "a\n"));
        assert!(!machine.say(2, "nothing\n"));
        assert!(!machine.say(2, "[ 0.1] init: re"));
        assert!(machine.say(2, "ady\nmore\n"));
        assert!(!machine.say(2, "init: \n"));
    }

    #[test]
    fn a_guest_that_is_watched_is_not_interrupted_within_a_line() {
        let mut machine = Machine::new();
        machine.watch(1, true);
        machine.say(1, "login: ");
        machine.say(2, "line\n");
        machine.domains[0].complete(&mut machine.console);
        assert_eq!(machine.wire(), "login: \r\ntwo: line\r\n");
    }
}
