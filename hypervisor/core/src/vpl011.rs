//! The emulated UART: the subset of a PL011 that the Server Base System Architecture asks of one (SBSA, appendix B), as Xen
//! offers it.

use alloc::collections::VecDeque;

/// Bytes that wait for the guest; more are dropped, as a UART drops them.
const RECEIVE_FIFO: usize = 32;

/// Flags (PL011 TRM 3.3.3, `UARTFR`).
const FLAG_TRANSMIT_EMPTY: u32 = 1 << 7;
const FLAG_RECEIVE_FULL: u32 = 1 << 6;
const FLAG_RECEIVE_EMPTY: u32 = 1 << 4;
/// Interrupts (PL011 TRM 3.3.11, `UARTRIS`).
const RECEIVE: u32 = 1 << 4;
const TRANSMIT: u32 = 1 << 5;
const RECEIVE_TIMEOUT: u32 = 1 << 6;
/// All interrupts that can be masked.
const ALL_INTERRUPTS: u32 = 0x7ff;

/// The registers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Data,
    ReceiveStatus,
    Flags,
    Mask,
    RawStatus,
    MaskedStatus,
    Clear,
}

/// Register by offset in bytes.
const REGISTERS: [(u64, Register); 7] = [
    (0x00, Register::Data),
    (0x04, Register::ReceiveStatus),
    (0x18, Register::Flags),
    (0x38, Register::Mask),
    (0x3c, Register::RawStatus),
    (0x40, Register::MaskedStatus),
    (0x44, Register::Clear),
];

/// The guest accessed what is not there, or in a way that is not: an external abort, as on Xen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchRegister;

/// A domain's UART.
#[derive(Debug, Default)]
pub struct Vpl011 {
    received: VecDeque<u8>,
    mask: u32,
    // Whether the transmit interrupt stands: from a byte sent until the guest clears it.
    transmitted: bool,
    // What the interrupt controller knows of the line.
    told: bool,
}

impl Vpl011 {
    /// As after a reset.
    #[must_use]
    pub fn new() -> Self {
        Self { received: VecDeque::with_capacity(RECEIVE_FIFO), ..Self::default() }
    }

    /// What a load of `size` bytes at `offset` reads. The line may change: see [`Self::line_change`].
    ///
    /// # Errors
    /// [`NoSuchRegister`].
    pub fn read(&mut self, offset: u64, size: u8) -> Result<u64, NoSuchRegister> {
        let value = match find(offset, size)? {
            Register::Data => u32::from(self.received.pop_front().unwrap_or(0)),
            Register::ReceiveStatus | Register::Clear => 0,
            Register::Flags => self.flags(),
            Register::Mask => self.mask,
            Register::RawStatus => self.raw_status(),
            Register::MaskedStatus => self.raw_status() & self.mask,
        };
        Ok(u64::from(value))
    }

    /// Takes a store of `size` bytes at `offset`; gives the byte that the guest sends, if it sends one. The line may change:
    /// see [`Self::line_change`].
    ///
    /// # Errors
    /// [`NoSuchRegister`].
    pub fn write(
        &mut self,
        offset: u64,
        size: u8,
        value: u64,
    ) -> Result<Option<u8>, NoSuchRegister> {
        match find(offset, size)? {
            Register::Data => {
                self.transmitted = true;
                return Ok(Some(value as u8));
            }
            Register::Mask => self.mask = value as u32 & ALL_INTERRUPTS,
            Register::Clear => self.transmitted &= value as u32 & TRANSMIT == 0,
            Register::ReceiveStatus
            | Register::Flags
            | Register::RawStatus
            | Register::MaskedStatus => {}
        }
        Ok(None)
    }

    /// A byte for the guest arrives.
    pub fn receive(&mut self, byte: u8) {
        if self.received.len() < RECEIVE_FIFO {
            self.received.push_back(byte);
        }
    }

    /// Whether the UART asserts its interrupt, if that has changed since the last time somebody asked.
    pub fn line_change(&mut self) -> Option<bool> {
        let line = self.line();
        (core::mem::replace(&mut self.told, line) != line).then_some(line)
    }

    fn line(&self) -> bool {
        self.raw_status() & self.mask != 0
    }

    fn flags(&self) -> u32 {
        let received = match self.received.len() {
            0 => FLAG_RECEIVE_EMPTY,
            RECEIVE_FIFO.. => FLAG_RECEIVE_FULL,
            _ => 0,
        };
        FLAG_TRANSMIT_EMPTY | received
    }

    fn raw_status(&self) -> u32 {
        let receive = if self.received.is_empty() { 0 } else { RECEIVE | RECEIVE_TIMEOUT };
        receive | if self.transmitted { TRANSMIT } else { 0 }
    }
}

fn find(offset: u64, size: u8) -> Result<Register, NoSuchRegister> {
    let found = REGISTERS.iter().find(|&&(at, _)| at == offset);
    found.filter(|_| size <= 4).map(|&(_, register)| register).ok_or(NoSuchRegister)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_sent_come_out_and_raise_the_line_until_cleared() {
        let mut uart = Vpl011::new();
        assert_eq!(uart.write(0x38, 4, u64::from(TRANSMIT)), Ok(None));
        assert!(!uart.line());
        assert_eq!(uart.write(0, 1, 0x141), Ok(Some(0x41)));
        assert!(uart.line());
        assert_eq!(uart.read(0x40, 2), Ok(u64::from(TRANSMIT)));
        assert_eq!(uart.write(0x44, 4, u64::from(RECEIVE)), Ok(None));
        assert!(uart.line());
        assert_eq!(uart.write(0x44, 4, u64::from(TRANSMIT)), Ok(None));
        assert!(!uart.line());
    }

    #[test]
    fn bytes_received_are_read_in_order_and_the_rest_is_dropped() {
        let mut uart = Vpl011::new();
        (0..=255).for_each(|byte| uart.receive(byte));
        assert_eq!(uart.read(0x18, 4), Ok(u64::from(FLAG_TRANSMIT_EMPTY | FLAG_RECEIVE_FULL)));
        for byte in 0..RECEIVE_FIFO as u64 {
            assert!(uart.raw_status() & RECEIVE != 0);
            assert_eq!(uart.read(0, 4), Ok(byte));
        }
        assert_eq!(uart.read(0x18, 4), Ok(u64::from(FLAG_TRANSMIT_EMPTY | FLAG_RECEIVE_EMPTY)));
        assert_eq!(uart.read(0, 4), Ok(0));
    }

    #[test]
    fn what_is_not_there_aborts() {
        let mut uart = Vpl011::new();
        for offset in 0..0x1000 {
            for size in [1, 2, 4, 8] {
                let there = REGISTERS.iter().any(|&(at, _)| at == offset) && size < 8;
                assert_eq!(uart.read(offset, size).is_ok(), there);
                assert_eq!(uart.write(offset, size, u64::MAX).is_ok(), there);
            }
        }
        assert_eq!(uart.read(0x38, 4), Ok(u64::from(ALL_INTERRUPTS)));
    }
}
