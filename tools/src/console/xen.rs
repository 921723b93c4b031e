//! Real Xen's console, in Mote's words.
//!
//! Xen prefixes its guests' lines with their numbers, cuts long ones, and never says that a guest
//! has ended: it is asked, when all has been quiet for a while, to list its guests (its debug key
//! `q`), and the list shows which are paused for good.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Line;
use crate::session::Wish;

/// What each of Xen's lines begins with.
const XEN: &str = "(XEN) ";
/// The last thing Xen says before it listens to its keys.
const LISTENING: &str = "*** Serial input to Xen";
/// Xen's key that lists the guests.
const LIST_KEY: &[u8] = b"q";
/// The first line of that list.
const LIST: &str = "'q' pressed";
/// A line of the list that begins a guest's part.
const LIST_DOMAIN: &str = "General information for domain ";
/// A line of the list with the state of one vCPU.
const LIST_VCPU: &str = "pause_count=";
/// Xen's vPL011 passes a guest's line on in pieces of this many characters.
const PIECE: usize = 127;
/// Quiet for this long, Xen is asked.
const QUIET: Duration = Duration::from_secs(2);

/// Follows Xen's console.
#[derive(Debug)]
pub struct Xen {
    names: Vec<String>,
    partial: BTreeMap<usize, String>,
    last_heard: Instant,
    listening: bool,
    asked: bool,
    list: List,
    crashed: Vec<String>,
}

/// What Xen's list of guests says.
#[derive(Debug, Default)]
struct List {
    open: bool,
    domain: Option<usize>,
    running: usize,
    seen: usize,
}

impl Xen {
    /// The console of guests called `names`, of which the first is domain 1.
    pub fn new(names: Vec<String>) -> Self {
        Self {
            names,
            partial: BTreeMap::new(),
            last_heard: Instant::now(),
            listening: false,
            asked: false,
            list: List::default(),
            crashed: Vec::new(),
        }
    }

    /// The guests that Xen stopped.
    pub fn crashed(self) -> Vec<String> {
        self.crashed
    }

    /// Something was printed.
    pub const fn heard_at(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// Asks Xen for its guests when all is quiet; ends the run when none is left.
    pub fn wish(&mut self, now: Instant) -> Wish {
        if !self.listening || now.duration_since(self.last_heard) < QUIET {
            return Wish::GoOn;
        }
        if std::mem::replace(&mut self.asked, false) && self.list.all_ended() {
            return Wish::Finish;
        }
        self.asked = true;
        self.list = List::default();
        self.last_heard = now;
        Wish::Type(LIST_KEY.into())
    }

    /// What the line `raw` means: none, one or several lines in Mote's words.
    pub fn translate(&mut self, raw: &str) -> Vec<Line> {
        let Some(own) = raw.strip_prefix(XEN) else {
            return vec![Line { speaker: None, text: raw.into() }];
        };
        if let Some((domain, text)) = guest_line(own) {
            return self.piece(domain, text).into_iter().collect();
        }
        self.listening |= own.starts_with(LISTENING);
        self.list.open |= own.starts_with(LIST);
        if self.asked && self.list.open {
            self.list.read(own);
            return Vec::new();
        }
        if let Some(name) = self.crash(own) {
            self.crashed.push(name);
        }
        vec![Line { speaker: None, text: raw.into() }]
    }

    /// The whole line of `domain`, once its last piece is there.
    fn piece(&mut self, domain: usize, text: &str) -> Option<Line> {
        let mut whole = self.partial.remove(&domain).unwrap_or_default();
        whole.push_str(text);
        if text.len() >= PIECE {
            self.partial.insert(domain, whole);
            return None;
        }
        Some(Line { speaker: Some(self.name(domain)), text: whole })
    }

    fn name(&self, domain: usize) -> String {
        let known = domain.checked_sub(1).and_then(|index| self.names.get(index));
        known.cloned().unwrap_or_else(|| format!("domain {domain}"))
    }

    /// The guest that this line says was stopped.
    fn crash(&self, own: &str) -> Option<String> {
        let rest = own.strip_prefix("Domain ")?;
        let (number, rest) = rest.split_once(' ')?;
        rest.contains("crashed").then(|| number.parse().ok().map(|domain| self.name(domain)))?
    }
}

impl List {
    fn read(&mut self, line: &str) {
        let line = line.trim_start();
        if let Some(rest) = line.strip_prefix(LIST_DOMAIN) {
            self.domain = rest.trim_end_matches(':').parse().ok();
            self.seen += 1;
        } else if let Some(count) = line.strip_prefix(LIST_VCPU)
            && line.contains("pause_flags=")
        {
            // A vCPU that was never switched on is paused once as well when its guest has ended.
            self.running += usize::from(count.starts_with("0 "));
        }
    }

    /// Whether the list is there and no vCPU in it can run any more.
    const fn all_ended(&self) -> bool {
        self.open && self.running == 0
    }
}

/// A line `DOM<n>: text`.
fn guest_line(own: &str) -> Option<(usize, &str)> {
    let (number, text) = own.strip_prefix("DOM")?.split_once(':')?;
    Some((number.parse().ok()?, text.strip_prefix(' ').unwrap_or(text)))
}
