//! What a domain has by Xen's ABI besides a machine: event channels, grants, a shared page, a console ring, parameters, watchdogs.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mote_core::addr::Ipa;
use mote_core::events::{Pair, Raised};
use mote_core::id::{DomainId, VcpuId};
use mote_core::p2m::Access;
use mote_core::policy::Relation;
use mote_core::timer::earliest;
use mote_core::vgic::{IntId, VcpuSet};
use mote_core::watchdog::Watchdogs;
use mote_platform::lock::Mutex;
use mote_platform::timer;
use spin::Once;
use xen_abi::arch_arm::EVENT_CHANNEL_INTID;
use xen_abi::errno::Errno;
use xen_abi::hvm::{CALLBACK_PPI, param};
use xen_abi::sched::reason;

use super::{Domain, End};
use crate::machine::machine;
use crate::memory::FrameRef;

/// The interrupt by which a vCPU hears of events.
const EVENTS: IntId = IntId::new(EVENT_CHANNEL_INTID).expect("a PPI");
/// `HVM_PARAM_CALLBACK_IRQ`: that PPI, whose line is low when an event is pending.
const CALLBACK: u64 = CALLBACK_PPI | 2 << 8 | EVENT_CHANNEL_INTID as u64;

/// What a domain has by Xen's ABI besides event channels and grants.
#[derive(Default)]
pub struct Extras {
    /// Where the guest has mapped the shared page.
    pub(super) shared_ipa: Mutex<Option<Ipa>>,
    /// Where its console's and its xenstore's rings are, as frame numbers and ports: see [`Domain::ring_parameter`].
    rings: [AtomicU64; 4],
    /// Why it says that it will end; the first reason counts.
    pub reason: Once<u32>,
    watchdogs: Mutex<Watchdogs>,
    /// When the first of them runs out, so that most vCPUs need not lock; 0 if none runs.
    first_watchdog: AtomicU64,
    /// When it is to end in any case; 0 if it may live on.
    pub last_tick: AtomicU64,
    /// How often a vCPU of its was told of events.
    pub(super) told: AtomicU64,
    /// Whether it serves others.
    pub is_driver: AtomicBool,
    /// Whether runstate records are marked while they are written.
    pub marks_updates: AtomicBool,
}

impl Domain {
    /// What another domain is to this one.
    pub fn relation(&self, other: &Self) -> Relation {
        match other {
            _ if self.id == DomainId::CONTROL => Relation::Controlled,
            _ if core::ptr::eq(self, other) => Relation::Itself,
            _ if !self.knows(other) && !other.knows(self) => match &other.origin {
                // A clone's peers are its template's.
                Some(template) => self.relation(template),
                None => Relation::Stranger,
            },
            _ if self.pv.is_driver.load(Ordering::Relaxed) => Relation::Served,
            _ => Relation::Peer,
        }
    }

    fn knows(&self, other: &Self) -> bool {
        self.peers.lock().contains(&(other.id, other.serial))
    }

    /// Joins it with another: they may connect events and use each other's grants.
    ///
    /// # Errors
    /// If there is no memory to note it.
    pub fn join(&self, other: &Self) -> Result<(), Errno> {
        let mut peers = self.peers.lock();
        peers.retain(|&(id, serial)| machine().domain(id).is_some_and(|domain| domain.serial == serial));
        peers.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        peers.push((other.id, other.serial));
        Ok(())
    }

