//! The arrays of registers that hold a field for each interrupt, on a bank.

use super::bank::{Bank, PRIORITY_BITS};
use super::intid::IntId;
use super::registers::Field;
use crate::mmio::Width;

/// Interrupts 0 to 15, the SGIs: always edge-triggered.
const SGIS: u32 = 0xffff;

impl Bank {
    /// Reads a register of which the field of the bank's interrupt `bit` is the first.
    pub fn read(&self, field: Field, bit: usize, width: Width) -> u64 {
        match field {
            Field::Group => self.group1.into(),
            Field::SetEnable | Field::ClearEnable => self.enabled.into(),
            Field::SetPending | Field::ClearPending => self.pending().into(),
            Field::SetActive | Field::ClearActive => self.active.into(),
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

    /// Writes such a register. Returns the interrupts for which that made a difference, or
    /// could have.
    pub fn write(&mut self, field: Field, first: IntId, width: Width, value: u64) -> u32 {
        let bit = first.bit();
        let word = value as u32;
        match field {
            Field::Group => return update(&mut self.group1, |_| word),
            Field::SetEnable => return update(&mut self.enabled, |old| old | word),
            Field::ClearEnable => return update(&mut self.enabled, |old| old & !word),
            Field::SetPending => self.pend(word),
            Field::ClearPending => self.unpend(word),
            Field::SetActive => self.set_active(word, true),
            Field::ClearActive => self.set_active(word, false),
            Field::Priority => return self.write_priorities(bit, width, value),
            Field::Config => {
                let window = 0xffff << bit;
                let edges = (0..16).fold(0, |edges, place| edges | (word >> (2 * place + 1) & 1) << place);
                let fixed = if first.is_private() { SGIS } else { 0 };
                return update(&mut self.edge, |old| (old & !window) | (edges << bit) | fixed);
            }
        }
        word
    }

    fn write_priorities(&mut self, bit: usize, width: Width, value: u64) -> u32 {
        let bytes = value.to_le_bytes();
        let places = self.priority.iter_mut().zip(0..).skip(bit).take(width as usize);
        let mut changed = 0;
        for ((priority, place), byte) in places.zip(bytes) {
            if *priority != byte & PRIORITY_BITS {
                *priority = byte & PRIORITY_BITS;
                changed |= 1_u32 << place;
            }
        }
        changed
    }
}

/// Changes a word and returns the bits that changed.
fn update(word: &mut u32, change: impl Fn(u32) -> u32) -> u32 {
    let old = *word;
    *word = change(old);
    old ^ *word
}
