//! `console_io`: the machine's console, for a domain without a UART or while it does not know of one.

use mote_core::id::DomainId;
use mote_platform::uart;
use xen_abi::console::{READ, WRITE};
use xen_abi::xen::domid;

use super::{Action, Answer, Arguments, Errno, Reply, Session};

/// Bytes that are copied at once.
pub(super) const PART: usize = 128;

impl Session<'_> {
    pub(super) fn console_io(&mut self, arguments: &mut Arguments) -> Answer {
        self.domain_for(Action::Console, domid::SELF)?;
        match u64::from(arguments[0] as u32) {
            WRITE => self.write_console(arguments),
            READ => self.read_console(arguments),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// A part of the text; the guest calls again for the rest.
    fn write_console(&mut self, arguments: &mut Arguments) -> Answer {
        let (count, from) = (u64::from(arguments[1] as u32), arguments[2]);
        let part = count.min(PART as u64);
        self.domain.say(self.read_part(from, part as usize, &mut [0; PART])?);
        arguments[1] = count - part;
        arguments[2] = from.wrapping_add(part);
        Ok(if arguments[1] == 0 { Reply::DONE } else { Reply::Again(None) })
    }

    /// What was typed, for the control domain. Others read nothing.
    fn read_console(&mut self, &mut [_, count, to, ..]: &mut Arguments) -> Answer {
        if count as u32 > i32::MAX as u32 {
            return Err(Errno::E2BIG);
        }
        if self.domain.id != DomainId::CONTROL {
            return Ok(Reply::DONE);
        }
        let mut typed = [0; PART];
        let places = typed.iter_mut().take(count as u32 as usize);
        let count = places.map_while(|place| uart::read().map(|byte| *place = byte)).count();
        uart::interrupt_when_typed(true);
        self.write_bytes(to, &typed[..count])?;
        Ok(Reply::Value(count as u64))
    }

    /// A text of the caller's, of a part's length at most.
    pub(super) fn read_part<'a>(&self, from: u64, length: usize, room: &'a mut [u8; PART]) -> Result<&'a [u8], Errno> {
        let text = room.get_mut(..length).ok_or(Errno::E2BIG)?;
        self.read_bytes(from, text)?;
        Ok(text)
    }
}
