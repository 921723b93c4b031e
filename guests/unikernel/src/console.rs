//! The console: an SBSA UART, which Mote and Xen emulate as `vpl011`. A domain without one that knows of the hypervisor writes by
//! hypercall; else output goes nowhere.
//!
//! Every byte costs an exit on the UART, so nothing else does: the FIFO's state is read once for each filling of it.

use core::fmt::{self, Arguments, Write};

use spin::{Mutex, Once};
use xen_abi::xen::hypercall::CONSOLE_IO;

use crate::{Machine, arch::Registers, interrupts, xen};

/// Data, flags (SBSA, appendix B: Generic UART).
const UARTDR: usize = 0x000;
const UARTFR: usize = 0x018;
/// Flags: the receive FIFO is empty, the transmit FIFO is empty.
const UARTFR_RXFE: u32 = 1 << 4;
const UARTFR_TXFE: u32 = 1 << 7;
/// Bytes that an empty transmit FIFO takes.
const FIFO_DEPTH: u32 = 32;

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
}

static CONSOLE: Mutex<Console> = Mutex::new(Console { room: 0 });
static UART: Once<Option<Registers>> = Once::new();

/// Writes formatted text. [`print!`] is the way to call it.
pub fn write(text: Arguments) {
    interrupts::masked(|| {
        let _ = CONSOLE.lock().write_fmt(text);
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

/// A console that waits for no lock, for a guest that is about to end.
pub(crate) fn for_last_words() -> Console {
    Console { room: 0 }
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
    pub(crate) fn line(&mut self, text: Arguments) {
        let _ = self.write_fmt(text);
        let _ = self.write_str("\n");
    }
}

/// Writes by hypercall, if there is a hypervisor that says so.
fn write_by_hypercall(text: &str) -> fmt::Result {
    Machine::get().and_then(Machine::event_interrupt).ok_or(fmt::Error)?;
    let (length, from) = (text.len() as u64, text.as_ptr().addr() as u64);
    // SAFETY: it reads the text alone.
    let written = unsafe { xen::hypercall(CONSOLE_IO, [xen_abi::console::WRITE, length, from, 0, 0]) };
    written.map(drop).map_err(|_| fmt::Error)
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(uart) = uart() else { return write_by_hypercall(text) };
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
