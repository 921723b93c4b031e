//! The machine's console, and a domain's (`xen.h`, `io/console.h`).

use crate::wire;

/// `CONSOLEIO_write`.
pub const WRITE: u64 = 0;
/// `CONSOLEIO_read`.
pub const READ: u64 = 1;

/// Bytes of the ring to the guest.
pub const IN_SIZE: usize = 1024;
/// Bytes of the ring from it.
pub const OUT_SIZE: usize = 2048;

wire! {
    /// `struct xencons_interface`: a ring `input` to the guest and a ring `output` from it. The four counters run freely; a ring
    /// holds what is between its two: whoever reads it writes `cons`, the other end `prod`.
    Ring { input: [u8; IN_SIZE], output: [u8; OUT_SIZE], in_cons: u32, in_prod: u32, out_cons: u32, out_prod: u32 }
}
