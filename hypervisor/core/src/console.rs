//! The physical console that EL2 and all guests share.
//!
//! A guest's output is kept until its line is complete, then written behind the guest's name, so that lines never mix and none can pass
//! for another guest's or EL2's own. The guest in focus, if there is one, gets what is typed, and its output goes
//! to the wire as it comes: somebody watches it, and it may draw what it likes. Ctrl-A three times moves the focus, as on Xen.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::mem::take;

use crate::id::DomainId;

/// Ctrl-A.
const SWITCH: u8 = 1;
/// How often it must be typed in a row.
const SWITCH_COUNT: u8 = 3;
/// Bytes of a line that are kept; a longer one is written in parts.
const LINE: usize = 256;
/// From a control character to the one that is shown for it behind a caret, as `cat -v` does.
const CARET: u8 = 0x40;
/// What begins EL2's own lines.
const OWN_PREFIX: &str = "(mote) ";

/// When a domain counts as ready for its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// With its first line that is not empty.
    FirstLine,
    /// With its first line that contains this.
    Text(String),
    /// It is already, or nobody asks.
    Reached,
}

/// What the console writes to. It does not fail.
pub trait Wire {
    /// Writes text of the console's own, or a guest's bytes as they are.
    fn write(&mut self, bytes: &[u8]);
}

struct Channel {
    domain: DomainId,
    name: String,
    line: Vec<u8>,
    ready: Ready,
}

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

impl Wire for Log {
    fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes.iter().filter(|&&byte| byte != b'\r'));
        self.forget(self.bytes.len().saturating_sub(Self::ROOM));
    }
}

/// The console's state. What it writes goes to the `wire` that each call is given.
#[derive(Default)]
pub struct Console {
    // In the order of the domains' numbers.
    channels: Vec<Channel>,
    focus: Option<DomainId>,
    switches: u8,
    // Whether the guest in focus has left the wire within a line.
    within_line: bool,
    log: Log,
}

impl Console {
    /// Puts a domain on the console.
    pub fn attach(&mut self, domain: DomainId, name: &str, ready: Ready) {
        let line = Vec::with_capacity(LINE);
        let index = self.channels.partition_point(|channel| channel.domain < domain);
        self.channels.insert(index, Channel { domain, name: name.into(), line, ready });
    }

    /// Puts a clone on the console that has something to say, unless it is there: it is called after its template and its number.
    pub fn attach_clone(&mut self, domain: DomainId, template: DomainId) {
        if find(&mut self.channels, domain).is_none() {
            let name = find(&mut self.channels, template).map_or("", |channel| &channel.name);
            let name = alloc::format!("{name}.{}", domain.get());
            self.attach(domain, &name, Ready::Reached);
        }
    }

    /// A domain says no more: what is left of its last line is one.
    pub fn complete(&mut self, domain: DomainId, wire: &mut impl Wire) {
        self.flush(domain, 0, wire);
    }

    /// Gives a domain what is typed.
    pub fn focus(&mut self, domain: DomainId, wire: &mut impl Wire) {
        while self.focus != Some(domain) && find(&mut self.channels, domain).is_some() {
            self.move_focus(wire);
        }
    }

    /// Takes a domain off, with what is left of its last line. If it was in focus, the next one is.
    pub fn detach(&mut self, domain: DomainId, wire: &mut impl Wire) {
        self.flush(domain, 0, wire);
        if self.focus == Some(domain) {
            self.move_focus(wire);
        }
        self.focus = self.focus.filter(|&focus| focus != domain);
        self.channels.retain(|channel| channel.domain != domain);
    }

    /// A domain sends a byte. Returns whether this made it ready.
    pub fn send(&mut self, domain: DomainId, byte: u8, wire: &mut impl Wire) -> bool {
        if self.focus == Some(domain) {
            wire.write(&[byte]);
            self.within_line = byte != b'\n';
        }
        let Some(channel) = find(&mut self.channels, domain) else { return false };
        if byte != b'\n' {
            channel.line.push(byte);
            if channel.line.len() < LINE {
                return false;
            }
        }
        let ready = channel.complete_line();
        let cut = if byte == b'\n' { 0 } else { unfinished(&channel.line) };
        self.flush(domain, cut, wire);
        ready
    }

    /// Somebody typed a byte. If a guest gets it, says which, and how many Ctrl-A before it turned out to be its own.
    pub fn typed(&mut self, byte: u8, wire: &mut impl Wire) -> Option<(DomainId, u8)> {
        if byte != SWITCH {
            let held_back = take(&mut self.switches);
            return self.focus.map(|domain| (domain, held_back));
        }
        self.switches += 1;
        if self.switches == SWITCH_COUNT {
            self.switches = 0;
            self.move_focus(wire);
        }
        None
    }

