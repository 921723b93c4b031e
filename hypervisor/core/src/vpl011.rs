//! The emulated UART: the subset of a PL011 that the Server Base System Architecture asks of one (SBSA, appendix B), as Xen
//! offers it. What a PL011 has beyond that reads as zero and ignores writes, so that drivers which set one up go on.

use alloc::collections::VecDeque;

/// Bytes that wait for the guest: a pasted line. More are dropped, as a UART drops them.
const RECEIVE_FIFO: usize = 256;

/// Flags (PL011 TRM 3.3.3, `UARTFR`).
const FLAG_TRANSMIT_EMPTY: u32 = 1 << 7;
const FLAG_RECEIVE_FULL: u32 = 1 << 6;
const FLAG_RECEIVE_EMPTY: u32 = 1 << 4;
/// Interrupts (PL011 TRM 3.3.11, `UARTRIS`). The FIFO's trigger level is one byte, and its time-out is none.
const RECEIVE: u32 = 1 << 4 | 1 << 6;
const TRANSMIT: u32 = 1 << 5;
/// All interrupts that can be masked.
const ALL_INTERRUPTS: u32 = 0x7ff;
/// The widest access, in bytes.
const WIDTH: u8 = 4;

/// Offsets of the registers there are, in bytes.
const DATA: u64 = 0x00;
const RECEIVE_STATUS: u64 = 0x04;
const FLAGS: u64 = 0x18;
const MASK: u64 = 0x38;
const RAW_STATUS: u64 = 0x3c;
const MASKED_STATUS: u64 = 0x40;
/// Write-only: a read aborts.
const CLEAR: u64 = 0x44;
const REGISTERS: [u64; 7] = [DATA, FLAGS, RECEIVE_STATUS, MASK, RAW_STATUS, MASKED_STATUS, CLEAR];

/// A domain's UART.
#[derive(Debug, Default)]
pub struct Vpl011 {
    received: VecDeque<u8>,
    mask: u32,
    // Interrupts that stand, masked or not: until the guest clears them, or the FIFO is empty.
    raised: u32,
    // What the interrupt controller knows of the line.
    told: bool,
}

impl Vpl011 {
    /// As after a reset.
    pub fn new() -> Self {
        Self { received: VecDeque::with_capacity(RECEIVE_FIFO), ..Self::default() }
    }

    /// What a load of `size` bytes at `offset` reads; `None` is an external abort, as on Xen. The line may change: see
    /// [`Self::line_change`].
    pub fn read(&mut self, offset: u64, size: u8) -> Option<u64> {
        if REGISTERS.contains(&offset) && (size > WIDTH || offset == CLEAR) {
            return None;
        }
        let value = match offset {
            DATA => self.take(),
            FLAGS => self.flags(),
            MASK => self.mask,
            RAW_STATUS => self.raised,
            MASKED_STATUS => self.raised & self.mask,
            _ => 0,
        };
        Some(u64::from(value & bits(size)))
    }

    /// Takes a store of `size` bytes at `offset`; gives the byte that the guest sends, if it sends one. `None` is an external
    /// abort. The line may change: see [`Self::line_change`].
    pub fn write(&mut self, offset: u64, size: u8, value: u64) -> Option<Option<u8>> {
        if REGISTERS.contains(&offset) && size > WIDTH {
            return None;
        }
        let value = value as u32 & bits(size);
        match offset {
            DATA => {
                self.raised |= TRANSMIT;
                return Some(Some(value as u8));
            }
            MASK => self.mask = (self.mask & !bits(size) | value) & ALL_INTERRUPTS,
            CLEAR => self.raised &= !value,
            _ => {}
        }
        Some(None)
    }

    /// A byte for the guest arrives.
    pub fn receive(&mut self, byte: u8) {
        if self.received.len() < RECEIVE_FIFO {
            self.received.push_back(byte);
            self.raised |= RECEIVE;
        }
    }

    /// Whether the UART asserts its interrupt, if that has changed since the last time somebody asked.
    pub fn line_change(&mut self) -> Option<bool> {
        let line = self.raised & self.mask != 0;
        (core::mem::replace(&mut self.told, line) != line).then_some(line)
    }

    fn take(&mut self) -> u32 {
        let byte = self.received.pop_front().unwrap_or(0);
        if self.received.is_empty() {
            self.raised &= !RECEIVE;
        }
        u32::from(byte)
    }

