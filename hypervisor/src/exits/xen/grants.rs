//! `grant_table_op`.
//!
//! No two locks are held at once: a grant is pinned, then its frame is referenced, then it is mapped or copied. A pin and a
//! reference each hold by themselves whatever happens in between.

use alloc::sync::Arc;
use core::mem::offset_of;

use mote_core::addr::{Ipa, PAGE_SIZE, Pa};
use mote_core::grants::Mapping;
use mote_core::p2m::Access;
use mote_platform::memory;
use xen_abi::grant_table::{
    CacheFlush, Copy, CopyEnd, GetStatusFrames, GetVersion, GrantStatus, Map, QuerySize, SetVersion, SetupTable,
    SwapGrantRef, Unmap, UnmapAndReplace, map, op, option,
};
use xen_abi::xen::domid;
use xen_abi::{Bytes, Wire};

use super::{Action, Answer, Arguments, BATCH, Errno, Reply, Session, room};
use crate::domain::Domain;
use crate::machine::machine;
use crate::memory::{FrameRef, GuestMemory};

/// Structures of a guest's list that are read at once.
const AT_ONCE: usize = 4;

/// Bits of an operation (`GNTTABOP_CMD_MASK`). Those above say where Xen goes on with a flush.
const OP_MAX: u64 = 0xfff;

/// What a grant operation comes to, which its structure tells the guest.
type Granted<T = ()> = Result<T, GrantStatus>;

const fn status(result: Granted) -> i16 {
    match result {
        Ok(()) => GrantStatus::Okay as i16,
        Err(status) => status as i16,
    }
}

