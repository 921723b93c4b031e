//! Waiting for what has to happen, for as long as it may take.

use std::sync::mpsc::Receiver;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mote_tools::console::Line;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until `is_there`.
///
/// # Panics
/// If it takes longer than `patience`.
pub fn wait(patience: Duration, what: &str, mut is_there: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !is_there() {
        assert!(Instant::now() < deadline, "no sign of {what}");
        sleep(PAUSE);
    }
}

/// Waits until `who` says `text`.
///
/// # Panics
/// If it takes longer than `patience`.
pub fn hear(heard: &Receiver<Line>, patience: Duration, who: &str, text: &str) {
    let is_it = |line: &Line| line.speaker.as_deref() == Some(who) && line.text.contains(text);
    hear_where(heard, patience, &format!("{who} says `{text}`"), is_it);
}

/// Waits for a line of which `is_it` holds: `what` is how it would be that there is one.
///
/// # Panics
/// If it takes longer than `patience`.
pub fn hear_where(heard: &Receiver<Line>, patience: Duration, what: &str, mut is_it: impl FnMut(&Line) -> bool) {
    let deadline = Instant::now() + patience;
    loop {
        let line = heard.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        if is_it(&line.unwrap_or_else(|_| panic!("it did not come to be that {what}"))) {
            return;
        }
    }
}
