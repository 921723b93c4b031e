//! The machine's console: a PL011, polled for output, with an interrupt for input.

use core::ops::Range;
use core::ptr::NonNull;

use arm_gic::UniqueMmioPointer;
use arm_pl011_uart::{Interrupts, PL011Registers, Uart};

use crate::lock::Mutex;
use crate::{cpu, mmu};

static UART: Mutex<Option<Uart<'static>>> = Mutex::new(None);

/// Starts to use the PL011 at `registers`, as the firmware has configured it.
///
/// # Errors
/// If the registers cannot be mapped.
pub fn init(registers: Range<usize>) -> Result<(), mmu::MapError> {
    let registers: NonNull<PL011Registers> = mmu::map_device(&registers)?;
    // SAFETY: the range was just mapped as device memory, the device tree says that it is a PL011,
    // and `UART` holds the only driver ever made for it.
    let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(registers) });
    uart.set_interrupt_masks(Interrupts::empty());
    *UART.lock() = Some(uart);
    Ok(())
}

/// Whether there is an interrupt, which lasts as long as there is something that was typed and not read.
pub fn interrupt_when_typed(is_wanted: bool) {
    if let Some(uart) = UART.lock().as_mut() {
        let all = Interrupts::RXI | Interrupts::RTI;
        uart.set_interrupt_masks(if is_wanted { all } else { Interrupts::empty() });
    }
}

/// Writes bytes, waiting for room in the FIFO.
pub fn write(bytes: &[u8]) {
    if let Some(uart) = UART.lock().as_mut() {
        write_to(uart, bytes);
    }
}

/// Writes bytes even if this CPU stopped in the middle of [`write`]: for the last words before the machine goes off.
pub fn write_in_emergency(bytes: &[u8]) {
    /// Far longer than any CPU takes to write a line.
    const PATIENCE: u32 = 10_000_000;
    let uart = (0..PATIENCE).find_map(|_| UART.try_lock());
    let mut uart = uart.unwrap_or_else(|| {
        // SAFETY: whoever holds the lock has stopped for good: it is this CPU, or one that this
        // emergency is about.
        unsafe { UART.force_unlock() };
        UART.lock()
    });
    if let Some(uart) = uart.as_mut() {
        write_to(uart, bytes);
    }
}

fn write_to(uart: &mut Uart<'_>, bytes: &[u8]) {
    for &byte in bytes {
        while uart.is_tx_fifo_full() {
            cpu::relax();
        }
        uart.write_word(byte);
    }
}

/// The next byte typed, if any; a byte that arrived damaged is dropped.
pub fn read() -> Option<u8> {
    let mut uart = UART.lock();
    let uart = uart.as_mut()?;
    loop {
        match uart.read_word() {
            Ok(byte) => return byte,
            Err(_) => uart.clear_interrupts(Interrupts::all()),
        }
    }
}
