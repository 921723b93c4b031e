//! The first program of a Linux guest: says when it started, then becomes the shell that runs
//! `/etc/rc`.
//!
//! It is a program of its own so that "ready" means the first user instruction of the guest and not
//! the start of a shell. It has no library: Linux starts it at [`start`] and it makes two system
//! calls.

#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};
use core::ffi::CStr;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::ptr;

/// Numbers of Linux's system calls on arm64 (include/uapi/asm-generic/unistd.h).
mod call {
    pub const WRITE: usize = 64;
    pub const EXIT: usize = 93;
    pub const EXECVE: usize = 221;
}

/// What Linux opened on /dev/console before it started us.
const STANDARD_OUTPUT: usize = 1;

const SHELL: &CStr = c"/bin/busybox";
const ARGUMENTS: [&CStr; 2] = [c"sh", c"/etc/rc"];
const ENVIRONMENT: [&CStr; 3] = [c"PATH=/bin", c"HOME=/", c"TERM=linux"];

/// Reads the clock before anything else, then goes on in Rust.
///
/// # Safety
///
/// Only Linux may come here, with a new program's stack.
#[unsafe(naked)]
#[unsafe(export_name = "_start")]
unsafe extern "C" fn start() -> ! {
    naked_asm!("mrs x0, cntvct_el0", "mov x29, xzr", "mov x30, xzr", "b {main}", main = sym main)
}

extern "C" fn main(ticks: u64) -> ! {
    let mut line = Line::new();
    // It fits: see `Line`.
    let _ = writeln!(line, "init: ready {ticks}");
    let text = line.text();
    // SAFETY: `text` is that many readable bytes.
    unsafe { system_call(call::WRITE, [STANDARD_OUTPUT, text.as_ptr().addr(), text.len()]) };
    become_shell();
    exit(1)
}

/// Replaces this program. Returns only if that fails.
fn become_shell() {
    let arguments = ARGUMENTS.map(CStr::as_ptr);
    let arguments = [arguments[0], arguments[1], ptr::null()];
    let environment = ENVIRONMENT.map(CStr::as_ptr);
    let environment = [environment[0], environment[1], environment[2], ptr::null()];
    let addresses = [SHELL.as_ptr().addr(), arguments.as_ptr().addr(), environment.as_ptr().addr()];
    // SAFETY: a path and two lists of strings that end in null, as execve(2) wants them.
    unsafe { system_call(call::EXECVE, addresses) };
}

fn exit(status: usize) -> ! {
    loop {
        // SAFETY: it reads and writes no memory of ours.
        unsafe { system_call(call::EXIT, [status, 0, 0]) };
    }
}

/// Asks Linux for `number`. Its answer does not matter to this program.
///
/// # Safety
///
/// As far as the call takes `arguments` for addresses, they must be good ones.
unsafe fn system_call(number: usize, arguments: [usize; 3]) {
    // SAFETY: Linux keeps every register but x0, and touches no memory but what the caller answers
    // for.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inout("x0") arguments[0] => _,
            in("x1") arguments[1],
            in("x2") arguments[2],
            options(nostack),
        );
    }
}

/// One line of text, put together before it is written so that no other's can come between.
struct Line {
    // Private so that `length` stays within `bytes`.
    bytes: [u8; Self::MAX],
    length: usize,
}

impl Line {
    /// Enough for "init: ready ", the 20 digits of the greatest `u64` and the line's end.
    const MAX: usize = 33;

    const fn new() -> Self {
        Self { bytes: [0; Self::MAX], length: 0 }
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length.checked_add(text.len()).ok_or(fmt::Error)?;
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    exit(2)
}