    fn flags(&self) -> u32 {
        let received = match self.received.len() {
            0 => FLAG_RECEIVE_EMPTY,
            RECEIVE_FIFO.. => FLAG_RECEIVE_FULL,
            _ => 0,
        };
        FLAG_TRANSMIT_EMPTY | received
    }
}

/// The bits that an access of `size` bytes, up to the widest, touches.
fn bits(size: u8) -> u32 {
    u32::MAX >> (u32::BITS - 8 * u32::from(size.clamp(1, WIDTH)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_sent_come_out_and_raise_the_line_until_cleared() {
        let mut uart = Vpl011::new();
        assert_eq!(uart.write(MASK, 4, u64::from(TRANSMIT)), Some(None));
        assert_eq!(uart.line_change(), None);
        assert_eq!(uart.write(DATA, 1, 0x141), Some(Some(0x41)));
        assert_eq!(uart.line_change(), Some(true));
        assert_eq!(uart.read(MASKED_STATUS, 2), Some(u64::from(TRANSMIT)));
        assert_eq!(uart.write(CLEAR, 4, u64::from(RECEIVE)), Some(None));
        assert_eq!(uart.line_change(), None);
        assert_eq!(uart.write(CLEAR, 4, u64::from(TRANSMIT)), Some(None));
        assert_eq!(uart.line_change(), Some(false));
    }

    #[test]
    fn bytes_received_are_read_in_order_and_the_rest_is_dropped() {
        let mut uart = Vpl011::new();
        (0..=RECEIVE_FIFO).for_each(|byte| uart.receive(byte as u8));
        assert_eq!(uart.read(FLAGS, 4), Some(u64::from(FLAG_TRANSMIT_EMPTY | FLAG_RECEIVE_FULL)));
        for byte in 0..RECEIVE_FIFO {
            assert_eq!(uart.read(RAW_STATUS, 4), Some(u64::from(RECEIVE)));
            assert_eq!(uart.read(DATA, 4), Some(byte as u64));
        }
        assert_eq!(uart.read(RAW_STATUS, 4), Some(0));
        assert_eq!(uart.read(FLAGS, 4), Some(u64::from(FLAG_TRANSMIT_EMPTY | FLAG_RECEIVE_EMPTY)));
        assert_eq!(uart.read(DATA, 4), Some(0));
    }

    #[test]
    fn a_cleared_receive_interrupt_comes_again_with_the_next_byte() {
        let mut uart = Vpl011::new();
        assert_eq!(uart.write(MASK, 4, u64::from(RECEIVE)), Some(None));
        uart.receive(1);
        assert_eq!(uart.line_change(), Some(true));
        assert_eq!(uart.write(CLEAR, 4, u64::from(RECEIVE)), Some(None));
        assert_eq!(uart.line_change(), Some(false));
        uart.receive(2);
        assert_eq!(uart.line_change(), Some(true));
    }

    #[test]
    fn narrow_accesses_touch_no_more_than_their_bytes() {
        let mut uart = Vpl011::new();
        assert_eq!(uart.write(MASK, 4, u64::MAX), Some(None));
        assert_eq!(uart.write(MASK, 1, 0xfff0), Some(None));
        assert_eq!(uart.read(MASK, 4), Some(0x7f0));
        assert_eq!(uart.read(MASK, 1), Some(0xf0));
        assert_eq!(uart.write(DATA, 1, 0), Some(Some(0)));
        assert_eq!(uart.write(CLEAR, 1, u64::from(TRANSMIT) << 32), Some(None));
        assert_eq!(uart.read(RAW_STATUS, 4), Some(u64::from(TRANSMIT)));
    }

    #[test]
    fn what_is_not_there_reads_as_zero_and_ignores_writes() {
        let mut uart = Vpl011::new();
        uart.receive(b'x');
        for offset in (0..0x1000).filter(|&offset| !REGISTERS.contains(&offset)) {
            for size in [1, 2, 4, 8] {
                assert_eq!(uart.read(offset, size), Some(0));
                assert_eq!(uart.write(offset, size, u64::MAX), Some(None));
            }
        }
        assert_eq!(uart.read(MASK, 4), Some(0));
        assert_eq!(uart.read(DATA, 4), Some(u64::from(b'x')));
    }

    #[test]
    fn registers_have_neither_64_bits_nor_do_all_of_them_read() {
        let mut uart = Vpl011::new();
        for offset in REGISTERS {
            for size in [1, 2, 4, 8] {
                let readable = size < 8 && offset != CLEAR;
                assert_eq!(uart.read(offset, size).is_some(), readable);
                assert_eq!(uart.write(offset, size, 0).is_some(), size < 8);
            }
        }
    }
}
