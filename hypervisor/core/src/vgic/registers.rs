//! The GIC's registers as a guest addresses them.

/// Bytes of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One.
    Byte,
    /// Two.
    Half,
    /// Four.
    Word,
    /// Eight.
    Double,
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads.
    Read,
    /// Writes this; bits past the width are not looked at.
    Write(u64),
}

/// A guest's access to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Bytes from the start of the window or redistributor.
    pub offset: u32,
    /// How many bytes.
    pub width: Width,
    /// Read or write.
    pub operation: Operation,
}
