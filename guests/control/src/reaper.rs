//! Domains that end: each is reported and taken apart.

use alloc::vec::Vec;
use core::cell::RefCell;
use core::time::Duration;

use mote_unikernel::executor::{self, either};
use mote_unikernel::time::Instant;
use mote_unikernel::xen::{Errno, domains as hypervisor, events::Port};
use xen_abi::Zeroed;
use xen_abi::domctl::{GetDomainInfo, info};
use xen_abi::xen::virq;

use crate::domains::{Domains, Spare};
use crate::toolstack::Toolstack;
use crate::work::Operation;
use crate::{api, report};

/// For how long ephemeral domains that end are left uncounted: those of a busy template are not to call for this domain one by one.
const PAUSE: Duration = Duration::from_millis(20);
/// Domains that are looked at by one hypercall.
const PART: usize = 8;

/// Hears of domains that end.
pub struct Reaper(Port);

impl Reaper {
    /// Who hears of every domain that ends from now on.
    ///
    /// # Errors
    /// If somebody else does.
    pub fn new() -> Result<Self, Errno> {
        Port::virq(virq::DOM_EXC).map(Self)
    }

    /// Waits for domains that end, until nobody is left to run the machine for. At first it looks without having been told, if it is to.
    pub async fn run(self, toolstack: &RefCell<Toolstack>, mut look: bool) {
        let mut count = None;
        while toolstack.borrow().domains.keep_machine_on() {
            // Who ended before this domain began is not told of.
            if !core::mem::take(&mut look) {
                let due = toolstack.borrow().domains.next_due().map(|(due, _)| due);
                let end = toolstack.borrow().domains.next_deadline().map(|(due, _)| due);
                either(self.0.event(), wait_until(due.into_iter().chain(end).chain(count).min())).await;
            }
            toolstack.borrow_mut().end_overdue();
            // Until they are counted, the hypervisor tells of no further ephemeral domain that ends.
            if *count.get_or_insert_with(|| Instant::now() + PAUSE) <= Instant::now() {
                count = if toolstack.borrow_mut().count_ends() { Some(Instant::now() + PAUSE) } else { None };
            }
            let (ended, gone) = look_at(&toolstack.borrow().domains);
            ended.iter().for_each(|domain| bury(&mut toolstack.borrow_mut(), domain));
            gone.into_iter().for_each(|id| toolstack.borrow_mut().forget(id));
            revive(&mut toolstack.borrow_mut());
        }
        api::farewell(toolstack).await;
        let toolstack = &mut *toolstack.borrow_mut();
        toolstack.end_all();
        toolstack.store.let_go();
    }
}

/// Finds those of the domains that have ended, and those that have vanished. Clones, of which there may be very many, are not looked at.
fn look_at(domains: &Domains) -> (Vec<GetDomainInfo>, Vec<u16>) {
    let (mut ended, mut gone) = (Vec::new(), Vec::new());
    let mut next = domains.range(0, u16::MAX).next();
    while let Some((first, _)) = next {
        let mut room = [GetDomainInfo::new_zeroed(); PART];
        // No more than there should be from there on: the hypervisor would look for more behind them, among the numbers of all clones.
        let room = &mut room[..domains.range(first, u16::MAX).take(PART).count()];
        let Ok(count) = hypervisor::list(first, room) else { break };
        let is_full = count == room.len();
        let listed = room.get(..count).unwrap_or_default();
        let last = listed.last().filter(|_| is_full).map_or(u16::MAX, |last| last.domain);
        for (id, domain) in domains.range(first, last) {
            // One that has its number now may be another's clone.
            let found = listed.iter().find(|info| info.domain == id && info.handle == domain.handle);
            match found {
                Some(found) if found.flags & info::SHUTDOWN != 0 => ended.push(*found),
                Some(_) => {}
                None => gone.push(id),
            }
        }
        next = last.checked_add(1).and_then(|next| domains.range(next, u16::MAX).next());
    }
    (ended, gone)
}

/// Finds all domains but this one.
pub fn for_each(mut found: impl FnMut(&GetDomainInfo)) {
    let mut first = 1;
    loop {
        let mut room = [GetDomainInfo::new_zeroed(); PART];
        let count = hypervisor::list(first, &mut room).unwrap_or(0);
        let listed = room.get(..count).unwrap_or_default();
        listed.iter().for_each(&mut found);
        match listed.last() {
            Some(last) if count == PART => first = last.domain.saturating_add(1),
            _ => return,
        }
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => executor::sleep_until(due).await,
        None => core::future::pending().await,
    }
}

/// Builds again what is due. Until then it stays as it is, so that nobody else gets its number or its memory.
fn revive(toolstack: &mut Toolstack) {
    if let Some((due, id)) = toolstack.domains.next_due()
        && due <= Instant::now()
        && toolstack.bury(id).is_err()
        && let Some(spare) = toolstack.domains.get_mut(id).and_then(|domain| domain.spare.as_mut())
    {
        // It is still there: later, once more.
        spare.begin();
        spare.mourn();
    }
}

/// Reports a domain and takes it apart, unless it is to come back.
fn bury(toolstack: &mut Toolstack, ended: &GetDomainInfo) {
    let began = Instant::now();
    let Some(domain) = toolstack.domains.get_mut(ended.domain) else { return };
    let comes_back = match domain.spare.as_mut().map(Spare::mourn) {
        Some(false) => return,
        mourned => mourned.is_some(),
    };
    if let Some(console) = &domain.console {
        // It writes no more.
        while console.show() {}
    }
    let code = ended.flags >> info::SHUTDOWN_SHIFT & 0xff;
    // A control domain before this one may have told of it.
    if !domain.is_reported
        && domain.is_to_be_reported()
        && let Ok(usage) = hypervisor::usage(ended.domain)
    {
        report::domain(ended.domain, &domain.definition, code, &usage);
    }
    toolstack.note_reported(ended.domain);
    // Also if it asked to be started anew: as on Xen without a toolstack, it stays down. Who is to start it again does it here.
    // What cannot be destroyed was told of.
    if !comes_back {
        let _ = toolstack.destroy(ended.domain);
        toolstack.works.note(Operation::Destroy, began);
    }
}
