//! `memory_op`: what is where in a domain's memory, and how much there is of it.

use alloc::sync::Arc;

use mote_core::addr::{Ipa, PAGE_SIZE};
use mote_core::frames::{BLOCK_SIZE, Order};
use mote_core::p2m::Access;
use xen_abi::Bytes;
use xen_abi::memory::{AddToPhysmap, AddToPhysmapBatch, Exchange, RemoveFromPhysmap, Reservation, op, space};

use super::{Action, Answer, Arguments, BATCH, Errno, Reply, Session};
use crate::domain::Domain;
use crate::memory::by_blocks;

/// Where a call goes on is in the operation's upper bits (`MEMOP_EXTENT_SHIFT`).
const OP_BITS: u32 = 6;
/// Greatest order that a guest without devices may ask for (`CONFIG_DOMU_MAX_ORDER`).
const MAX_ORDER: u32 = 9;
/// Most extents whose number can be passed on (`UINT_MAX >> MEMOP_EXTENT_SHIFT`).
const MAX_EXTENTS: u64 = (u32::MAX >> OP_BITS) as u64;

/// Something that is done to each frame number of a list. It may put another in its place.
type Change = fn(&Domain, &mut u64, u32) -> Result<(), Errno>;

impl Session<'_> {
    pub(super) fn memory_op(&mut self, arguments: &mut Arguments) -> Answer {
        let &mut [command, at, ..] = arguments;
        let (op, start) = (command & ((1 << OP_BITS) - 1), command >> OP_BITS);
        match op {
            op::POPULATE_PHYSMAP => self.reserve(arguments, populate),
            op::DECREASE_RESERVATION => self.reserve(arguments, decrease),
            // Where a guest's memory is translated there is no place for memory without an address.
            op::ADD_TO_PHYSMAP_BATCH => self.add_batch(arguments),
            op::INCREASE_RESERVATION => Ok(Reply::Value(start)),
            op::GET_SHARING_SHARED_PAGES | op::GET_SHARING_FREED_PAGES => Ok(Reply::Value(0)),
            // What is done at once never goes on from somewhere.
            op::MAXIMUM_RAM_PAGE | op::CURRENT_RESERVATION | op::MAXIMUM_RESERVATION if start != 0 => {
                Err(Errno::EINVAL)
            }
            op::MAXIMUM_GPFN | op::REMOVE_FROM_PHYSMAP | op::EXCHANGE if start != 0 => Err(Errno::EINVAL),
            op::MAXIMUM_RAM_PAGE => Ok(Reply::Value(self.domain.memory.lock().last_frame())),
            op::CURRENT_RESERVATION | op::MAXIMUM_RESERVATION | op::MAXIMUM_GPFN => {
                let number: u16 = self.read(at)?;
                let domain = self.domain_for(Action::ChangeMemory, number)?;
                let memory = domain.memory.lock();
                let (current, most) = memory.pages();
                Ok(Reply::Value(match op {
                    op::CURRENT_RESERVATION => current,
                    op::MAXIMUM_RESERVATION => most,
                    _ => memory.last_frame(),
                }))
            }
            op::ADD_TO_PHYSMAP => {
                let asked: AddToPhysmap = self.read(at)?;
                let space = u16::try_from(asked.space).ok().filter(|space| *space != space::GMFN_FOREIGN);
                let space = space.ok_or(Errno::ENOSYS)?;
                let domain = self.domain_for(Action::ChangeMemory, asked.domid)?;
                add_to_physmap(&domain, space, asked.idx, asked.gpfn).map(|()| Reply::DONE)
            }
            op::REMOVE_FROM_PHYSMAP => {
                let asked: RemoveFromPhysmap = self.read(at)?;
                let domain = self.domain_for(Action::ChangeMemory, asked.domid)?;
                let ipa = Ipa::of_frame(asked.gpfn).ok_or(Errno::ENOENT)?;
                remove(&domain, ipa, Order::Page).map(|()| Reply::DONE).map_err(|_| Errno::ENOENT)
            }
            op::EXCHANGE => {
                // Machine addresses mean nothing to a guest whose memory is translated.
                let _: Exchange = self.read(at)?;
                Err(Errno::EOPNOTSUPP)
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Does `change` to the extents of a reservation, some at a time. The answer is how many were done; there is no error.
    fn reserve(&mut self, arguments: &mut Arguments, change: Change) -> Answer {
        let &mut [command, at, ..] = arguments;
        let start = command >> OP_BITS;
        let asked = self
            .read(at)
            .and_then(|asked: Reservation| Ok((self.domain_for(Action::ChangeMemory, asked.domid)?, asked)));
        let Ok((domain, asked)) = asked else { return Ok(Reply::Value(start)) };
        if asked.extent_order > MAX_ORDER || asked.nr_extents > MAX_EXTENTS {
            return Ok(Reply::Value(start));
        }
        let end = asked.nr_extents.min(start + (BATCH >> asked.extent_order).max(1));
        for extent in start..end {
            let place = asked.extent_start.wrapping_add(extent * 8);
            let changed = self.read(place).and_then(|asked_for| {
                let mut frame = asked_for;
                change(&domain, &mut frame, asked.extent_order)?;
                if frame == asked_for { Ok(()) } else { self.write(place, &frame) }
            });
            if changed.is_err() {
                return Ok(Reply::Value(extent));
            }
        }
        if end < asked.nr_extents {
            return go_on(arguments, end);
        }
        Ok(Reply::Value(end.max(start)))
    }

    fn add_batch(&mut self, arguments: &mut Arguments) -> Answer {
        let &mut [command, at, ..] = arguments;
        let start = command >> OP_BITS;
        let asked: AddToPhysmapBatch = self.read(at)?;
        if asked.space == space::GMFN_RANGE {
            return Err(Errno::EOPNOTSUPP);
        }
        let domain = self.domain_for(Action::ChangeMemory, asked.domid)?;
        if asked.space == space::DEV_MMIO {
            return Err(Errno::EACCES);
        }
        if start != 0 && start >= u64::from(asked.size) {
            return Err(Errno::EILSEQ);
        }
        let end = u64::from(asked.size).min(start.saturating_add(BATCH));
        let foreign = self.foreign(&domain, asked.foreign_domid);
        let (mut lists, mut errors) = ([[0_u64; BATCH as usize]; 2], [0_i32; BATCH as usize]);
        let count = (end - start) as usize;
        for (list, at) in lists.iter_mut().zip([asked.idxs, asked.gpfns]) {
            self.read_bytes(at.wrapping_add(start * 8), list[..count].as_mut_bytes())?;
        }
        let [indices, frames] = lists;
        for ((&index, &frame), error) in indices.iter().zip(&frames).zip(&mut errors[..count]) {
            let added = match (asked.space, &foreign) {
                (space::GMFN_FOREIGN, Ok(other)) => add_foreign(&domain, other, index, frame),
                (space::GMFN_FOREIGN, Err(error)) => Err(*error),
                (space, _) => add_to_physmap(&domain, space, index, frame),
            };
            *error = added.map_or_else(|error| -error.number(), |()| 0);
        }
        self.write_bytes(asked.errs.wrapping_add(start * 4), errors[..count].as_bytes())?;
        if end < u64::from(asked.size) {
            return go_on(arguments, end);
        }
        Ok(Reply::DONE)
    }

    /// The other domain whose pages are to be mapped in a domain's memory.
    fn foreign(&self, domain: &Domain, number: u16) -> Result<Arc<Domain>, Errno> {
        let other = self.find_domain(number).ok_or(Errno::ESRCH)?;
        if other.id == domain.id {
            return Err(Errno::EINVAL);
        }
        self.may(Action::MapForeign, &other).map(|()| other)
    }
}

/// Maps a page of another domain.
fn add_foreign(domain: &Domain, other: &Domain, index: u64, frame: u64) -> Result<(), Errno> {
    let place = |frame| Ipa::of_frame(frame).ok_or(Errno::EINVAL);
    let (from, to) = (place(index)?, place(frame)?);
    let page = other.memory.lock().lend(from)?;
    domain.memory.lock().map_shared(to, page, Access::Full)
}

/// The guest makes the call again, for what comes after `done` elements.
fn go_on(arguments: &mut Arguments, done: u64) -> Answer {
    arguments[0] = arguments[0] & ((1 << OP_BITS) - 1) | done << OP_BITS;
    Ok(Reply::Again(None))
}

/// Maps a frame that EL2 shares with the domain where the domain wants it.
fn add_to_physmap(domain: &Domain, space: u16, index: u64, frame: u64) -> Result<(), Errno> {
    let ipa = Ipa::of_frame(frame).ok_or(Errno::EINVAL)?;
    match space {
        space::DEV_MMIO => Err(Errno::EACCES),
        space::SHARED_INFO if index != 0 => Err(Errno::EINVAL),
        space::SHARED_INFO => domain.map_shared_info(ipa),
        space::GRANT_TABLE => {
            let index = u32::try_from(index).map_err(|_| Errno::EINVAL)?;
            domain.map_grant_frame(index, ipa)
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// Gives the domain an extent of new memory: all of it or nothing.
fn populate(domain: &Domain, frame: &mut u64, order: u32) -> Result<(), Errno> {
    let (first, size) = (Ipa::of_frame(*frame).ok_or(Errno::EINVAL)?, PAGE_SIZE << order);
    let mut memory = domain.memory.lock();
    if memory.direct && size == BLOCK_SIZE {
        *frame = memory.add_direct()?.0 / PAGE_SIZE;
        return Ok(());
    }
    memory.fill(first, size)
}

/// Takes an extent of memory from the domain.
fn decrease(domain: &Domain, &mut frame: &mut u64, order: u32) -> Result<(), Errno> {
    let first = Ipa::of_frame(frame).ok_or(Errno::EINVAL)?;
    let removed = |ipa, order: Order, _| remove(domain, ipa, order).map(|()| order.size());
    by_blocks(first, PAGE_SIZE << order, removed).map_err(|(error, _)| error)
}

fn remove(domain: &Domain, ipa: Ipa, order: Order) -> Result<(), Errno> {
    let own = domain.memory.lock().remove(ipa, order)?;
    if !own {
        domain.forget_shared(ipa);
    }
    Ok(())
}
