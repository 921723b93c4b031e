//! `console_io`: the machine's console, for a domain without a UART or while it does not know of one.

use xen_abi::console::{READ, WRITE};
use xen_abi::xen::domid;

use super::{Action, Answer, Arguments, Errno, Reply, Session};
use crate::domain::Domain;

/// Bytes that are copied at once.
const PART: usize = 128;

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
        self.say(self.domain, from, part as usize)?;
        arguments[1] = count - part;
        arguments[2] = from.wrapping_add(part);
        Ok(if arguments[1] == 0 { Reply::DONE } else { Reply::Again(None) })
    }

    /// What was typed for the domain, if it has no other place to go to.
    fn read_console(&mut self, &mut [_, count, to, ..]: &mut Arguments) -> Answer {
        if count as u32 > i32::MAX as u32 {
            return Err(Errno::E2BIG);
        }
        self.hear(self.domain, to, count as u32 as usize).map(|typed| Reply::Value(typed as u64))
    }

    /// Writes a text of the caller's to the machine's console in a domain's name.
    pub(super) fn say(&self, domain: &Domain, from: u64, length: usize) -> Result<(), Errno> {
        let mut text = [0; PART];
        let text = text.get_mut(..length).ok_or(Errno::E2BIG)?;
        self.read_bytes(from, text)?;
        text.iter().for_each(|&byte| domain.send(byte));
        Ok(())
    }

    /// Gives the caller what was typed for a domain; how much.
    pub(super) fn hear(&self, domain: &Domain, to: u64, room: usize) -> Result<usize, Errno> {
        let mut text = [0; PART];
        let mut typed = domain.pv.typed.lock();
        let count = text.iter_mut().take(room).map_while(|place| typed.take().map(|byte| *place = byte)).count();
        drop(typed);
        self.write_bytes(to, &text[..count])?;
        Ok(count)
    }
}
