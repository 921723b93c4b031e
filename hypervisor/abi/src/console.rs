//! The machine's console, and a domain's (`xen.h`, `io/console.h`).

use crate::wire;

/// `CONSOLEIO_write`.
pub const WRITE: u64 = 0;
/// `CONSOLEIO_read`.
pub const READ: u64 = 1;

/// Bytes of the ring to the guest, and from it.
pub const IN_SIZE: usize = 1024;
/// As above.
pub const OUT_SIZE: usize = 2048;

wire! {
    /// `struct xencons_interface`. The four counters run freely; a ring holds what is between its two.
    Ring {
        /// To the guest.
        input: [u8; 1024],
        /// From the guest.
        output: [u8; 2048],
        /// Read by the guest.
        in_cons: u32,
        /// Written by the other end.
        in_prod: u32,
        /// Read by the other end.
        out_cons: u32,
        /// Written by the guest.
        out_prod: u32,
    }
}
