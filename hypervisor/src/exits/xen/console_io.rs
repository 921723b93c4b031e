//! `console_io`: the machine's console, for a domain without a UART or while it does not know of one.

use xen_abi::console::{READ, WRITE};
use xen_abi::xen::domid;

use super::{Action, Answer, Arguments, Errno, Reply, Session};

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
        let [_, count, from, ..] = *arguments;
        let count = count as u32 as usize;
        let mut part = [0; PART];
        let part = &mut part[..count.min(PART)];
        self.read_bytes(from, part)?;
        part.iter().for_each(|&byte| self.domain.send(byte));
        arguments[1] = (count - part.len()) as u64;
        arguments[2] = from.wrapping_add(part.len() as u64);
        Ok(if arguments[1] == 0 { Reply::DONE } else { Reply::Again(None) })
    }

    /// What was typed for the domain, if it has no other place to go to.
    fn read_console(&mut self, arguments: &mut Arguments) -> Answer {
        let [_, count, to, ..] = *arguments;
        if count as u32 > i32::MAX as u32 {
            return Err(Errno::E2BIG);
        }
        let mut part = [0; PART];
        let room = (count as u32 as usize).min(PART);
        let typed = self.domain.take_typed(&mut part[..room]);
        self.write_bytes(to, &part[..typed])?;
        Ok(Reply::Value(typed as u64))
    }
}