    /// Writes one line of EL2's own.
    pub fn own_line(&mut self, line: fmt::Arguments<'_>, wire: &mut impl Wire) {
        print_line(&mut false, line, &mut self.log);
        print_line(&mut self.within_line, format_args!("{OWN_PREFIX}{line}"), wire);
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

    /// Writes what a domain has sent of a line behind its name, unless it is there already because the domain is in focus. The
    /// last `keep` bytes stay for the next line.
    fn flush(&mut self, domain: DomainId, keep: usize, wire: &mut impl Wire) {
        let Some(channel) = find(&mut self.channels, domain) else { return };
        let shown = channel.line.len().saturating_sub(keep);
        let text = channel.line.get(..shown).unwrap_or_default();
        if self.focus != Some(domain) && text.iter().any(|&byte| byte != b'\r') {
            print_line(&mut self.within_line, format_args!("{}: {}", channel.name, Plain(text)), wire);
        }
        channel.line.drain(..shown);
    }

    /// Gives what is typed to the next: from the hypervisor to the first guest, from each guest to the one behind it, and
    /// from the last back to the hypervisor.
    pub fn move_focus(&mut self, wire: &mut impl Wire) {
        // The control domain is not one of them: it reads nothing.
        let before = self.focus.unwrap_or(DomainId::CONTROL);
        let next = self.channels.partition_point(|channel| channel.domain <= before);
        let channel = self.channels.get(next);
        self.focus = channel.map(|channel| channel.domain);
        let name = channel.map_or("the hypervisor", |channel| &channel.name);
        let line = format_args!("{OWN_PREFIX}*** Serial input to {name} (type 'CTRL-a' three times to switch input)");
        print_line(&mut self.within_line, line, wire);
        // What it has written of a line, a prompt perhaps.
        if let Some(channel) = channel.filter(|channel| !channel.line.is_empty()) {
            wire.write(&channel.line);
            self.within_line = true;
        }
    }
}

fn find(channels: &mut [Channel], domain: DomainId) -> Option<&mut Channel> {
    let index = channels.binary_search_by_key(&domain, |channel| channel.domain).ok()?;
    channels.get_mut(index)
}

/// Writes a line at the beginning of one, where the wire may be `within_line`.
fn print_line(within_line: &mut bool, line: fmt::Arguments<'_>, wire: &mut impl Wire) {
    if take(within_line) {
        wire.write(b"\r\n");
    }
    // The wire does not fail.
    let _ = write!(Text(wire), "{line}\r\n");
}

/// A wire that takes formatted text.
struct Text<'a, W>(&'a mut W);

