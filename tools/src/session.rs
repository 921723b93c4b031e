//! A run of QEMU: its process, the conversation with its console, and its end.

mod keyboard;
pub mod network;
mod process;
mod terminal;
mod turns;

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use miette::miette;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::{Failure, Result};
use keyboard::Keyboard;
use process::Qemu;

pub use terminal::{RawTerminal, is_interactive};
pub use turns::Turns;

/// How a run of QEMU came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The machine switched itself off.
    PoweredOff,
    /// The listener had seen what it was waiting for.
    Finished,
    /// The user left the console.
    Left,
    /// The time ran out.
    TimedOut,
    /// This signal asked the tool to end.
    Signalled(u8),
}

/// What a listener wants after having heard something, or nothing for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    GoOn,
    /// Type these bytes at the console.
    Type(Vec<u8>),
    /// End the run.
    Finish,
}

/// Whoever follows the console of a run.
pub trait Listener {
    /// The machine printed `bytes`.
    ///
    /// # Errors
    ///
    /// They cannot be shown.
    fn hear(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Asked after every output, and several times a second without.
    fn wish(&mut self, now: Instant) -> Wish;
}

/// Runs QEMU with `arguments` until its machine switches itself off, or something ends it sooner.
/// QEMU never outlives the call. When `interactive`, the terminal belongs to the machine meanwhile.
///
/// # Errors
///
/// QEMU does not start or fails: its own words are in the message.
pub fn run(
    arguments: &[String],
    interactive: bool,
    timeout: Option<Duration>,
    listener: &mut dyn Listener,
) -> Result<End> {
    let mut qemu = Qemu::start(arguments)?;
    let signal = catch_signals().map_err(failed)?;
    let terminal = if interactive { Some(RawTerminal::enter().map_err(failed)?) } else { None };
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let end = converse(&mut qemu, terminal.as_ref(), deadline, &signal, listener);
    drop(terminal);
    let end = end.map_err(failed)?;
    qemu.finish(end)?;
    Ok(end)
}

fn failed(error: io::Error) -> Failure {
    Failure::unable(miette!("the console cannot be served: {error}"))
}

/// Where the number of the last signal that asks for an end is written.
fn catch_signals() -> io::Result<Arc<AtomicUsize>> {
    let caught = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_usize(signal, caught.clone(), signal.unsigned_abs() as usize)?;
    }
    Ok(caught)
}

fn converse(
    qemu: &mut Qemu,
    terminal: Option<&RawTerminal>,
    deadline: Option<Instant>,
    signal: &AtomicUsize,
    listener: &mut dyn Listener,
) -> io::Result<End> {
    let mut keyboard = Keyboard::default();
    let mut buffer = [0; 4096];
    loop {
        if let number @ 1.. = signal.load(Ordering::Relaxed) {
            return Ok(End::Signalled(u8::try_from(number).unwrap_or(u8::MAX)));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(End::TimedOut);
        }
        let (said, typed) = wait(qemu, terminal)?;
        if said {
            match qemu.output().read(&mut buffer)? {
                0 => return Ok(End::PoweredOff),
                length => listener.hear(&buffer[..length])?,
            }
        }
        if let (true, Some(terminal)) = (typed, terminal) {
            let length = terminal.read(&mut buffer)?;
            let passed = keyboard.press(&buffer[..length]);
            qemu.send(&buffer[..passed])?;
            if passed < length || length == 0 {
                return Ok(End::Left);
            }
        }
        match listener.wish(Instant::now()) {
            Wish::GoOn => {}
            Wish::Type(bytes) => qemu.send(&bytes)?,
            Wish::Finish => return Ok(End::Finished),
        }
    }
}

/// Waits a moment for the machine to print or the user to type; says which happened.
fn wait(qemu: &mut Qemu, terminal: Option<&RawTerminal>) -> io::Result<(bool, bool)> {
    const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    let output = qemu.output();
    let mut sources = vec![PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)];
    if let Some(terminal) = terminal {
        sources.push(PollFd::from_borrowed_fd(terminal.as_fd(), PollFlags::IN));
    }
    match poll(&mut sources, Some(&MOMENT)) {
        // A signal: the caller looks.
        Err(rustix::io::Errno::INTR) => Ok((false, false)),
        Err(error) => Err(error.into()),
        Ok(_) => {
            let happened = |at: usize| sources.get(at).is_some_and(|fd| !fd.revents().is_empty());
            Ok((happened(0), happened(1)))
        }
    }
}
