//! What the machine prints, understood: whose line it is, and which lines are reports.

mod lines;
mod reports;
mod screen;
mod xen;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mote_builder::config::CONTROL;

use crate::cli::Hypervisor;
use crate::report::{DomainReport, MachineReport, Report, State};
use crate::session::{Listener, Wish};
use lines::Lines;
use reports::{Reports, Taken};
use screen::Screen;
use xen::Xen;

/// What a line of Mote's own begins with.
const MOTE: &str = "(mote) ";
/// What the last words of Mote begin with.
const MOTE_PANICS: [&str; 3] =
    ["(mote) panic on pcpu", "(mote) fault in the hypervisor", "(mote) it did so too soon to be built again"];
/// What a panic of Xen's begins with.
const XEN_PANIC: &str = "(XEN) Panic on CPU";
/// What remains of a panic's report is printed within this time.
const PANIC_REPORT: Duration = Duration::from_secs(2);

/// A line with the one who printed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The guest's name, or nothing for the hypervisor or a machine without one.
    pub speaker: Option<String>,
    /// What it says.
    pub text: String,
}

/// What was heard in a run.
#[derive(Debug, Default)]
pub struct Heard {
    /// Every report.
    pub reports: Vec<Report>,
    /// Whether the hypervisor panicked.
    pub panicked: bool,
    /// What it said of that.
    pub last_words: Vec<String>,
    /// The guests of which Xen said that they crashed.
    pub crashed: Vec<String>,
}

impl Heard {
    /// What the guests that ended cost, in the order in which they did.
    pub fn domains(&self) -> impl Iterator<Item = &DomainReport> {
        self.reports.iter().filter_map(|report| match report {
            Report::Domain(domain) => Some(&**domain),
            Report::Machine(_) | Report::Refused { .. } => None,
        })
    }

    /// What the machine as a whole cost, if it came to its end.
    #[must_use]
    pub fn machine(&self) -> Option<&MachineReport> {
        self.reports.iter().find_map(|report| match report {
            Report::Machine(machine) => Some(machine),
            Report::Domain(_) | Report::Refused { .. } => None,
        })
    }

    /// Whether a guest crashed.
    #[must_use]
    pub fn has_crash(&self) -> bool {
        !self.crashed.is_empty() || self.domains().any(|domain| domain.state == State::Crashed)
    }
}

/// How the console is shown.
#[derive(Debug)]
enum View {
    /// Line by line, each with its guest's name.
    Lines(Lines),
    /// As it comes, on a terminal.
    Screen(Screen),
}

/// Called with every line; answers what it wants done.
pub type Watcher<'a> = Box<dyn FnMut(&Line) -> Wish + 'a>;

/// The console of one run.
pub struct Console<'a> {
    names: Vec<String>,
    // What is left of reports that came in parts.
    reports: Reports,
    view: View,
    out: Box<dyn Write + 'a>,
    verbose: bool,
    xen: Option<Xen>,
    watcher: Option<Watcher<'a>>,
    to_type: Vec<u8>,
    heard: Heard,
    enough: Option<usize>,
    stop: Option<&'a AtomicBool>,
    finished: bool,
    end_by: Option<Instant>,
}

impl<'a> Console<'a> {
    /// The console of guests called `names`, in the order of their numbers, shown on `out`.
    pub fn new(hypervisor: Hypervisor, names: Vec<String>, out: impl Write + 'a) -> Self {
        let xen = (hypervisor == Hypervisor::Xen).then(|| Xen::new(names.clone()));
        Self {
            names,
            reports: Reports::default(),
            view: View::Lines(Lines::default()),
            out: Box::new(out),
            verbose: false,
            xen,
            watcher: None,
            to_type: Vec::new(),
            heard: Heard::default(),
            enough: None,
            stop: None,
            finished: false,
            end_by: None,
        }
    }

    /// Shows the bytes as they come, for a terminal.
    #[must_use]
    pub fn on_terminal(mut self) -> Self {
        self.view = View::Screen(Screen::default());
        self.xen = None;
        self
    }

    /// Shows report lines too, if `verbose`.
    #[must_use]
    pub const fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// Has `watcher` see every line, and does what it wishes.
    #[must_use]
    pub fn watched(mut self, watcher: impl FnMut(&Line) -> Wish + 'a) -> Self {
        self.watcher = Some(Box::new(watcher));
        self
    }

    /// Ends the run when so many guests have ended, though others may go on.
    #[must_use]
    pub const fn until_ended(mut self, guests: usize) -> Self {
        self.enough = Some(guests);
        self
    }

    /// Ends the run when `stop` is set.
    #[must_use]
    pub const fn until(mut self, stop: &'a AtomicBool) -> Self {
        self.stop = Some(stop);
        self
    }

    /// What was heard, at the end. Shows what is left of an unfinished line.
    ///
    /// # Errors
    ///
    /// It cannot be shown.
    pub fn finish(mut self) -> io::Result<Heard> {
        match &mut self.view {
            View::Lines(lines) => {
                if let Some(rest) = lines.rest() {
                    self.line(&rest)?;
                }
            }
            View::Screen(screen) => {
                let rest = screen.rest();
                self.out.write_all(&rest)?;
            }
        }
        self.out.flush()?;
        if let Some(xen) = self.xen {
            self.heard.crashed = xen.crashed();
        }
        Ok(self.heard)
    }

