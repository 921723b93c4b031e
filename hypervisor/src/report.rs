//! What EL2 measured of itself, as a line of JSON on the console: `(mote) report {…}`. Integers only; times are ticks of the
//! physical counter, sizes are bytes. Of domains the control domain reports.

use core::fmt;

use mote_platform::{heap, image, timer};

use crate::console;
use crate::memory;

/// A milestone as JSON: null if it was not reached.
struct Tick(u64);

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("null") } else { write!(f, "{}", self.0) }
    }
}

/// Reports the machine, when all its domains are gone: what of the pool is not free then is lost.
pub fn machine(pcpus: usize, memory_bytes: u64, entered: u64, first_guest: u64) {
    let (pool, free) = memory::pool_bytes();
    console::log(format_args!(
        "report {{\"kind\":\"machine\",\"pcpus\":{pcpus},\"memory_bytes\":{memory_bytes},\"image_bytes\":{},\
         \"hypervisor_bytes\":{},\"hz\":{},\"entered\":{entered},\"first_guest\":{},\
         \"pool_bytes\":{pool},\"free_bytes\":{free}}}",
        image::file_size(),
        image::region().len() - heap::free(),
        timer::frequency(),
        Tick(first_guest),
    ));
}