impl Session<'_> {
    pub(super) fn grant_table_op(&mut self, arguments: &mut Arguments) -> Answer {
        let &mut [op, at, count, ..] = arguments;
        let op = u64::from(op as u32);
        let takes_one = matches!(op, op::SETUP_TABLE | op::QUERY_SIZE | op::GET_STATUS_FRAMES);
        if (count as i32) < 0 || op > OP_MAX || takes_one && count as u32 != 1 {
            return Err(Errno::EINVAL);
        }
        match op {
            op::MAP => self.each(arguments, offset_of!(Map, status), Self::map_grant),
            op::UNMAP => self.each(arguments, offset_of!(Unmap, status), Self::unmap_grant),
            op::UNMAP_AND_REPLACE => {
                self.each(arguments, offset_of!(UnmapAndReplace, status), |this, unmap: &mut UnmapAndReplace| {
                    // As on Xen where a guest's memory is translated: nothing can take its place.
                    this.domain.grants.lock().mapping(unmap.handle).and(Err(GrantStatus::GeneralError))
                })
            }
            op::COPY => {
                // Consecutive copies often have an end in common.
                let mut held = [None, None];
                self.each(arguments, offset_of!(Copy, status), |this, copy| this.copy_grant(copy, &mut held))
            }
            op::SWAP_GRANT_REF => {
                let swap =
                    |this: &mut Self, swap: &mut SwapGrantRef| this.domain.grants.lock().swap(swap.ref_a, swap.ref_b);
                self.each(arguments, offset_of!(SwapGrantRef, status), swap)
            }
            op::CACHE_FLUSH => {
                let mut flushed = Ok(());
                let answer = self.each(arguments, size_of::<CacheFlush>(), |this, flush| {
                    flushed = flushed.and_then(|()| this.flush_cache(flush));
                    Ok(())
                });
                flushed.and(answer)
            }
            op::SETUP_TABLE => self.each(arguments, offset_of!(SetupTable, status), Self::setup_table),
            op::QUERY_SIZE => self.update(at, |this, mut query: QuerySize| {
                query.status = status(this.granter(Action::Manage, query.dom).map(|domain| {
                    let grants = domain.grants.lock();
                    (query.nr_frames, query.max_nr_frames) = (grants.frames(), grants.limits.frames);
                }));
                Ok(query)
            }),
            op::GET_STATUS_FRAMES => self.each(arguments, offset_of!(GetStatusFrames, status), Self::get_status_frames),
            op::TRANSFER => Err(Errno::EOPNOTSUPP),
            op::SET_VERSION => {
                let SetVersion { version } = self.read(at)?;
                // The one that there is, whether it is the one that was asked for or not.
                self.write(at, &SetVersion { version: 1 })?;
                match version {
                    1 => Ok(Reply::DONE),
                    2 => Err(Errno::ENOSYS),
                    _ => Err(Errno::EINVAL),
                }
            }
            op::GET_VERSION => self.update(at, |this, asked: GetVersion| {
                this.domain_for(Action::Manage, asked.dom).map(|_| GetVersion { version: 1, ..asked })
            }),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Does an operation to each structure of the guest's list, some at a time. The guest gets back what it comes to, at `status`, and what
    /// is behind that.
    fn each<T: Wire>(
        &mut self,
        arguments: &mut Arguments,
        at_status: usize,
        mut operation: impl FnMut(&mut Self, &mut T) -> Granted,
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
                let result = status(operation(self, element)).to_ne_bytes();
                let answered = element.as_mut_bytes().get_mut(at_status..).unwrap_or_default();
                answered.iter_mut().zip(result).for_each(|(to, from)| *to = from);
                self.write_bytes(at.wrapping_add(at_status as u64), answered)?;
                at = at.wrapping_add(size_of::<T>() as u64);
            }
            now -= few;
            left -= few as u64;
        }
        *arguments = [op, at, left, 0, 0];
        Ok(if left == 0 { Reply::DONE } else { Reply::Again(None) })
    }

    /// A domain whose grants are concerned.
    fn granter(&self, action: Action, number: u16) -> Granted<Arc<Domain>> {
        self.domain_for(action, number).map_err(|error| match error {
            Errno::ESRCH => GrantStatus::BadDomain,
            _ => GrantStatus::PermissionDenied,
        })
    }

    /// Version 1 has none.
    fn get_status_frames(&mut self, asked: &mut GetStatusFrames) -> Granted {
        let domain = self.granter(Action::Manage, asked.dom);
        domain.and(if asked.nr_frames == 0 { Ok(()) } else { Err(GrantStatus::GeneralError) })
    }

    fn setup_table(&mut self, asked: &mut SetupTable) -> Granted {
        let domain = self.granter(Action::Manage, asked.dom)?;
        domain.grow_grants(asked.nr_frames).map_err(|_| GrantStatus::GeneralError)?;
        for index in 0..asked.nr_frames {
            let ipa = domain.grants.lock().frame(index).and_then(|frame| frame.ipa);
            let frame = ipa.map_or(u64::MAX, |ipa| ipa.0 / PAGE_SIZE);
            let to = asked.frame_list.wrapping_add(u64::from(index) * 8);
            self.write(to, &frame).map_err(|_| GrantStatus::BadVirtualAddress)?;
        }
        Ok(())
    }

    /// Maps another's page.
    fn map_grant(&mut self, asked: &mut Map) -> Granted {
        if asked.flags & (map::DEVICE | map::HOST) == 0 {
            return Err(GrantStatus::BadGrantReference);
        }
        if asked.flags & !(map::HOST | map::READ_ONLY) != 0 {
            return Err(GrantStatus::GeneralError);
        }
        if asked.dom == domid::SELF {
            return Err(GrantStatus::BadDomain);
        }
        let access = if asked.flags & map::READ_ONLY != 0 { Access::Read } else { Access::Full };
        let granter = self.granter(Action::UseGrants, asked.dom)?;
        let handle = self.domain.grants.lock().take_handle()?;
        let ipa = Ipa(asked.host_addr).page();
        let mapped = self.map_granted(&granter, asked.gref, access, ipa);
        let mut grants = self.domain.grants.lock();
        let frame = mapped.inspect_err(|_| grants.free_handle(handle))?;
        grants.set_mapping(
            handle,
            Mapping { granter: (granter.id, granter.serial), reference: asked.gref, access, ipa, frame },
        );
        // A device sees the domain's memory as the domain does.
        (asked.handle, asked.dev_bus_addr) = (handle, ipa.0);
        Ok(())
    }

    fn map_granted(&self, granter: &Domain, reference: u32, access: Access, ipa: Ipa) -> Granted<Pa> {
        let granted = granter.grants.lock().pin(reference, self.domain.id, access)?;
        let mapped = granted_page(granter, granted, access).and_then(|page| {
            let frame = page.base();
            let mapped = self.domain.memory.lock().map_shared(ipa, page, access);
            mapped.map(|()| frame).map_err(|_| GrantStatus::GeneralError)
        });
        if mapped.is_err() {
            granter.grants.lock().unpin(reference, access);
        }
        mapped
    }

    fn unmap_grant(&mut self, &mut Unmap { handle, host_addr, .. }: &mut Unmap) -> Granted {
        let mapping = self.domain.grants.lock().take_mapping(handle)?;
        let removed = host_addr != 0
            && Ipa(host_addr).page() == mapping.ipa
            && self.domain.memory.lock().remove_shared(mapping.ipa, mapping.frame);
        let mut grants = self.domain.grants.lock();
        if !removed {
            grants.set_mapping(handle, mapping);
            // As on Xen it stays mapped where no address is given.
            return if host_addr == 0 { Ok(()) } else { Err(GrantStatus::GeneralError) };
        }
        grants.free_handle(handle);
        drop(grants);
        self.domain.end_use(&mapping);
        Ok(())
    }

    /// Copies between two pages. `held` are those of the copy before.
    fn copy_grant(&self, asked: &Copy, held: &mut [Option<Held>; 2]) -> Granted {
        if asked.len == 0 {
            return Ok(());
        }
        let [source, dest] = held;
        let source = self.hold(source, &asked.source, asked.flags & option::SOURCE_GREF != 0, Access::Read)?;
        let dest = self.hold(dest, &asked.dest, asked.flags & option::DEST_GREF != 0, Access::Full)?;
        let fits = |end: &CopyEnd| u64::from(end.offset) + u64::from(asked.len) <= PAGE_SIZE;
        if !fits(&asked.source) || !fits(&asked.dest) {
            return Err(GrantStatus::BadCopyArgument);
        }
        let mut memory = self.domain.memory.lock();
        let from = source.base(&mut memory, Access::Read)?.0 + u64::from(asked.source.offset);
        let to = dest.base(&mut memory, Access::Full)?.0 + u64::from(asked.dest.offset);
        memory::copy(from, to, asked.len.into()).map_err(|_| GrantStatus::GeneralError)
    }

    /// The page at one end of a copy, which `held` is from now on if it was not before.
    #[inline]
    fn hold<'a>(&self, held: &'a mut Option<Held>, end: &CopyEnd, granted: bool, access: Access) -> Granted<&'a Place> {
        let name = (end.domid, end.place, granted);
        if held.as_ref().is_none_or(|held| held.name != name) {
            // What it held is let go before, so that one may be had that is used as often as can be.
            *held = None;
            let (place, _pin) = self.copy_end(end, granted, access)?;
            return Ok(&held.insert(Held { name, place, _pin }).place);
        }
        held.as_ref().map(|held| &held.place).ok_or(GrantStatus::GeneralError)
    }

    /// One end of a copy: a page of the caller's, or one that somebody granted it, which is so until the pin is dropped.
    #[inline(never)]
    fn copy_end(&self, end: &CopyEnd, granted: bool, access: Access) -> Granted<(Place, Option<Pin>)> {
        if !granted {
            if end.domid != domid::SELF {
                let known = self.find_domain(end.domid).is_some();
                return Err(if known { GrantStatus::PermissionDenied } else { GrantStatus::BadDomain });
            }
            return Ok((Place::Own(Ipa::of_frame(end.place).ok_or(GrantStatus::BadPage)?), None));
        }
        let granter = self.granter(Action::UseGrants, end.domid)?;
        let reference = end.place as u32;
        let ipa = granter.grants.lock().pin(reference, self.domain.id, access)?;
        let pin = Pin { granter, reference, access };
        let is_own = pin.granter.id == self.domain.id;
        let place = if is_own { Place::Own(ipa) } else { Place::Other(granted_page(&pin.granter, ipa, access)?) };
        Ok((place, Some(pin)))
    }

    /// Has memory agree with what the CPUs' caches say of it, and these forget it. What a guest may only forget is written back
    /// as well, so that it sees nothing older than what it wrote.
    fn flush_cache(&self, asked: &CacheFlush) -> Result<(), Errno> {
        let (offset, length) = (u64::from(asked.offset), u64::from(asked.length));
        let known = option::CACHE_CLEAN | option::CACHE_INVALIDATE;
        if offset >= PAGE_SIZE || offset + length > PAGE_SIZE || asked.op & !known != 0 {
            return Err(Errno::EINVAL);
        }
        if length == 0 || asked.op == 0 {
            return Ok(());
        }
        let from = Ipa(Ipa(asked.place).page().0 + offset);
        self.domain.memory.lock().flush(from, asked.length.into()).map_err(|_| Errno::EINVAL)
    }
}

