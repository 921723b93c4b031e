//! The user's terminal, lent to the machine.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};

/// Whether somebody sits at the tool's own console.
#[must_use]
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The terminal in raw mode: every key goes to the machine, Ctrl-C too.
#[derive(Debug)]
pub struct RawTerminal {
    // As it was found; put back on drop, so on every way out, a panic's as well.
    saved: Termios,
}

impl RawTerminal {
    /// Takes the terminal on standard input.
    pub fn enter() -> io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        let saved = tcgetattr(stdin)?;
        let mut raw = saved.clone();
        raw.make_raw();
        // A hypervisor's own lines may end in a bare line feed.
        raw.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        tcsetattr(stdin, OptionalActions::Drain, &raw)?;
        Ok(Self { saved })
    }

    /// Reads what was typed. Nothing means that the terminal is gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(self.as_fd(), buffer) {
            // What a read from a terminal that has been hung up may say.
            Err(rustix::io::Errno::IO) => Ok(0),
            result => Ok(result?),
        }
    }
}

impl AsFd for RawTerminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        rustix::stdio::stdin()
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // There is nobody left to tell if it fails.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &self.saved);
    }
}
