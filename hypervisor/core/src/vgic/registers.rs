//! The GIC's registers as a guest addresses them: where, how wide, what behind them.

use super::intid::IntId;
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
        self.truncate(value >> (self.offset % 8 * 8))
    }

    /// Cuts a value to the width.
    pub(super) const fn truncate(&self, value: u64) -> u64 {
        value & (u64::MAX >> (64 - 8 * self.width as u32))
    }
}

/// The access sizes that a register takes (IHI0069 §12.1.3): a [`Width`] is a bit.
pub(super) type Widths = u8;

const ANY: Widths = 0xf;
const WORD: Widths = Width::Word as Widths;
const BYTE_OR_WORD: Widths = Width::Byte as Widths | WORD;
const WORD_OR_DOUBLE: Widths = WORD | Width::Double as Widths;

/// A property of interrupts that has an array of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
    Priority,
    Config,
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
    /// Part of an array with a field for each interrupt, and the interrupt that the first field belongs to.
    Array(Field, IntId),
}

/// `GICD_IIDR` and `GICR_IIDR` as Xen has them.
const IIDR: Register = Register::Constant(0x34c);
/// `GICD_PIDR2` and `GICR_PIDR2`: a GICv3 in bits 7 to 4, the rest as Xen has it.
const PIDR2: Register = Register::Constant(0x30);
/// What is not there, and what there is nothing to say about.
const ZERO: Register = Register::Constant(0);

/// `GICD_TYPER` (IHI0069 §12.9.38): INTIDs of 10 bits. There is no more to say: no LPIs, no message-based SPIs, no
/// extended ranges, Aff0 below 16, Aff3 always 0.
const TYPER: u64 = (10 - 1) << 19;

/// The registers of a distributor with so many banks of shared interrupts (IHI0069 §12.8).
#[inline]
pub(super) fn distributor(offset: u32, banks: u64) -> (Register, Widths) {
    match offset {
        0x0 => (Register::Control, WORD),
        0x4 => (Register::Constant(TYPER | banks), WORD),
        0x8 => (IIDR, WORD),
        // STATUSR.
        0x10 => (ZERO, WORD),
        0x6000..0x8000 => (Register::Router, WORD_OR_DOUBLE),
        0xffe8 => (PIDR2, WORD),
        _ => array(offset, false),
    }
}

/// A redistributor's registers (IHI0069 §12.10): the second 64 KiB, the SGI frame, have the arrays.
pub(super) fn redistributor(offset: u32) -> (Register, Widths) {
    match offset {
        // CTLR, STATUSR, SYNCR; and WAKER, for a vCPU is awake, as on Xen.
        0x0 | 0x10 | 0x14 | 0xc0 => (ZERO, WORD),
        0x4 => (IIDR, WORD),
        0x8 | 0xc => (Register::RedistributorType, WORD_OR_DOUBLE),
        0xffe8 => (PIDR2, WORD),
        0x1_0000.. => array(offset - 0x1_0000, true),
        _ => (ZERO, ANY),
    }
}

/// The arrays, which are at the same places in the distributor and in the SGI frame.
#[inline(always)]
fn array(offset: u32, private: bool) -> (Register, Widths) {
    let (field, first, widths) = match offset {
        // IGROUPR: all are in group 1.
        0x080..0x100 => return (Register::Constant(u64::MAX), WORD),
        0x100..0x180 => (Field::SetEnable, offset % 0x80 * 8, WORD),
        0x180..0x200 => (Field::ClearEnable, offset % 0x80 * 8, WORD),
        0x200..0x280 => (Field::SetPending, offset % 0x80 * 8, WORD),
        0x280..0x300 => (Field::ClearPending, offset % 0x80 * 8, WORD),
        0x300..0x380 => (Field::SetActive, offset % 0x80 * 8, WORD),
        0x380..0x400 => (Field::ClearActive, offset % 0x80 * 8, WORD),
        0x400..0x800 => (Field::Priority, offset - 0x400, BYTE_OR_WORD),
        0xc00..0xd00 => (Field::Config, (offset - 0xc00) * 4, WORD),
        _ => return (ZERO, ANY),
    };
    // Private interrupts have theirs in the SGI frame, shared ones in the distributor.
    let first = IntId::new(first).filter(|first| first.is_private() == private);
    (first.map_or(ZERO, |first| Register::Array(field, first)), widths)
}
