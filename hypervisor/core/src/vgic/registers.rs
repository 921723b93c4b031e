//! The GIC's registers as a guest addresses them: where, how wide, what behind them.

use crate::mmio::Width;

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

impl Access {
    /// Whether the offset is a multiple of the size.
    pub(super) const fn is_aligned(&self) -> bool {
        self.offset & (self.width as u32 - 1) == 0
    }

    /// What is read of a 64-bit register's value: all of it or a half.
    pub(super) const fn part(&self, value: u64) -> u64 {
        self.truncate(value >> self.shift_in_double())
    }

    /// Such a register's new value when `value` is written to it or to a half of it.
    pub(super) const fn replace(&self, old: u64, value: u64) -> u64 {
        let shift = self.shift_in_double();
        let mask = self.truncate(u64::MAX) << shift;
        old & !mask | value << shift & mask
    }

    /// Cuts a value to the width.
    pub(super) const fn truncate(&self, value: u64) -> u64 {
        value & (u64::MAX >> (64 - 8 * self.width as u32))
    }

    /// The half of a 64-bit register that a word access means, as a shift.
    const fn shift_in_double(&self) -> u32 {
        self.offset % 8 * 8
    }
}

/// The access sizes that a register takes (IHI0069 §12.1.3).
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths(u8);

impl Widths {
    const NONE: Self = Self(0);
    const ANY: Self = Self(0xf);
    const WORD: Self = Self(Width::Word as u8);
    const BYTE_OR_WORD: Self = Self(Width::Byte as u8 | Width::Word as u8);
    const WORD_OR_DOUBLE: Self = Self(Width::Word as u8 | Width::Double as u8);

    pub const fn allow(self, width: Width) -> bool {
        self.0 & width as u8 != 0
    }
}

/// A property of interrupts that has an array of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
    Priority,
    Config,
}

impl Field {
    /// Whether list registers may know better than software.
    pub const fn is_state(self) -> bool {
        matches!(self, Self::SetPending | Self::ClearPending | Self::SetActive | Self::ClearActive)
    }
}

/// What is behind an offset.
#[derive(Clone, Copy, Debug)]
pub(super) enum Register {
    /// Reads as this, ignores writes.
    Constant(u64),
    /// `GICD_CTLR`.
    Control,
    /// `GICD_IROUTER<n>`.
    Router,
    /// `GICR_TYPER`.
    RedistributorType,
    /// `GICR_WAKER`.
    Waker,
    /// Part of an array with a field for each interrupt, and the interrupt that the first field belongs to.
    Array(Field, u32),
}

/// `GICD_IIDR` and `GICR_IIDR` as Xen has them.
const IIDR: Register = Register::Constant(0x34c);
/// `GICD_PIDR2` and `GICR_PIDR2`: a GICv3 in bits 7 to 4, the rest as Xen has it.
const PIDR2: Register = Register::Constant(0x30);
/// What is not there, and what there is nothing to say about.
const ZERO: Register = Register::Constant(0);

/// `GICD_TYPER.IDbits` (IHI0069 §12.9.38): INTIDs of 10 bits. There is no more to say: no LPIs,
/// no message-based SPIs, no extended ranges, Aff0 below 16, Aff3 always 0, routing to any vCPU.
const TYPER_ID_BITS: u64 = (10 - 1) << 19;

/// The registers of a distributor with so many banks of shared interrupts (IHI0069 §12.8).
#[inline]
pub(super) const fn distributor(offset: u32, banks: u64) -> (Register, Widths) {
    match offset {
        0x0 => (Register::Control, Widths::WORD),
        0x4 => (Register::Constant(TYPER_ID_BITS | banks), Widths::WORD),
        0x8 => (IIDR, Widths::WORD),
        // STATUSR.
        0x10 => (ZERO, Widths::WORD),
        0x6000..0x8000 => (Register::Router, Widths::WORD_OR_DOUBLE),
        0xffe8 => (PIDR2, Widths::WORD),
        0x1_0000.. => (ZERO, Widths::NONE),
        _ => array(offset),
    }
}

/// A redistributor's registers (IHI0069 §12.10): the second 64 KiB, the SGI frame, have the arrays.
pub(super) const fn redistributor(offset: u32) -> (Register, Widths) {
    match offset {
        // CTLR, STATUSR, SYNCR.
        0x0 | 0x10 | 0xc0 => (ZERO, Widths::WORD),
        0x4 => (IIDR, Widths::WORD),
        0x8 | 0xc => (Register::RedistributorType, Widths::WORD_OR_DOUBLE),
        0x14 => (Register::Waker, Widths::WORD),
        0xffe8 => (PIDR2, Widths::WORD),
        0x1_0000..0x2_0000 => array(offset - 0x1_0000),
        0x2_0000.. => (ZERO, Widths::NONE),
        _ => (ZERO, Widths::ANY),
    }
}

/// The arrays, which are at the same places in the distributor and in the SGI frame.
const fn array(offset: u32) -> (Register, Widths) {
    let field = match offset {
        0x080..0x100 => Field::Group,
        0x100..0x180 => Field::SetEnable,
        0x180..0x200 => Field::ClearEnable,
        0x200..0x280 => Field::SetPending,
        0x280..0x300 => Field::ClearPending,
        0x300..0x380 => Field::SetActive,
        0x380..0x400 => Field::ClearActive,
        0x400..0x800 => return (Register::Array(Field::Priority, offset - 0x400), Widths::BYTE_OR_WORD),
        0xc00..0xd00 => return (Register::Array(Field::Config, (offset - 0xc00) * 4), Widths::WORD),
        _ => return (ZERO, Widths::ANY),
    };
    (Register::Array(field, offset % 0x80 * 8), Widths::WORD)
}
