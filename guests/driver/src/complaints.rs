//! What is said of a guest that does not do as it should: a few lines for each device, however often it does so. Counters tell of the rest.

use core::cell::Cell;
use core::fmt;

use mote_unikernel::println;

/// Lines for one device.
const MOST: u8 = 8;

/// The lines that were said.
#[derive(Default)]
pub struct Complaints(Cell<u8>);

impl Complaints {
    /// Says one more, unless there were enough.
    pub fn say(&self, line: fmt::Arguments<'_>) {
        let said = self.0.get();
        if said < MOST {
            self.0.set(said + 1);
            let more = if said + 1 == MOST { " (no more is said of it)" } else { "" };
            println!("{line}{more}");
        }
    }
}
