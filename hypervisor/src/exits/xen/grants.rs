//! `grant_table_op`.
//!
//! No two locks are held at once: a grant is pinned, then its frame is referenced, then it is mapped or copied. A pin and a
//! reference each hold by themselves whatever happens in between.

use alloc::sync::Arc;
use core::mem::offset_of;
use core::ops::Range;

use mote_core::addr::{Ipa, PAGE_SIZE};
use mote_core::grants::{Mapping, Use};
use mote_core::p2m::Access;
use mote_core::policy::Action;
use mote_platform::memory;
use xen_abi::errno::Errno;
use xen_abi::grant_table::{
    CacheFlush, Copy, CopyEnd, GetStatusFrames, GetVersion, GrantStatus, Map, QuerySize, SetVersion, SetupTable,
    SwapGrantRef, Unmap, UnmapAndReplace, map, op, option,
};
use xen_abi::xen::domid;
use xen_abi::{Bytes, Wire};

use super::super::Session;
use super::{Answer, Arguments, BATCH, Reply, room};
use crate::domain::Domain;
use crate::machine::machine;
use crate::memory::FrameRef;

/// Structures of a guest's list that are read at once.
const AT_ONCE: usize = 4;

/// All bytes of a structure.
const fn whole<T>() -> Range<usize> {
    0..size_of::<T>()
}

/// What a grant operation comes to, which its structure tells the guest.
type Granted<T = ()> = Result<T, GrantStatus>;

const fn status(result: Granted) -> i16 {
    match result {
        Ok(()) => GrantStatus::Okay as i16,
        Err(status) => status as i16,
    }
}

/// What the version that there is lets a grant be used for.
const fn access(usage: Use) -> Access {
    match usage {
        Use::Read => Access::Read,
        Use::Write => Access::Full,
    }
}

