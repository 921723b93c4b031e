//! `console`: what a domain says, and what is said to it.

use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use super::say;
use crate::cli::ConsoleArgs;
use crate::failure::{Failure, Result, Status};
use crate::running::{self, Client};
use crate::session::{RawTerminal, is_interactive};

/// Ctrl-], which leaves, as with xl and telnet.
const LEAVE: u8 = 0x1d;
/// How often a console is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What came, as JSON.
#[derive(Serialize)]
struct Piece<'a> {
    from: u64,
    text: &'a str,
}

/// Attaches to the console. On a terminal keys go to the domain until Ctrl-]; else all that is kept is shown.
///
/// # Errors
///
/// No machine runs, there is no such domain, or it has no console.
pub fn console(arguments: &ConsoleArgs) -> Result<Status> {
    let client = running::connect(arguments.target.machine.as_deref())?;
    let is_attached = is_interactive() && arguments.send.is_none() && !arguments.follow && !arguments.target.json;
    let mut view = View { client, domain: &arguments.domain, json: arguments.target.json, next: 0 };
    view.show()?;
    if let Some(line) = &arguments.send {
        view.type_all(format!("{line}\n").as_bytes())?;
    }
    match (is_attached, arguments.follow) {
        (true, _) => view.attach()?,
        (false, true) => view.follow()?,
        (false, false) => {
            if arguments.send.is_some() {
                // What it says to it.
                thread::sleep(LOOK);
                view.show()?;
            }
        }
    }
    Ok(Status::Clean)
}

struct View<'a> {
    client: Client,
    domain: &'a str,
    json: bool,
    next: u64,
}

impl View<'_> {
    /// Shows what is new.
    fn show(&mut self) -> Result<()> {
        let said = self.client.console(self.domain, self.next)?;
        self.next = said.next;
        if said.bytes.is_empty() {
            return Ok(());
        }
        if self.json {
            let piece = Piece { from: said.from, text: &String::from_utf8_lossy(&said.bytes) };
            say(serde_json::to_string(&piece).unwrap_or_default() + "\n");
        } else {
            say(said.bytes);
        }
        Ok(())
    }

    /// Types everything, as fast as there is room.
    fn type_all(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let part = bytes.get(..mote_api::MAX_INPUT).unwrap_or(bytes);
            let taken = self.client.type_at(self.domain, part)?;
            bytes = bytes.get(taken..).unwrap_or_default();
            if !bytes.is_empty() {
                thread::sleep(LOOK);
                self.show()?;
            }
        }
        Ok(())
    }

    /// Shows what the domain says until it has shut down.
    fn follow(&mut self) -> Result<()> {
        while self.client.is_up(self.domain)? {
            thread::sleep(LOOK);
            // It may have gone between the two.
            match self.show() {
                Ok(()) => {}
                Err(_) if !self.client.is_up(self.domain)? => break,
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Lends the terminal to the domain.
    fn attach(&mut self) -> Result<()> {
        eprintln!("mote: this is the console of {}; Ctrl-] leaves", self.domain);
        let lost = |error: std::io::Error| Failure::unable(miette::miette!("the terminal cannot be read: {error}"));
        let terminal = RawTerminal::enter().map_err(lost)?;
        let mut keys = [0; 1024];
        loop {
            self.show()?;
            if !is_typed(&terminal).map_err(lost)? {
                continue;
            }
            let length = terminal.read(&mut keys).map_err(lost)?;
            let typed = keys.get(..length).unwrap_or_default();
            let passed = typed.split(|key| *key == LEAVE).next().unwrap_or_default();
            self.type_all(passed)?;
            if passed.len() < typed.len() || typed.is_empty() {
                return Ok(());
            }
        }
    }
}

/// Waits a moment for keys.
fn is_typed(terminal: &RawTerminal) -> std::io::Result<bool> {
    let moment = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK.subsec_nanos()) };
    match poll(&mut [PollFd::from_borrowed_fd(terminal.as_fd(), PollFlags::IN)], Some(&moment)) {
        Err(rustix::io::Errno::INTR) => Ok(false),
        result => Ok(result? > 0),
    }
}