    /// Does something to the event channels of this domain and another, which may be the same.
    pub fn with_events_of<R>(&self, other: &Self, f: impl FnOnce(&mut Pair<'_, FrameRef>) -> R) -> R {
        // Whoever takes two takes the one of the lower number first.
        if self.id == other.id {
            f(&mut Pair { local: &mut self.events.lock(), remote: None })
        } else if self.id < other.id {
            let mut local = self.events.lock();
            f(&mut Pair { local: &mut local, remote: Some(&mut other.events.lock()) })
        } else {
            let mut remote = other.events.lock();
            f(&mut Pair { local: &mut self.events.lock(), remote: Some(&mut remote) })
        }
    }

    /// Sends the event interrupt to those that are to have it; returns which vCPUs must look.
    #[inline]
    pub fn raise(&self, raised: Raised) -> VcpuSet {
        let mut look = raised.pollers;
        if !raised.upcalls.is_empty() {
            self.pv.told.fetch_add(1, Ordering::Relaxed);
            let mut vgic = self.vgic.lock();
            for vcpu in raised.upcalls {
                look = look.union(vgic.raise(vcpu, EVENTS));
            }
        }
        look
    }

    /// Tells its vCPUs of events, when none of them is the caller's.
    pub fn announce(&self, raised: Raised) {
        self.wake_all(self.raise(raised));
    }

    /// A vCPU begins anew with events pending that it was told of before.
    pub fn announce_again(&self, vcpu: VcpuId) {
        let raised = self.events.lock().announce_again(vcpu);
        // It is about to look at its interrupts.
        let _ = self.raise(raised);
    }

    /// Closes a port that a guest may close.
    ///
    /// # Errors
    /// If it is none. `EAGAIN` if its other end was changed meanwhile.
    pub fn close_port(&self, port: u32) -> Result<(), Errno> {
        let peer = self.events.lock().peer(port)?;
        if peer == Some(self.id) {
            return self.with_events_of(self, |pair| pair.close(port)).map(drop);
        }
        match peer.and_then(|id| machine().domain(id)) {
            Some(remote) => {
                let raised = self.with_events_of(&remote, |pair| pair.close(port))?;
                remote.announce(raised);
                Ok(())
            }
            None => self.events.lock().close_alone(port, peer),
        }
    }

    /// Closes some ports and ends some uses of others' grants, because the domain is no more; whether none is left.
    pub fn leave_others(&self) -> bool {
        const PART: usize = 64;
        self.events.lock().shut();
        for _ in 0..PART {
            let open = self.events.lock().first_open();
            if let Some(port) = open {
                // If its other end changed, it is still open, and closed next time.
                let _ = self.close_port(port);
                continue;
            }
            let mapping = self.grants.lock().take_any();
            let Some(mapping) = mapping else { return true };
            self.end_use(&mapping);
        }
        false
    }

    /// Maps the shared page at `ipa`.
    ///
    /// # Errors
    /// If it is mapped already or cannot be there.
    pub fn map_shared_info(&self, ipa: Ipa) -> Result<(), Errno> {
        let mut place = self.pv.shared_ipa.lock();
        if place.is_some() {
            return Err(Errno::EBUSY);
        }
        let page = self.events.lock().shared.another()?;
        self.memory.lock().map_shared(ipa, page, Access::Full)?;
        *place = Some(ipa);
        Ok(())
    }

    /// Maps a frame of the grant table at `ipa`; the table grows to have it.
    ///
    /// # Errors
    /// If there can be no such frame, it is mapped already, or cannot be there.
    pub fn map_grant_frame(&self, index: u32, ipa: Ipa) -> Result<(), Errno> {
        self.grow_grants(index.checked_add(1).ok_or(Errno::EINVAL)?)?;
        let mut grants = self.grants.lock();
        let frame = grants.frame(index).ok_or(Errno::EINVAL)?;
        if frame.ipa.is_some() {
            return Err(Errno::EBUSY);
        }
        self.memory.lock().map_shared(ipa, frame.page.another()?, Access::Full)?;
        frame.ipa = Some(ipa);
        Ok(())
    }

    /// Grows the grant table to `frames`.
    ///
    /// # Errors
    /// If it may not have so many, or there is no memory.
    pub fn grow_grants(&self, frames: u32) -> Result<(), Errno> {
        if frames > self.grants.lock().limits.frames {
            return Err(Errno::EINVAL);
        }
        while self.grants.lock().frames() < frames {
            self.grants.lock().add_frame(FrameRef::zeroed()?).map_err(|_| Errno::ENOMEM)?;
        }
        Ok(())
    }

    /// The guest took a shared page from `ipa`: it may have it elsewhere from now on.
    pub fn forget_shared(&self, ipa: Ipa) {
        self.pv.shared_ipa.lock().take_if(|place| *place == ipa);
        self.grants.lock().forget_ipa(ipa);
    }

    /// A parameter that guests may read. Without console or xenstore their frames and ports are 0.
    pub fn parameter(&self, index: u32) -> Option<u64> {
        if index == param::CALLBACK_IRQ {
            return Some(CALLBACK);
        }
        self.ring_parameter(index).map(|value| value.load(Ordering::Relaxed))
    }

    /// A parameter that whoever builds the domain may set: a ring's frame or port.
    pub fn ring_parameter(&self, index: u32) -> Option<&AtomicU64> {
        const RINGS: [u32; 4] = [param::CONSOLE_PFN, param::CONSOLE_EVTCHN, param::STORE_PFN, param::STORE_EVTCHN];
        RINGS.into_iter().zip(&self.pv.rings).find_map(|(ring, value)| (ring == index).then_some(value))
    }

    /// How a guest that gives this reason ends, unless it gave another before.
    pub fn ending(&self, code: u32) -> End {
        match self.pv.reason.get().copied().unwrap_or(code & 0xff) {
            reason::POWEROFF => End::SHUTDOWN,
            reason::REBOOT => End::REBOOT,
            code => End { code, why: meaning(code) },
        }
    }

    /// Sets or stops a watchdog: see [`Watchdogs::set`].
    ///
    /// # Errors
    /// As there.
    pub fn set_watchdog(&self, id: u32, deadline: Option<u64>) -> Result<u32, Errno> {
        let mut watchdogs = self.pv.watchdogs.lock();
        let id = watchdogs.set(id, deadline)?;
        self.pv.first_watchdog.store(watchdogs.first().unwrap_or(0), Ordering::Relaxed);
        Ok(id)
    }

    /// When its first watchdog or its time runs out, if there is such a time.
    pub fn watchdog(&self) -> Option<u64> {
        let set = |deadline: &AtomicU64| Some(deadline.load(Ordering::Relaxed)).filter(|&deadline| deadline != 0);
        earliest(set(&self.pv.first_watchdog), set(&self.pv.last_tick))
    }

    /// Ends it if a watchdog has run out; whether it has.
    pub fn check_watchdog(self: &Arc<Self>) -> bool {
        let bites = self.watchdog().is_some_and(|deadline| deadline <= timer::now());
        if bites {
            let last = self.pv.last_tick.load(Ordering::Relaxed);
            let is_over = last != 0 && last <= timer::now();
            let why = if is_over { "it was there for as long as it may be" } else { meaning(reason::WATCHDOG) };
            self.end(End { code: reason::WATCHDOG, why });
        }
        bites
    }
}

/// What a guest says with the reason for its end.
const fn meaning(code: u32) -> &'static str {
    match code {
        reason::SUSPEND => "it asked to be saved, and nobody is there to do it",
        reason::CRASH => "it says that it crashed",
        reason::WATCHDOG => "its watchdog ran out",
        reason::SOFT_RESET => "it asked for a soft reset, and nobody is there to do it",
        _ => "it gave a reason for its end that there is not",
    }
}
