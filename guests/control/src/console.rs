//! Guests' console rings: what a guest writes goes to the machine's console in its name and the last of it is kept, what is typed for it
//! goes into its ring.

use core::cell::{Cell, RefCell};

use mote_api::{Said, Scrollback};
use mote_protocols::console::Console as Ring;
use mote_unikernel::executor;
use mote_unikernel::xen::events::{self, Port};
use mote_unikernel::xen::{Errno, domains, foreign::Mapping};
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
}

impl Console {
    /// Gives a domain that has memory at [`FRAME`] a console, before it runs.
    ///
    /// # Errors
    /// The hypervisor's.
    pub fn give(domain: u16) -> Result<Self, Errno> {
        let port = domains::offer_port(domain, 0)?;
        domains::set_parameter(domain, param::CONSOLE_PFN, FRAME)?;
        domains::set_parameter(domain, param::CONSOLE_EVTCHN, port.into())?;
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
        Ok(Self { domain, ring, port, theirs, behind, said })
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
        let part = bytes.get(..self.ring.room()).unwrap_or(bytes);
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
            let _ = domains::print(self.domain, said);
        }
        true
    }

    /// Passes on what was typed for it, as far as it has read what was typed before.
    fn pass_on(&self) {
        let mut part = [0; PART];
        loop {
            let room = self.ring.room().min(PART);
            let typed = part.get_mut(..room).map_or(Ok(0), |part| domains::typed(self.domain, part)).unwrap_or(0);
            if typed == 0 {
                return;
            }
            self.ring.put(part.get(..typed).unwrap_or_default());
            let _ = self.port.notify();
        }
    }
}

/// What hears of whatever is typed for other domains.
///
/// # Errors
/// If somebody else does.
pub fn typing() -> Result<Port, Errno> {
    Port::virq(virq::CONSOLE)
}

/// Serves the consoles of all domains.
pub async fn serve(typed: Port, toolstack: &RefCell<Toolstack>) {
    loop {
        let seen = events::times();
        let is_typed = typed.take();
        let mut is_behind = false;
        for console in toolstack.borrow().domains.consoles() {
            let has_said = console.port.take() | console.behind.get();
            console.behind.set(has_said && console.show());
            is_behind |= console.behind.get();
            if has_said || is_typed {
                console.pass_on();
            }
        }
        if is_behind { executor::yield_now().await } else { events::any(seen).await }
    }
}
