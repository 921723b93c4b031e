//! The one physical console that EL2 and all guests share.

use core::fmt;

use mote_platform::lock::{Mutex, MutexGuard};
use mote_platform::uart;
use spin::Once;

/// The console, on the UART.
type Console = mote_core::console::Console<fn(&[u8])>;

/// Made when it is first asked for: a static that is not all zero would cost the image a page.
static CONSOLE: Once<Mutex<Console>> = Once::new();

/// The console, for this CPU alone until the guard is dropped. It is the innermost lock: nothing else is locked under it.
pub fn lock() -> MutexGuard<'static, Console> {
    CONSOLE.call_once(|| Mutex::new(Console::new(uart::write))).lock()
}

/// Prints one line of EL2's own.
pub fn log(line: fmt::Arguments<'_>) {
    lock().own_line(line);
}
