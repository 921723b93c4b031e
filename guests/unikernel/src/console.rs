//! The console: an SBSA UART, which Mote and Xen emulate as `vpl011`. A domain without one that knows of the hypervisor writes by
//! hypercall; else output goes nowhere.
//!
//! Every byte costs an exit on the UART, so nothing else does: the FIFO's state is read once for each filling of it. A hypercall takes a
//! line.

use core::fmt::{self, Arguments, Write};

use spin::{Mutex, Once};
use xen_abi::console::{READ, WRITE};
use xen_abi::xen::hypercall::CONSOLE_IO;

use crate::xen::hypercall;
use crate::{Machine, arch::Registers, interrupts};

/// Data, flags (SBSA, appendix B: Generic UART).
const UARTDR: usize = 0x000;
const UARTFR: usize = 0x018;
/// Flags: the receive FIFO is empty, the transmit FIFO is empty.
const UARTFR_RXFE: u32 = 1 << 4;
const UARTFR_TXFE: u32 = 1 << 7;
/// Bytes that an empty transmit FIFO takes.
const FIFO_DEPTH: u32 = 32;
/// Bytes that are collected for a hypercall: the longest lines, which tell of a domain that ended, are shorter.
const LINE: usize = 1024;

/// Writes a line to the console.
#[macro_export]
macro_rules! println {
    () => { $crate::console::line(format_args!("")) };
    ($($argument:tt)*) => { $crate::console::line(format_args!($($argument)*)) };
}

/// Writes to the console.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::console::write(format_args!($($argument)*)) };
}

/// The transmitting end.
pub(crate) struct Console {
    // Private: never more than what the FIFO has room for.
    room: u32,
    // What is collected for a hypercall.
    line: [u8; LINE],
    length: usize,
}

static CONSOLE: Mutex<Console> = Mutex::new(Console::new());
static UART: Once<Option<Registers>> = Once::new();
/// Whether a hypervisor has said that it is there.
static HYPERVISOR: Once<bool> = Once::new();

/// Writes formatted text. [`print!`] is the way to call it.
pub fn write(text: Arguments) {
    interrupts::masked(|| {
        let mut console = CONSOLE.lock();
        let _ = console.write_fmt(text);
        console.hand_over();
    });
}

/// Writes formatted text and ends the line. [`println!`] is the way to call it.
pub fn line(text: Arguments) {
    interrupts::masked(|| CONSOLE.lock().line(text));
}

/// The next byte that has come in, if any. Does not wait.
pub fn read() -> Option<u8> {
    let uart = uart()?;
    (uart.read(UARTFR) & UARTFR_RXFE == 0).then(|| uart.read(UARTDR) as u8)
}

/// Takes what was typed at the machine, if this domain is to have that; returns how many bytes that were.
pub fn typed(into: &mut [u8]) -> usize {
    let arguments = [READ, into.len() as u64, into.as_mut_ptr().addr() as u64, 0, 0];
    // SAFETY: it writes to `into` alone.
    unsafe { hypercall(CONSOLE_IO, arguments) }.map_or(0, |count| (count as usize).min(into.len()))
}

/// A console that waits for no lock, for a guest that is about to end.
pub(crate) fn for_last_words() -> Console {
    Console::new()
}

fn uart() -> Option<&'static Registers> {
    let find = || {
        let range = Machine::get()?.device("arm,sbsa-uart").next()?;
        // SAFETY: the device tree says that a UART is there; it does not touch memory.
        Some(unsafe { Registers::new(range) })
    };
    UART.call_once(find).as_ref()
}

impl Console {
    const fn new() -> Self {
        Self { room: 0, line: [0; LINE], length: 0 }
    }

    /// Collects text for a hypercall, and hands over what ends a line or does not fit.
    fn collect(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let room = self.line.get_mut(self.length..).unwrap_or_default();
            let (part, more) = rest.split_at(rest.len().min(room.len()));
            room[..part.len()].copy_from_slice(part);
            self.length += part.len();
            rest = more;
            if self.length == LINE || (rest.is_empty() && text.ends_with('\n')) {
                self.hand_over();
            }
        }
    }

    /// Hands over what was collected, if there is anything and anybody.
    fn hand_over(&mut self) {
        let length = core::mem::take(&mut self.length) as u64;
        let is_there = || Machine::get().is_some_and(|machine| machine.event_interrupt().is_some());
        if length > 0 && *HYPERVISOR.call_once(is_there) {
            // SAFETY: it reads the line alone. Nobody could be told that it fails.
            let _ = unsafe { hypercall(CONSOLE_IO, [WRITE, length, self.line.as_ptr().addr() as u64, 0, 0]) };
        }
    }

    pub(crate) fn line(&mut self, text: Arguments) {
        let _ = self.write_fmt(text);
        let _ = self.write_str("\n");
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(uart) = uart() else {
            self.collect(text);
            return Ok(());
        };
        for byte in text.bytes() {
            while self.room == 0 {
                if uart.read(UARTFR) & UARTFR_TXFE != 0 {
                    self.room = FIFO_DEPTH;
                }
            }
            uart.write(UARTDR, byte.into());
            self.room -= 1;
        }
        Ok(())
    }
}
