//! Templates and their clones: a unikernel that waits for work becomes a template by a hypercall, never runs again, and its clones go on
//! behind that call. And domains that are gone as soon as they end, as clones are wont to be.
//!
//! A clone has its template's memory, registers and interrupt controller. It has no event channels, no grants and no registered areas, as
//! after a reset, unless whoever clones it asks for a channel to it: then it has that one, and has granted what its template had. It finds
//! zeroes in pages that are private, and a copy of what others used. Where its template had mapped the shared page and grant frames, it
//! has its own as soon as it touches them.

use alloc::sync::Arc;
use core::ops::Deref;
use core::sync::atomic::{AtomicU32, Ordering};

use mote_core::addr::Ipa;
use mote_core::id::{DomainId, VcpuId};
use mote_core::vgic::VcpuSet;
use mote_platform::timer;
use xen_abi::errno::Errno;
use xen_abi::mote::End;
use xen_abi::xen::virq;

use super::Domain;
use crate::machine::machine;

/// As many clones has a template that is being destroyed: there will be no more.
const CLOSED: u32 = u32::MAX;

/// A clone's hold on its template.
pub struct Origin(Arc<Domain>);

impl Origin {
    /// One more clone's.
    ///
    /// # Errors
    /// `EINVAL` if it is no template, `EBUSY` if it is being destroyed.
    pub fn new(template: Arc<Domain>) -> Result<Self, Errno> {
        let clones = template.clones.get().ok_or(Errno::EINVAL)?;
        let more = |clones: u32| clones.checked_add(1).filter(|&clones| clones != CLOSED);
        if template.has_ended() || clones.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).is_err() {
            return Err(Errno::EBUSY);
        }
        Ok(Self(template))
    }
}

impl Deref for Origin {
    type Target = Domain;

    fn deref(&self) -> &Domain {
        &self.0
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(clones) = self.0.clones.get() {
            clones.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Domain {
    /// Makes it a template. Its only vCPU, which asks for this, is to leave for good. Clones do not share the pages that are `private`.
    ///
    /// # Errors
    /// `EPERM` for a clone and the control domain, `EBUSY` if it has another vCPU on, others' grants or pages or devices: then it goes on
    /// as before. `ENOMEM` if there is no memory for tables: then it cannot go on.
    pub fn become_template(&self, private: &[Ipa]) -> Result<(), Errno> {
        if self.id == DomainId::CONTROL || self.origin.is_some() {
            return Err(Errno::EPERM);
        }
        self.is_alone()?;
        while !self.leave_others() {}
        self.events.lock().forget_areas();
        for vcpu in &self.vcpus {
            vcpu.runstate_area.lock().take();
        }
        self.memory.lock().freeze(private)?;
        self.clones.call_once(AtomicU32::default);
        machine().tell_control(virq::DOM_EXC);
        Ok(())
    }

    fn is_alone(&self) -> Result<(), Errno> {
        let others_are_on = self.power.lock().on != VcpuSet::of(VcpuId(0));
        let its = u64::from(self.pv.shared_ipa.lock().is_some()) + self.grants.lock().places().count() as u64;
        let memory = self.memory.lock();
        let is_alone = !others_are_on && !memory.direct && memory.foreign == its;
        if is_alone { Ok(()) } else { Err(Errno::EBUSY) }
    }

    /// Refuses clones from now on.
    ///
    /// # Errors
    /// `EBUSY` while it has some.
    pub fn refuse_clones(&self) -> Result<(), Errno> {
        let Some(clones) = self.clones.get() else { return Ok(()) };
        match clones.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(CLOSED) => Ok(()),
            Err(_) => Err(Errno::EBUSY),
        }
    }

    /// What the control domain is told of it when it has gone, having run for so many ticks.
    pub fn obituary(&self, ran: u64) -> End {
        let (lived, pages) = (timer::now() - self.milestones.created, self.memory.lock().pages_had());
        let template = self.origin.as_ref().map_or(self.id, |template| template.id).get();
        let code = self.end.get().map_or(0, |end| end.code);
        End { domain: self.id.get(), template, code, pages, lived, ran }
    }

    /// Gives a clone its own of what is its template's at `ipa`.
    ///
    /// # Errors
    /// If there is no memory, or nothing of a template's.
    pub fn own(&self, ipa: Ipa) -> Result<(), Errno> {
        let owned = self.memory.lock().own(ipa).map(drop);
        let (Err(Errno::EACCES), Some(template)) = (owned, &self.origin) else { return owned };
        // The page that EL2 shares with it, where its template had mapped its own.
        let ipa = ipa.page();
        if *template.pv.shared_ipa.lock() == Some(ipa) {
            return self.map_shared_info(ipa);
        }
        let frame = template.grants.lock().places().find(|(_, place)| *place == ipa);
        self.map_grant_frame(frame.ok_or(Errno::ENOENT)?.0, ipa)
    }
}
