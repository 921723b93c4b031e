//! The machine's console (`xen.h`).

/// `CONSOLEIO_write`.
pub const WRITE: u64 = 0;
/// `CONSOLEIO_read`.
pub const READ: u64 = 1;
