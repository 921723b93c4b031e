//! The arrays of registers that hold a field for each interrupt, on a bank.

use super::bank::{Bank, PRIORITY_BITS, SGIS};
use super::intid::IntId;
use super::registers::Field;
use crate::mmio::Width;

impl Bank {
    /// Reads a register of which the field of the bank's interrupt `bit` is the first.
    pub fn read(&self, field: Field, bit: usize, width: Width) -> u64 {
        match field {
            Field::SetEnable | Field::ClearEnable => self.enabled.into(),
            Field::SetPending | Field::ClearPending => self.pending().into(),
            Field::SetActive | Field::ClearActive => (self.active & !self.listed).into(),
            Field::Priority => {
                let bytes = self.priority.iter().skip(bit).take(width as usize);
                bytes.rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
            }
            Field::Config => (0..16).fold(0, |value, place| {
                let edge = self.edge >> (bit + place) & 1;
                value | u64::from(edge) << (2 * place + 1)
            }),
        }
    }

    /// Writes such a register. Returns the interrupts for which that may make a difference.
    pub fn write(&mut self, field: Field, first: IntId, width: Width, value: u64) -> u32 {
        let bit = first.bit();
        let word = value as u32;
        match field {
            Field::SetEnable => self.enabled |= word,
            Field::ClearEnable => self.enabled &= !word,
            Field::SetPending => self.latch |= word,
            Field::ClearPending => self.unpend(word),
            // As on Xen, nothing becomes active but by being taken.
            Field::SetActive => {}
            Field::ClearActive => self.deactivate(word),
            Field::Priority => {
                let places = self.priority.iter_mut().skip(bit).take(width as usize);
                places.zip(value.to_le_bytes()).for_each(|(priority, byte)| *priority = byte & PRIORITY_BITS);
                return ((1 << width as u32) - 1) << bit;
            }
            Field::Config => {
                let window = 0xffff << bit;
                let edges = (0..16).fold(0, |edges, place| edges | (word >> (2 * place + 1) & 1) << place);
                let fixed = if first.is_private() { SGIS } else { 0 };
                self.edge = (self.edge & !window) | (edges << bit) | fixed;
                return window;
            }
        }
        word
    }
}
