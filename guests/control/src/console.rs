//! Guests' console rings: what a guest writes goes to the machine's console in its name and the last of it is kept, what is typed for it
//! goes into its ring. And the machine's keyboard, whose owner is watched: its output goes to the machine's console as it comes.

use core::cell::{Cell, RefCell};

use mote_api::{Said, Scrollback};
use mote_keyboard::{Backlog, Typed};
use mote_protocols::console::Console as Ring;
use mote_unikernel::xen::events::{self, Port};
use mote_unikernel::xen::{Errno, domains as hypervisor, foreign::Mapping};
use mote_unikernel::{executor, println};
use xen_abi::arch_arm::MAGIC_PAGES;
use xen_abi::hvm::param;
use xen_abi::xen::virq;

use crate::toolstack::Toolstack;

/// The frame of a guest's console ring, as a toolstack chooses it.
pub const FRAME: u64 = MAGIC_PAGES.base / 4096;
/// Bytes that are moved by one hypercall.
const PART: usize = 128;
/// Parts of one guest's that are moved before others have their turn.
const TURN: usize = 16;

/// A guest's console.
pub struct Console {
    domain: u16,
    ring: Ring<Mapping>,
    port: Port,
    // The number of the other end.
    theirs: u32,
    // Whether there was more than could be shown at once.
    behind: Cell<bool>,
    said: RefCell<Scrollback>,
    typed: RefCell<Backlog>,
}

impl Console {
    /// Gives a domain that has memory at [`FRAME`] a console, before it runs.
    ///
    /// # Errors
    /// The hypervisor's.
    pub fn give(domain: u16) -> Result<Self, Errno> {
        let port = hypervisor::offer_port(domain, 0)?;
        hypervisor::set_parameter(domain, param::CONSOLE_PFN, FRAME)?;
        hypervisor::set_parameter(domain, param::CONSOLE_EVTCHN, port.into())?;
        Self::adopt(domain, port)
    }

    /// The console of a domain that was given one with this port.
    ///
    /// # Errors
    /// The hypervisor's.
    pub fn adopt(domain: u16, theirs: u32) -> Result<Self, Errno> {
        let (ring, port) = (Ring::new(Mapping::new(domain, FRAME)?), Port::connect(domain, theirs)?);
        // It may have written something of which nobody heard.
        let (behind, said) = (Cell::new(true), RefCell::new(Scrollback::new(0)));
        Ok(Self { domain, ring, port, theirs, behind, said, typed: RefCell::default() })
    }

    /// The domain's own port.
    pub const fn port(&self) -> u32 {
        self.theirs
    }

    /// Keeps so many bytes of what is said.
    pub fn keep(&self, bytes: usize) {
        self.said.borrow_mut().resize(bytes);
    }

    /// What was said from byte `from` on, as far as it is kept.
    pub fn since(&self, from: u64) -> Said<'static> {
        self.said.borrow().since(from)
    }

    /// Types at it, as far as there is room; returns how many bytes that were.
    pub fn type_in(&self, bytes: &[u8]) -> usize {
        // What waits comes first.
        let room = if self.typed.borrow().is_empty() { self.ring.room() } else { 0 };
        let part = bytes.get(..room).unwrap_or(bytes);
        if !part.is_empty() {
            self.ring.put(part);
            let _ = self.port.notify();
        }
        part.len()
    }

    /// Shows what the guest has written, or some of it: whether there may be more.
    pub fn show(&self) -> bool {
        let mut part = [0; PART];
        for _ in 0..TURN {
            let (length, may_wait) = self.ring.take(&mut part);
            if length == 0 {
                return false;
            }
            // Not without need: an event that comes while nobody has the console open is one that Linux never ends.
            if may_wait {
                let _ = self.port.notify();
            }
            let said = part.get(..length).unwrap_or_default();
            self.said.borrow_mut().push(said);
            // A guest that is gone needs no console.
            let _ = hypervisor::print(self.domain, said);
        }
        true
    }

    /// Types at it, and keeps what it has no room for.
    fn type_all(&self, text: &[u8]) {
        self.typed.borrow_mut().add(text);
        self.pass_on();
    }

    /// Passes on what was typed for it, as far as it has read what was typed before.
    fn pass_on(&self) {
        let part = self.typed.borrow_mut().take(self.ring.room());
        if !part.is_empty() {
            self.ring.put(&part);
            let _ = self.port.notify();
        }
    }
}

/// What hears of whatever is typed at the machine.
///
/// # Errors
/// If somebody else does.
pub fn typing() -> Result<Port, Errno> {
    Port::virq(virq::CONSOLE)
}

/// Serves the consoles of all domains, and the keyboard.
pub async fn serve(typing: Port, toolstack: &RefCell<Toolstack>) {
    // What was typed before this domain began is there without having been told of.
    let mut is_typed = true;
    loop {
        let seen = events::times();
        if is_typed {
            toolstack.borrow_mut().read_keyboard();
        }
        let mut is_behind = false;
        for console in toolstack.borrow().domains.consoles() {
            let has_said = console.port.take() | console.behind.get();
            console.behind.set(has_said && console.show());
            is_behind |= console.behind.get();
            if has_said {
                console.pass_on();
            }
        }
        if is_behind {
            executor::yield_now().await
        } else {
            events::any(seen).await
        }
        is_typed = typing.take();
    }
}

impl Toolstack {
    /// Passes on what was typed at the machine.
    fn read_keyboard(&mut self) {
        let mut part = [0; PART];
        loop {
            let count = mote_unikernel::console::typed(&mut part);
            let typed = self.keyboard.read(part.get(..count).unwrap_or_default());
            for typed in typed {
                match typed {
                    Typed::Text(text) => self.type_at_owner(&text),
                    Typed::Switch => self.move_keyboard(),
                }
            }
            if count == 0 {
                return;
            }
        }
    }

    fn type_at_owner(&self, text: &[u8]) {
        let Some((id, domain)) = self.keyboard.owner.and_then(|id| Some((id, self.domains.get(id)?))) else { return };
        if let Some(console) = &domain.console
            && (console.ring.is_in_use() || !domain.definition.vpl011)
        {
            return console.type_all(text);
        }
        for part in text.chunks(PART) {
            // Without a UART it reads nothing.
            let _ = hypervisor::type_at(id, part);
        }
    }

    /// Gives the first domain the keyboard that works for somebody.
    pub fn hand_keyboard_out(&mut self) {
        let first = self.domains.iter().find(|(_, domain)| !domain.definition.driver).map(|(id, _)| id);
        self.give_keyboard(first);
    }

    /// A domain is gone: if it had the keyboard, the next one has it.
    pub fn take_keyboard_from(&mut self, id: u16) {
        if self.keyboard.owner == Some(id) {
            self.move_keyboard();
        }
    }

    fn move_keyboard(&mut self) {
        let next = self.keyboard.next(self.domains.iter().map(|(id, _)| id));
        self.give_keyboard(next);
    }

    fn give_keyboard(&mut self, to: Option<u16>) {
        if let Some(before) = core::mem::replace(&mut self.keyboard.owner, to) {
            // It may be gone.
            let _ = hypervisor::watch(before, false);
            self.note(before);
        }
        let name = to.and_then(|id| self.domains.get(id)).map_or("nobody", |domain| &domain.definition.name);
        println!("*** Serial input to {name} (type 'CTRL-a' three times to switch input)");
        if let Some(id) = to {
            let _ = hypervisor::watch(id, true);
            self.note(id);
        }
    }
}
