//! The GIC's registers as a guest addresses them: where, how wide, what behind them.

use super::Outcome;
use super::set::VcpuSet;
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

    /// The half of a 64-bit register that a word access means, as a shift.
    pub(super) const fn shift_in_double(&self) -> u32 {
        self.offset % 8 * 8
    }

    /// Cuts a value to the width.
    pub(super) const fn truncate(&self, value: u64) -> u64 {
        value & (u64::MAX >> (64 - 8 * self.width as u32))
    }

    /// A 64-bit register's new value when `value` is written to it or to a half of it.
    pub(super) const fn replace(&self, old: u64, value: u64) -> u64 {
        let shift = self.shift_in_double();
        let mask = self.truncate(u64::MAX) << shift;
        old & !mask | value << shift & mask
    }

    /// The outcome for a register that reads as `value` and ignores writes.
    pub(super) const fn constant(&self, value: u64, widths: Widths) -> Outcome {
        match self.operation {
            _ if !widths.allow(self.width) => Outcome::Abort,
            Operation::Read => Outcome::Value(self.truncate(value)),
            Operation::Write(_) => Outcome::Written(VcpuSet::EMPTY),
        }
    }
}

/// The access sizes that a register takes (IHI0069 §12.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Widths(u8);

impl Widths {
    pub const ANY: Self = Self(0xf);
    pub const WORD: Self = Self(Width::Word as u8);
    pub const BYTE_OR_WORD: Self = Self(Width::Byte as u8 | Width::Word as u8);
    pub const WORD_OR_DOUBLE: Self = Self(Width::Word as u8 | Width::Double as u8);

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
        use Field::{ClearActive, ClearPending, SetActive, SetPending};
        matches!(self, SetPending | ClearPending | SetActive | ClearActive)
    }

    /// The interrupt whose field begins at `offset`.
    pub const fn first_interrupt(self, offset: u32) -> u32 {
        match self {
            Self::Priority => offset % 0x400,
            Self::Config => offset % 0x100 * 4,
            _ => offset % 0x80 * 8,
        }
    }
}

/// What stands behind 128 bytes of the distributor, or of a redistributor's SGI frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Registers of the whole, each by itself. Nothing in the SGI frame.
    Control,
    /// An array with a field for each interrupt, and the sizes that it takes.
    Array(Field, Widths),
    /// Reads as zero, ignores writes.
    Reserved,
}

const ROWS: usize = 32;

/// The row for an offset.
const fn row(offset: u32) -> usize {
    (offset / 0x80) as usize
}

/// The first 4 KiB of both frames, a row for each 128 bytes (IHI0069 §12.8, §12.10).
const BLOCKS: [Block; ROWS] = {
    let mut rows = [Block::Reserved; ROWS];
    rows[row(0x000)] = Block::Control;
    rows[row(0x080)] = Block::Array(Field::Group, Widths::WORD);
    rows[row(0x100)] = Block::Array(Field::SetEnable, Widths::WORD);
    rows[row(0x180)] = Block::Array(Field::ClearEnable, Widths::WORD);
    rows[row(0x200)] = Block::Array(Field::SetPending, Widths::WORD);
    rows[row(0x280)] = Block::Array(Field::ClearPending, Widths::WORD);
    rows[row(0x300)] = Block::Array(Field::SetActive, Widths::WORD);
    rows[row(0x380)] = Block::Array(Field::ClearActive, Widths::WORD);
    let mut priorities = row(0x400);
    while priorities < row(0x800) {
        rows[priorities] = Block::Array(Field::Priority, Widths::BYTE_OR_WORD);
        priorities += 1;
    }
    rows[row(0xc00)] = Block::Array(Field::Config, Widths::WORD);
    rows[row(0xc80)] = Block::Array(Field::Config, Widths::WORD);
    rows
};

/// What is at an offset.
pub(super) const fn block(offset: u32) -> Block {
    let row = row(offset);
    if row < ROWS { BLOCKS[row] } else { Block::Reserved }
}

/// Bits 7 to 4 of `GICD_PIDR2` and `GICR_PIDR2`: a GICv3. The rest as Xen has it.
pub(super) const PIDR2: u64 = 0x30;
/// Where the identification registers' `PIDR2` is, in the distributor and in a redistributor.
pub(super) const PIDR2_OFFSET: u32 = 0xffe8;
/// `GICD_IIDR` and `GICR_IIDR` as Xen has them.
pub(super) const IIDR: u64 = 0x34c;
