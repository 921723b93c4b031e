//! The one physical console that EL2 and all guests share.

use core::fmt::{self, Write};

use mote_core::console::Console;
use mote_platform::lock::{Mutex, MutexGuard};
use mote_platform::uart;
use spin::Once;

/// Made when it is first asked for: a static that is not all zero would cost the image a page.
static CONSOLE: Once<Mutex<Console>> = Once::new();

/// The wire.
pub struct Wire;

impl mote_core::console::Wire for Wire {
    fn write(&mut self, bytes: &[u8]) {
        uart::write(bytes);
    }
}

/// The wire when nothing else can be relied on any more.
pub struct EmergencyWire;

impl Write for EmergencyWire {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        uart::write_in_emergency(text.as_bytes());
        Ok(())
    }
}

/// The console, for this CPU alone until the guard is dropped. It is the innermost lock: nothing else is locked under it.
pub fn lock() -> MutexGuard<'static, Console> {
    CONSOLE.call_once(|| Mutex::new(Console::default())).lock()
}

/// Prints one line of EL2's own.
pub fn log(line: fmt::Arguments<'_>) {
    lock().own_line(line, &mut Wire);
}