impl Session<'_> {
    pub(super) fn grant_table_op(&mut self, arguments: &mut Arguments) -> Answer {
        let &mut [op, at, count, ..] = arguments;
        let op = u64::from(op as u32);
        let takes_one = matches!(op, op::SETUP_TABLE | op::QUERY_SIZE | op::GET_STATUS_FRAMES);
        if (count as i32) < 0 || takes_one && count as u32 != 1 {
            return Err(Errno::EINVAL);
        }
        match op {
            op::MAP => self.each(arguments, whole::<Map>(), |session, map: &mut Map| {
                let mapped = session.map_grant(map);
                map.status = status(mapped.map(|handle| map.handle = handle));
            }),
            op::UNMAP => self.each(arguments, whole::<Unmap>(), |session, unmap: &mut Unmap| {
                unmap.status = status(session.unmap_grant(unmap.handle, unmap.host_addr));
            }),
            op::UNMAP_AND_REPLACE => {
                let written = whole::<UnmapAndReplace>();
                self.each(arguments, written, |session, unmap: &mut UnmapAndReplace| {
                    // As on Xen where a guest's memory is translated: nothing can take its place.
                    let mapped = session.domain.grants.lock().mapping(unmap.handle);
                    unmap.status = status(mapped.and(Err(GrantStatus::GeneralError)));
                })
            }
            op::SETUP_TABLE => self.setup_table(at),
            op::QUERY_SIZE => self.query_size(at),
            op::GET_STATUS_FRAMES => self.status_frames(at),
            op::COPY => {
                let written = offset_of!(Copy, status)..offset_of!(Copy, status) + size_of::<i16>();
                self.each(arguments, written, |session, copy: &mut Copy| {
                    copy.status = status(session.copy_grant(copy));
                })
            }
            op::SWAP_GRANT_REF => {
                let written = whole::<SwapGrantRef>();
                self.each(arguments, written, |session, swap: &mut SwapGrantRef| {
                    let swapped = session.domain.grants.lock().swap(swap.ref_a, swap.ref_b);
                    swap.status = status(swapped);
                })
            }
            op::CACHE_FLUSH => self.flush_caches(arguments),
            op::TRANSFER => Err(Errno::EOPNOTSUPP),
            op::SET_VERSION => {
                let asked: SetVersion = self.read(at)?;
                match asked.version {
                    1 => self.write(at, &SetVersion { version: 1 }).map(|()| Reply::DONE),
                    2 => Err(Errno::ENOSYS),
                    _ => Err(Errno::EINVAL),
                }
            }
            op::GET_VERSION => {
                let asked: GetVersion = self.read(at)?;
                self.domain_for(Action::Manage, asked.dom)?;
                self.write(at, &GetVersion { version: 1, ..asked })?;
                Ok(Reply::DONE)
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Does an operation to each structure of the guest's list, some at a time. The guest gets the bytes `written` back.
    fn each<T: Wire>(
        &mut self,
        arguments: &mut Arguments,
        written: Range<usize>,
        mut operation: impl FnMut(&mut Self, &mut T),
    ) -> Answer {
        let [op, mut at, count, ..] = *arguments;
        let mut left = u64::from(count as u32);
        let mut now = left.min(BATCH) as usize;
        let mut elements = [T::new_zeroed(); AT_ONCE];
        while now > 0 {
            // Those of one page are all there or not.
            let few = (room(at) / size_of::<T>()).clamp(1, AT_ONCE.min(now));
            let read = elements.get_mut(..few).unwrap_or_default();
            self.read_bytes(at, read.as_mut_bytes())?;
            for element in read {
                operation(self, element);
                let answer = element.as_bytes().get(written.clone()).unwrap_or_default();
                self.write_bytes(at.wrapping_add(written.start as u64), answer)?;
                at = at.wrapping_add(size_of::<T>() as u64);
            }
            now -= few;
            left -= few as u64;
        }
        *arguments = [op, at, left, 0, 0];
        Ok(if left == 0 { Reply::DONE } else { Reply::Again })
    }

    /// A domain whose grants are concerned.
    fn granter(&self, action: Action, number: u16) -> Granted<Arc<Domain>> {
        self.domain_for(action, number).map_err(|error| match error {
            Errno::ESRCH => GrantStatus::BadDomain,
            _ => GrantStatus::PermissionDenied,
        })
    }

    fn setup_table(&mut self, at: u64) -> Answer {
        let asked: SetupTable = self.read(at)?;
        let result = self.granter(Action::Manage, asked.dom).and_then(|domain| {
            domain.grow_grants(asked.nr_frames).map_err(|_| GrantStatus::GeneralError)?;
            for index in 0..asked.nr_frames {
                let ipa = domain.grants.lock().frame(index).and_then(|(_, ipa)| ipa);
                let frame = ipa.map_or(u64::MAX, |ipa| ipa.0 / PAGE_SIZE);
                let to = asked.frame_list.wrapping_add(u64::from(index) * 8);
                self.write(to, &frame).map_err(|_| GrantStatus::BadVirtualAddress)?;
            }
            Ok(())
        });
        self.write(at, &SetupTable { status: status(result), ..asked })?;
        Ok(Reply::DONE)
    }

    /// Version 1 has no status frames.
    fn status_frames(&mut self, at: u64) -> Answer {
        let asked: GetStatusFrames = self.read(at)?;
        let none = |_| if asked.nr_frames == 0 { Ok(()) } else { Err(GrantStatus::GeneralError) };
        let status = status(self.granter(Action::Manage, asked.dom).and_then(none));
        self.write(at, &GetStatusFrames { status, ..asked })?;
        Ok(Reply::DONE)
    }

    fn query_size(&mut self, at: u64) -> Answer {
        let mut answer: QuerySize = self.read(at)?;
        let found = self.granter(Action::Manage, answer.dom).map(|domain| {
            let grants = domain.grants.lock();
            (answer.nr_frames, answer.max_nr_frames) = (grants.frames(), grants.max_frames());
        });
        answer.status = status(found);
        self.write(at, &answer)?;
        Ok(Reply::DONE)
    }

    /// Maps another's page, and returns the handle by which it is unmapped.
    fn map_grant(&mut self, asked: &mut Map) -> Granted<u32> {
        if asked.flags & (map::DEVICE | map::HOST) == 0 {
            return Err(GrantStatus::BadGrantReference);
        }
        if asked.flags & (map::DEVICE | map::APPLICATION | map::CONTAINS_PTE) != 0 {
            return Err(GrantStatus::GeneralError);
        }
        let usage = if asked.flags & map::READ_ONLY != 0 { Use::Read } else { Use::Write };
        let ipa = Ipa(asked.host_addr);
        if asked.dom == domid::SELF {
            return Err(GrantStatus::BadDomain);
        }
        let granter = self.granter(Action::UseGrants, asked.dom)?;
        let handle = self.domain.grants.lock().take_handle()?;
        let mapped = pin(&granter, asked.gref, self.domain, usage).and_then(|page| {
            let frame = page.base();
            let mapped = self.domain.memory.lock().map_shared(ipa, page, access(usage));
            mapped.map(|()| frame).map_err(|_| {
                granter.grants.lock().unpin(asked.gref, usage);
                GrantStatus::GeneralError
            })
        });
        let mut grants = self.domain.grants.lock();
        match mapped {
            Ok(frame) => {
                let (granter, reference) = (granter.id, asked.gref);
                grants.set_mapping(handle, Mapping { granter, reference, usage, ipa, frame });
                // A device sees the domain's memory as the domain does.
                asked.dev_bus_addr = ipa.0;
                Ok(handle)
            }
            Err(status) => {
                grants.free_handle(handle);
                Err(status)
            }
        }
    }

    fn unmap_grant(&mut self, handle: u32, host_addr: u64) -> Granted {
        let mapping = self.domain.grants.lock().take_mapping(handle)?;
        if host_addr == 0 {
            // As on Xen it stays mapped.
            self.domain.grants.lock().set_mapping(handle, mapping);
            return Ok(());
        }
        let removed = if host_addr == mapping.ipa.0 {
            let mut memory = self.domain.memory.lock();
            let is_there = memory.shared_at(mapping.ipa) == Some(mapping.frame);
            is_there && memory.remove(mapping.ipa).is_ok()
        } else {
            false
        };
        let mut grants = self.domain.grants.lock();
        if !removed {
            grants.set_mapping(handle, mapping);
            return Err(GrantStatus::GeneralError);
        }
        grants.free_handle(handle);
        drop(grants);
        self.domain.end_use(&mapping);
        Ok(())
    }

    fn copy_grant(&mut self, asked: &Copy) -> Granted {
        let source = self.copy_end(&asked.source, asked.flags & option::SOURCE_GREF, Use::Read)?;
        let copied = match &self.copy_end(&asked.dest, asked.flags & option::DEST_GREF, Use::Write) {
            Ok(dest) => {
                let copied = self.copy_held(asked, &source, dest);
                self.release(dest, Use::Write);
                copied
            }
            Err(status) => Err(*status),
        };
        self.release(&source, Use::Read);
        copied
    }

    fn copy_held(&self, asked: &Copy, source: &Held, dest: &Held) -> Granted {
        let fits = |end: &CopyEnd| u64::from(end.offset) + u64::from(asked.len) <= PAGE_SIZE;
        if !fits(&asked.source) || !fits(&asked.dest) {
            return Err(GrantStatus::BadCopyArgument);
        }
        let mut memory = self.domain.memory.lock();
        let mut place = |held: &Held, usage| match &held.page {
            Place::Own(ipa) => memory.own_page(*ipa, access(usage)).map_err(|_| GrantStatus::BadPage),
            Place::Other(page) => Ok(page.base()),
        };
        let from = place(source, Use::Read)?.0 + u64::from(asked.source.offset);
        let to = place(dest, Use::Write)?.0 + u64::from(asked.dest.offset);
        memory::copy(from, to, asked.len.into()).map_err(|_| GrantStatus::GeneralError)
    }

    /// One end of a copy: a page of the caller's, or one that somebody granted it.
    fn copy_end(&self, end: &CopyEnd, granted: u16, usage: Use) -> Granted<Held> {
        if granted == 0 {
            if end.domid != domid::SELF {
                return Err(GrantStatus::PermissionDenied);
            }
            let ipa = end.place.checked_mul(PAGE_SIZE).ok_or(GrantStatus::BadPage)?;
            return Ok(Held { page: Place::Own(Ipa(ipa)), pinned: None });
        }
        let reference = end.place as u32;
        if end.domid == domid::SELF || end.domid == self.domain.id.get() {
            let ipa = self.domain.grants.lock().pin(reference, self.domain.id, usage)?;
            return Ok(Held { page: Place::Own(ipa), pinned: Some((None, reference)) });
        }
        let granter = self.granter(Action::UseGrants, end.domid)?;
        let page = Place::Other(pin(&granter, reference, self.domain, usage)?);
        Ok(Held { page, pinned: Some((Some(granter), reference)) })
    }

    /// Ends what [`Session::copy_end`] began.
    fn release(&self, held: &Held, usage: Use) {
        if let Some((granter, reference)) = &held.pinned {
            granter.as_ref().unwrap_or(self.domain).grants.lock().unpin(*reference, usage);
        }
    }

    /// Has memory agree with what the CPUs' caches say of it, and these forget it. What a guest may only forget is written back
    /// as well, so that it sees nothing older than what it wrote.
    fn flush_caches(&mut self, arguments: &mut Arguments) -> Answer {
        let [op, at, count, ..] = *arguments;
        if count as u32 == 0 {
            return Ok(Reply::DONE);
        }
        let asked: CacheFlush = self.read(at)?;
        let (offset, length) = (u64::from(asked.offset), u64::from(asked.length));
        let known = option::CACHE_CLEAN | option::CACHE_INVALIDATE;
        if offset >= PAGE_SIZE || offset + length > PAGE_SIZE || asked.op & !known != 0 {
            return Err(Errno::EINVAL);
        }
        if length != 0 && asked.op != 0 {
            let from = Ipa((asked.place & !(PAGE_SIZE - 1)) + offset);
            let flushed = self.domain.memory.lock().flush(from, asked.length.into());
            flushed.map_err(|_| Errno::EINVAL)?;
        }
        let next = at.wrapping_add(size_of::<CacheFlush>() as u64);
        *arguments = [op, next, u64::from(count as u32) - 1, 0, 0];
        Ok(if arguments[2] == 0 { Reply::DONE } else { Reply::Again })
    }
}

/// Where a page is for the time of a copy.
enum Place {
    /// In the caller's own memory, which will be locked.
    Own(Ipa),
    Other(FrameRef),
}

/// A page for the time of a copy, and the grant that it is used by: the granter, if it is not the caller, and its number.
struct Held {
    page: Place,
    pinned: Option<(Option<Arc<Domain>>, u32)>,
}

/// Begins the use of a grant: its page, which stays until it is dropped.
fn pin(granter: &Domain, reference: u32, user: &Domain, usage: Use) -> Granted<FrameRef> {
    let ipa = granter.grants.lock().pin(reference, user.id, usage)?;
    let page = granter.memory.lock().share(ipa, access(usage));
    page.map_err(|_| {
        granter.grants.lock().unpin(reference, usage);
        GrantStatus::BadPage
    })
}

impl Domain {
    /// The use of another's grant is over.
    pub(crate) fn end_use(&self, mapping: &Mapping) {
        if mapping.granter == self.id {
            return self.grants.lock().unpin(mapping.reference, mapping.usage);
        }
        // What a domain granted that is no more, nobody counts.
        if let Some(granter) = machine().domain(mapping.granter) {
            granter.grants.lock().unpin(mapping.reference, mapping.usage);
        }
    }
}