impl<W: Wire> Write for Text<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl Channel {
    /// Looks at a line that is complete; says whether it made the domain ready.
    fn complete_line(&mut self) -> bool {
        let reached = match &self.ready {
            Ready::Reached => false,
            Ready::FirstLine => self.line.iter().any(|byte| !byte.is_ascii_whitespace()),
            Ready::Text(text) => !text.is_empty() && self.line.windows(text.len()).any(|at| at == text.as_bytes()),
        };
        if reached {
            self.ready = Ready::Reached;
        }
        reached
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
            for c in chunk.valid().chars() {
                match c {
                    '\r' => {}
                    c if c.is_ascii_control() && c != '\t' => write!(f, "^{}", char::from(c as u8 ^ CARET))?,
                    c if c.is_control() && c != '\t' => f.write_str("^?")?,
                    c if reorders(c) => f.write_char(char::REPLACEMENT_CHARACTER)?,
                    c => f.write_char(c)?,
                }
            }
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

/// Line and paragraph separators, and what sets the direction of text.
fn reorders(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Wire for String {
        fn write(&mut self, bytes: &[u8]) {
            match core::str::from_utf8(bytes) {
                Ok(text) => self.push_str(text),
                Err(_) => self.extend(bytes.iter().copied().map(char::from)),
            }
        }
    }

    fn domain(number: u16) -> DomainId {
        DomainId::new(number).expect("a small number")
    }

    fn two() -> Console {
        let mut console = Console::default();
        console.attach(domain(2), "two", Ready::Text("init: ".into()));
        console.attach(domain(1), "one", Ready::FirstLine);
        console
    }

    fn send(console: &mut Console, number: u16, text: &str, wire: &mut String) -> bool {
        text.bytes().fold(false, |ready, byte| ready | console.send(domain(number), byte, wire))
    }

    #[test]
    fn what_was_said_can_be_read_again() {
        let (mut console, mut wire) = (Console::default(), String::new());
        console.own_line(format_args!("one"), &mut wire);
        console.own_line(format_args!("two"), &mut wire);
        assert_eq!(console.said(0, 100, false), (b"one\ntwo\n".to_vec(), 8));
        assert_eq!(console.said(4, 2, false), (b"tw".to_vec(), 6));
        assert_eq!(console.said(8, 100, true), (Vec::new(), 8));
        assert_eq!(console.said(0, 100, false), (Vec::new(), 8));
        for _ in 0..Log::ROOM {
            console.own_line(format_args!("x"), &mut wire);
        }
        let (text, end) = console.said(8, usize::MAX, false);
        assert_eq!((text.len(), end), (Log::ROOM, 8 + 2 * Log::ROOM as u32), "the oldest is forgotten");
        assert_eq!(console.said(end - 2, usize::MAX, false).0, b"x\n");
        assert_eq!(console.said(end + 5, usize::MAX, false).0, b"");
    }

    #[test]
    fn lines_do_not_mix_and_carry_names() {
        let (mut console, mut wire) = (two(), String::new());
        send(&mut console, 1, "hel", &mut wire);
        send(&mut console, 2, "wor", &mut wire);
        send(&mut console, 1, "lo\r\n", &mut wire);
        console.own_line(format_args!("mine"), &mut wire);
        send(&mut console, 2, "ld\n", &mut wire);
        assert_eq!(wire, "one: hello\r\n(mote) mine\r\ntwo: world\r\n");
    }

    #[test]
    fn a_guest_cannot_pass_for_the_hypervisor() {
        let (mut console, mut wire) = (two(), String::new());
        send(&mut console, 1, "x\r(mote) report {}\n\x1b[2J\x1b]0;\u{9b}\u{e9}\n", &mut wire);
        send(&mut console, 1, &"y".repeat(LINE), &mut wire);
        send(&mut console, 1, "(mote) z\n", &mut wire);
        assert!(wire.lines().all(|line| line.starts_with("one: ")), "{wire}");
        assert!(wire.contains("^[[2J^[]0;^?\u{e9}"));
    }

    #[test]
    fn text_stays_as_it_is() {
        let (mut console, mut wire) = (two(), String::new());
        send(&mut console, 1, "\r\n\ta\u{e9}\u{20ac}\x7f\u{202e}b\u{2028}c\t\n\n", &mut wire);
        send(&mut console, 1, &"\u{20ac}".repeat(LINE), &mut wire);
        send(&mut console, 1, "\n", &mut wire);
        let lines: Vec<&str> = wire.split("\r\n").collect();
        assert_eq!(lines[0], "one: \ta\u{e9}\u{20ac}^?\u{fffd}b\u{fffd}c\t");
        assert_eq!(lines[1], std::format!("one: {}", "\u{20ac}".repeat(LINE / 3)));
        assert_eq!(wire.matches('\u{20ac}').count(), LINE + 1);
        assert_eq!(wire.matches('\u{fffd}').count(), 2);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_unknown() {
        let (mut console, mut wire) = (two(), String::new());
        for byte in [b'a', 0xff, 0xe2, 0x82, b'b', 0xe2, b'\n'] {
            console.send(domain(1), byte, &mut wire);
        }
        assert_eq!(wire, "one: a\u{fffd}\u{fffd}b\u{fffd}\r\n");
    }

    #[test]
    fn a_prompt_is_there_when_the_focus_comes() {
        let (mut console, mut wire) = (two(), String::new());
        send(&mut console, 1, "booted\nlogin: ", &mut wire);
        console.move_focus(&mut wire);
        assert!(wire.ends_with("switch input)\r\nlogin: "), "{wire}");
        send(&mut console, 1, "root\n", &mut wire);
        console.move_focus(&mut wire);
        send(&mut console, 1, "on\n", &mut wire);
        assert!(wire.ends_with("\r\none: on\r\n"), "{wire}");
    }

    #[test]
    fn a_domain_is_ready_once() {
        let (mut console, mut wire) = (two(), String::new());
        assert!(!send(&mut console, 1, "\r\n", &mut wire));
        assert!(send(&mut console, 1, "a\n", &mut wire));
        assert!(!send(&mut console, 1, "a\n", &mut wire));
        assert!(!send(&mut console, 2, "nothing\n", &mut wire));
        assert!(send(&mut console, 2, "[ 0.1] init: ready\n", &mut wire));
    }

    #[test]
    fn three_switches_move_the_focus_around() {
        let (mut console, mut wire) = (two(), String::new());
        let mut received = Vec::new();
        for byte in b"x\x01\x01\x01a\x01\x01b\x01\x01\x01c\x01\x01\x01d" {
            received.extend(console.typed(*byte, &mut wire).map(|(domain, held_back)| (domain, held_back, *byte)));
        }
        assert_eq!(received, [(domain(1), 0, b'a'), (domain(1), 2, b'b'), (domain(2), 0, b'c')]);
        assert!(wire.contains("Serial input to one (") && wire.contains("Serial input to the hypervisor ("));
    }

    #[test]
    fn a_focused_guest_is_not_interrupted_within_a_line() {
        let (mut console, mut wire) = (two(), String::new());
        console.move_focus(&mut wire);
        wire.clear();
        send(&mut console, 1, "login: ", &mut wire);
        send(&mut console, 2, "line\n", &mut wire);
        console.detach(domain(1), &mut wire);
        assert!(wire.starts_with("login: \r\ntwo: line\r\n"), "{wire}");
        assert_eq!(console.focus, Some(domain(2)));
    }
}
