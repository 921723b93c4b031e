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

/// What the console writes to: text of its own, and guests' bytes as they are.
pub trait Wire: Write {
    /// Writes one byte.
    fn write_byte(&mut self, byte: u8);
}

struct Channel {
    domain: DomainId,
    name: String,
    line: Vec<u8>,
    ready: Ready,
}

/// What is to be done about a byte that was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Nothing: it was part of a command, or nobody listens.
    Nothing,
    /// The guest in focus gets it, behind as many Ctrl-A as turned out to be its own.
    ForGuest(DomainId, u8, u8),
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
}

impl Console {
    /// Nobody is on it yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { channels: Vec::new(), focus: None, switches: 0, within_line: false }
    }

    /// Puts a domain on the console.
    pub fn attach(&mut self, domain: DomainId, name: &str, ready: Ready) {
        let line = Vec::with_capacity(LINE);
        let index = self.channels.partition_point(|channel| channel.domain < domain);
        self.channels.insert(index, Channel { domain, name: name.into(), line, ready });
    }

    /// Takes a domain off, with what is left of its last line. If it was in focus, the next one is.
    ///
    /// # Errors
    /// The wire's.
    pub fn detach(&mut self, domain: DomainId, wire: &mut impl Wire) -> fmt::Result {
        self.flush(domain, 0, wire)?;
        if self.focus == Some(domain) {
            self.move_focus(wire)?;
        }
        if self.focus == Some(domain) {
            self.focus = None;
        }
        self.channels.retain(|channel| channel.domain != domain);
        Ok(())
    }

    /// A domain sends a byte. Returns whether this made it ready.
    ///
    /// # Errors
    /// The wire's.
    pub fn send(&mut self, domain: DomainId, byte: u8, wire: &mut impl Wire) -> Result<bool, fmt::Error> {
        let focused = self.focus == Some(domain);
        if focused {
            wire.write_byte(byte);
            self.within_line = byte != b'\n';
        }
        let Some(channel) = self.channel(domain) else { return Ok(false) };
        if byte != b'\n' {
            channel.line.push(byte);
            if channel.line.len() < LINE {
                return Ok(false);
            }
        }
        let ready = channel.complete_line();
        let cut = if byte == b'\n' { 0 } else { unfinished(&channel.line) };
        self.flush(domain, cut, wire)?;
        Ok(ready)
    }

    fn channel(&mut self, domain: DomainId) -> Option<&mut Channel> {
        let index = self.channels.binary_search_by_key(&domain, |channel| channel.domain).ok()?;
        self.channels.get_mut(index)
    }

    /// Somebody typed a byte.
    ///
    /// # Errors
    /// The wire's.
    pub fn typed(&mut self, byte: u8, wire: &mut impl Wire) -> Result<Typed, fmt::Error> {
        if byte == SWITCH {
            self.switches += 1;
            if self.switches == SWITCH_COUNT {
                self.switches = 0;
                self.move_focus(wire)?;
            }
            return Ok(Typed::Nothing);
        }
        let held_back = take(&mut self.switches);
        Ok(match self.focus {
            Some(domain) => Typed::ForGuest(domain, held_back, byte),
            None => Typed::Nothing,
        })
    }

    /// Writes one line of EL2's own.
    ///
    /// # Errors
    /// The wire's.
    pub fn own_line(&mut self, line: fmt::Arguments<'_>, wire: &mut impl Wire) -> fmt::Result {
        self.start_line(wire)?;
        write!(wire, "{OWN_PREFIX}{line}\r\n")
    }

    fn start_line(&mut self, wire: &mut impl Wire) -> fmt::Result {
        if take(&mut self.within_line) { wire.write_str("\r\n") } else { Ok(()) }
    }

    /// Writes what a domain has sent of a line behind its name, unless it is there already because the domain is in focus. The
    /// last `keep` bytes stay for the next line.
    fn flush(&mut self, domain: DomainId, keep: usize, wire: &mut impl Wire) -> fmt::Result {
        let focused = self.focus == Some(domain);
        // Out of the way, and back in its place for its capacity.
        let Some(mut line) = self.channel(domain).map(|channel| take(&mut channel.line)) else {
            return Ok(());
        };
        let shown = line.len().saturating_sub(keep);
        let text = line.get(..shown).unwrap_or_default();
        if !focused && text.iter().any(|&byte| byte != b'\r') {
            self.start_line(wire)?;
            let name = self.channel(domain).map_or("", |channel| &channel.name);
            write!(wire, "{name}: {}\r\n", Plain(text))?;
        }
        line.drain(..shown);
        if let Some(channel) = self.channel(domain) {
            channel.line = line;
        }
        Ok(())
    }

    /// Gives what is typed to the next: from the hypervisor to the first guest, from each guest to the one behind it, and
    /// from the last back to the hypervisor.
    ///
    /// # Errors
    /// The wire's.
    pub fn move_focus(&mut self, wire: &mut impl Wire) -> fmt::Result {
        let next = self.focus.map_or(0, |focus| self.channels.partition_point(|channel| channel.domain <= focus));
        self.focus = self.channels.get(next).map(|channel| channel.domain);
        self.announce(wire)?;
        // What it has written of a line, a prompt perhaps.
        for &byte in self.channels.get(next).iter().flat_map(|channel| &channel.line) {
            wire.write_byte(byte);
            self.within_line = true;
        }
        Ok(())
    }

    fn announce(&mut self, wire: &mut impl Wire) -> fmt::Result {
        self.start_line(wire)?;
        let focused = self.focus.and_then(|focus| self.channel(focus));
        let name = focused.map_or("the hypervisor", |channel| &channel.name);
        write!(wire, "{OWN_PREFIX}*** Serial input to {name} (type 'CTRL-a' three times to switch input)\r\n")
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
            for piece in chunk.valid().split_inclusive(is_special) {
                f.write_str(piece.trim_end_matches(is_special))?;
                match piece.chars().next_back().filter(|&c| is_special(c)) {
                    None | Some('\r') => {}
                    Some(c) if c.is_ascii_control() => {
                        write!(f, "^{}", char::from(c as u8 ^ CARET))?;
                    }
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

/// Whether a character is not only itself on a terminal.
fn is_special(c: char) -> bool {
    // Line and paragraph separators, and what sets the direction of text.
    let reorders = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    reorders || c.is_control() && c != '\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Wire for String {
        fn write_byte(&mut self, byte: u8) {
            self.push(char::from(byte));
        }
    }

    fn domain(number: u16) -> DomainId {
        DomainId::new(number).expect("a small number")
    }

    fn two() -> Console {
        let mut console = Console::new();
        console.attach(domain(2), "two", Ready::Text("init: ".into()));
        console.attach(domain(1), "one", Ready::FirstLine);
        console
    }

    fn send(console: &mut Console, number: u16, text: &str, wire: &mut String) -> bool {
        text.bytes().fold(false, |ready, byte| ready | console.send(domain(number), byte, wire).expect("a string"))
    }

    #[test]
    fn lines_do_not_mix_and_carry_names() {
        let (mut console, mut wire) = (two(), String::new());
        send(&mut console, 1, "hel", &mut wire);
        send(&mut console, 2, "wor", &mut wire);
        send(&mut console, 1, "lo\r\n", &mut wire);
        console.own_line(format_args!("mine"), &mut wire).expect("a string");
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
            console.send(domain(1), byte, &mut wire).expect("a string");
        }
        assert_eq!(wire, "one: a\u{fffd}\u{fffd}b\u{fffd}\r\n");
    }

    #[test]
    fn a_prompt_is_there_when_the_focus_comes() {
        let (mut console, mut wire) = (two(), String::new());
        send(&mut console, 1, "booted\nlogin: ", &mut wire);
        console.move_focus(&mut wire).expect("a string");
        assert!(wire.ends_with("switch input)\r\nlogin: "), "{wire}");
        send(&mut console, 1, "root\n", &mut wire);
        console.move_focus(&mut wire).expect("a string");
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
        let mut kinds = Vec::new();
        for byte in b"x\x01\x01\x01a\x01\x01b\x01\x01\x01c\x01\x01\x01d" {
            kinds.push(console.typed(*byte, &mut wire).expect("a string"));
        }
        kinds.retain(|typed| *typed != Typed::Nothing);
        assert_eq!(
            kinds,
            [
                Typed::ForGuest(domain(1), 0, b'a'),
                Typed::ForGuest(domain(1), 2, b'b'),
                Typed::ForGuest(domain(2), 0, b'c')
            ]
        );
        assert!(wire.contains("Serial input to one (") && wire.contains("Serial input to the hypervisor ("));
    }

    #[test]
    fn a_focused_guest_is_not_interrupted_within_a_line() {
        let (mut console, mut wire) = (two(), String::new());
        console.move_focus(&mut wire).expect("a string");
        wire.clear();
        send(&mut console, 1, "login: ", &mut wire);
        send(&mut console, 2, "line\n", &mut wire);
        console.detach(domain(1), &mut wire).expect("a string");
        assert!(wire.starts_with("login: \r\ntwo: line\r\n"), "{wire}");
        assert_eq!(console.focus, Some(domain(2)));
    }
}
