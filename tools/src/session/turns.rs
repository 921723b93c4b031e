//! Turns for all CPUs of a machine that counts instructions.
//!
//! Such a machine has one CPU run at a time. Up to QEMU 8.0 a CPU that spins without saying so uses up all the time there is until the
//! next timer, and the CPUs behind it are not run at all: two CPUs that wait for each other wait for good, as Xen's do while it
//! boots and when it is asked what its domains do. A machine that is stopped for a moment goes on with the next CPU.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a CPU may spin in vain.
const TURN: Duration = Duration::from_millis(50);

/// Passes the turn on, many times a second, until it is dropped.
#[derive(Debug)]
pub struct Turns {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Turns {
    /// QEMU's arguments that let `socket` control it.
    #[must_use]
    pub fn arguments(socket: &Path) -> [String; 2] {
        ["-qmp".into(), format!("unix:{},server=on,wait=off", crate::boot::machine::escape(socket))]
    }

    /// Begins as soon as a QEMU listens at `socket`.
    #[must_use]
    pub fn begin(socket: PathBuf) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let thread = thread::spawn(move || {
            let mut control = None;
            while !told.load(Ordering::Acquire) {
                thread::sleep(TURN);
                control = match control.take() {
                    None => connect(&socket).ok(),
                    // An error is QEMU's end.
                    Some(mut stream) => match pass_on(&mut stream) {
                        Ok(()) => Some(stream),
                        Err(_) => return,
                    },
                };
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It does not panic, and there is nobody to tell if it did.
            let _ = thread.join();
        }
    }
}

/// QEMU's machine protocol, past its greeting.
fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    command(&mut stream, "qmp_capabilities")?;
    Ok(stream)
}

fn pass_on(stream: &mut UnixStream) -> std::io::Result<()> {
    command(stream, "stop")?;
    command(stream, "cont")
}

/// Gives a command; whatever is answered is taken and not looked at.
fn command(stream: &mut UnixStream, name: &str) -> std::io::Result<()> {
    writeln!(stream, "{{\"execute\":\"{name}\"}}")?;
    let mut answer = [0; 4096];
    match stream.read(&mut answer) {
        Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
        result => result.map(drop),
    }
}