    fn line(&mut self, raw: &str) -> io::Result<()> {
        let understood = match self.reports.take(raw) {
            Taken::Nothing => false,
            Taken::Part => true,
            Taken::Report(json) => self.report(&json),
        };
        if understood && !self.verbose {
            return Ok(());
        }
        self.notice_panic(raw);
        let lines = match &mut self.xen {
            Some(xen) => xen.translate(raw),
            None => vec![self.attribute(raw)],
        };
        for line in lines {
            self.show(&line)?;
        }
        Ok(())
    }

    fn notice_panic(&mut self, raw: &str) {
        if MOTE_PANICS.iter().any(|words| raw.starts_with(words)) || raw.starts_with(XEN_PANIC) {
            self.heard.panicked = true;
            self.end_by.get_or_insert_with(|| Instant::now() + PANIC_REPORT);
        }
        if self.heard.panicked {
            self.heard.last_words.push(raw.into());
        }
    }

    fn show(&mut self, line: &Line) -> io::Result<()> {
        match &line.speaker {
            Some(name) => writeln!(self.out, "{name}: {}", line.text)?,
            None => writeln!(self.out, "{}", line.text)?,
        }
        self.out.flush()?;
        if let Some(watcher) = &mut self.watcher {
            match watcher(line) {
                Wish::GoOn => {}
                Wish::Type(bytes) => self.to_type.extend(bytes),
                Wish::Finish => self.finished = true,
            }
        }
        Ok(())
    }

    /// Keeps the report, if it is one.
    fn report(&mut self, json: &str) -> bool {
        let report = serde_json::from_str(json);
        let understood = report.is_ok();
        self.heard.reports.extend(report);
        self.finished |= self.enough.is_some_and(|enough| self.heard.domains().count() >= enough);
        understood
    }

    /// Whose line `raw` is, by Mote's prefixes.
    fn attribute(&self, raw: &str) -> Line {
        if !raw.starts_with(MOTE)
            && let Some((name, text)) = raw.split_once(": ").or_else(|| Some((raw.strip_suffix(':')?, "")))
            && (name == CONTROL || self.names.iter().any(|known| known == name))
        {
            return Line { speaker: Some(name.into()), text: text.into() };
        }
        Line { speaker: None, text: raw.into() }
    }
}

impl Listener for Console<'_> {
    fn hear(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(xen) = &mut self.xen {
            xen.heard_at(Instant::now());
        }
        match &mut self.view {
            View::Lines(lines) => {
                for line in lines.push(bytes) {
                    self.line(&line)?;
                }
            }
            View::Screen(screen) => {
                let (shown, reports) = screen.push(bytes);
                for report in reports {
                    self.report(&report);
                }
                self.out.write_all(&shown)?;
                self.out.flush()?;
            }
        }
        Ok(())
    }

    fn wish(&mut self, now: Instant) -> Wish {
        let is_stopped = self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
        if self.finished || is_stopped || self.end_by.is_some_and(|end| now >= end) {
            return Wish::Finish;
        }
        if !self.to_type.is_empty() {
            return Wish::Type(std::mem::take(&mut self.to_type));
        }
        self.xen.as_mut().map_or(Wish::GoOn, |xen| xen.wish(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(console: Console<'_>, text: &str) -> Heard {
        let mut console = console;
        console.hear(text.as_bytes()).expect("written to memory");
        console.finish().expect("written to memory")
    }

    #[test]
    fn reports_are_collected_and_hidden() {
        let report = crate::report::tests::HELLO.replace('\n', "");
        let (begin, end) = report.split_at(200);
        let text = format!(
            "(mote) 2 pCPUs\r\nhello: hi\r\ncontrol: report {begin}\r\nhello: ho\r\ncontrol: {end}\r\n(mote) off\r\n"
        );
        let mut shown = Vec::new();
        let heard = hear(Console::new(Hypervisor::Mote, vec!["hello".into()], &mut shown), &text);
        assert_eq!(heard.reports.len(), 1);
        assert_eq!(String::from_utf8_lossy(&shown), "(mote) 2 pCPUs\nhello: hi\nhello: ho\n(mote) off\n");
    }

    #[test]
    fn a_report_that_cannot_be_read_is_shown() {
        let mut shown = Vec::new();
        let heard = hear(Console::new(Hypervisor::Mote, Vec::new(), &mut shown), "(mote) report {\"kind\":\n");
        assert!(heard.reports.is_empty());
        assert_eq!(String::from_utf8_lossy(&shown), "(mote) report {\"kind\":\n");
    }

    #[test]
    fn lines_belong_to_the_guest_that_prefixes_them() {
        let mut lines = Vec::new();
        let console = Console::new(Hypervisor::Mote, vec!["a".into()], io::sink()).watched(|line| {
            lines.push(line.clone());
            Wish::GoOn
        });
        hear(console, "a: b: c\nx: y\n(mote) a: gone\na:\n");
        let speakers: Vec<_> = lines.iter().map(|line| line.speaker.as_deref()).collect();
        assert_eq!(speakers, [Some("a"), None, None, Some("a")]);
        assert_eq!(lines[0].text, "b: c");
    }

    #[test]
    fn a_panic_is_noticed() {
        let heard = hear(
            Console::new(Hypervisor::Mote, Vec::new(), io::sink()),
            "(mote) panic on pcpu 0: oh\n(mote) pc 0x1 (image+0x1)\n",
        );
        assert!(heard.panicked);
        assert_eq!(heard.last_words.len(), 2);
    }
}
