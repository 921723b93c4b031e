//! Accesses to emulated devices' registers.

/// Bytes of an access. The numbers are the sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One.
    Byte = 1,
    /// Two.
    Half = 2,
    /// Four.
    Word = 4,
    /// Eight.
    Double = 8,
}

impl Width {
    /// 2 to the power of the low two bits of `log2`, as `ESR_ELx.ISS.SAS` says it.
    pub const fn from_log2(log2: u8) -> Self {
        match log2 & 3 {
            0 => Self::Byte,
            1 => Self::Half,
            2 => Self::Word,
            _ => Self::Double,
        }
    }
}
