//! The QEMU process.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use miette::miette;

use super::End;
use crate::boot::machine::QEMU;
use crate::failure::{Failure, Result};

/// A running QEMU. It is killed when this value goes.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    errors: File,
}

impl Qemu {
    /// Starts QEMU with `arguments`, its first serial port on our pipes.
    pub fn start(arguments: &[String]) -> Result<Self> {
        let failed = |error: io::Error| Failure::unable(miette!("{QEMU} does not start: {error}"));
        // In a file, not in a pipe that nobody empties while the machine runs.
        let errors = tempfile::tempfile().map_err(failed)?;
        let mut child = command()
            .args(arguments)
            // No escape sequence of QEMU's own, and Ctrl-C is a byte like any other.
            .args(["-chardev", "stdio,id=console,mux=off,signal=off"])
            .args(["-serial", "chardev:console"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone().map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        Ok(Self { child, input, output, errors })
    }

    /// Where the machine's output comes from.
    pub const fn output(&mut self) -> &mut ChildStdout {
        &mut self.output
    }

    /// Types `bytes` at the machine's console.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.input.write_all(bytes).and_then(|()| self.input.flush()) {
            // It has just ended; the end of its output will say so.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    /// Ends the process if it has not ended by itself.
    ///
    /// # Errors
    ///
    /// It ended by itself, and badly.
    pub fn finish(mut self, end: End) -> Result<()> {
        if end != End::PoweredOff {
            return Ok(());
        }
        let status = self.child.wait().map_err(|error| Failure::unable(miette!("{QEMU} is lost: {error}")))?;
        if status.success() {
            return Ok(());
        }
        let mut words = String::new();
        // Without its words there is still the status.
        let _ = self.errors.rewind().and_then(|()| self.errors.read_to_string(&mut words));
        Err(Failure::unable(miette!("{QEMU} failed ({status}): {}", words.trim())))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// QEMU, by way of setpriv(1) where there is one: the kernel then ends it with this process even
/// when this one is killed outright.
fn command() -> Command {
    const SETPRIV: &str = "setpriv";
    let found = Command::new(SETPRIV)
        .args(["--pdeathsig", "KILL", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if found {
        let mut command = Command::new(SETPRIV);
        command.args(["--pdeathsig", "KILL", QEMU]);
        command
    } else {
        Command::new(QEMU)
    }
}