/// A page that is granted, which stays for as long as it is referred to.
fn granted_page(granter: &Domain, ipa: Ipa, access: Access) -> Granted<FrameRef> {
    granter.memory.lock().share(ipa, access).map_err(|_| GrantStatus::BadPage)
}

/// A grant that is used until it is dropped.
struct Pin {
    granter: Arc<Domain>,
    reference: u32,
    access: Access,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.granter.grants.lock().unpin(self.reference, self.access);
    }
}

/// The page at one end of a copy.
struct Held {
    // Whose, which frame or grant, and which of the two.
    name: (u16, u64, bool),
    place: Place,
    _pin: Option<Pin>,
}

/// Where a page is for the time of a copy.
enum Place {
    /// In the caller's own memory, which will be locked.
    Own(Ipa),
    Other(FrameRef),
}

impl Place {
    fn base(&self, memory: &mut GuestMemory, access: Access) -> Granted<Pa> {
        match self {
            Self::Own(ipa) => memory.own_page(*ipa, access).map_err(|_| GrantStatus::BadPage),
            Self::Other(page) => Ok(page.base()),
        }
    }
}

impl Domain {
    /// The use of another's grant is over. What a domain granted that is no more, nobody counts.
    pub(crate) fn end_use(&self, mapping: &Mapping) {
        let (id, serial) = mapping.granter;
        if let Some(granter) = machine().domain(id).filter(|granter| granter.serial == serial) {
            granter.grants.lock().unpin(mapping.reference, mapping.access);
        }
    }
}
