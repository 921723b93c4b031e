//! A domain's grants (`grant_table.h`, version 1): what it lets others use, and what it uses of others'.
//!
//! The table of grants is memory that the guest writes: each entry is read once, and what EL2 relies on it keeps itself. As long
//! as a grant is used the entry says so, and the frame stays whatever becomes of entry and domain.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use xen_abi::grant_table::{ENTRIES_PER_FRAME, Entry, GrantStatus, flags};

use crate::addr::{Ipa, PAGE_SIZE, Pa};
use crate::events::Page;
use crate::id::DomainId;
use crate::p2m::Access;

/// How often a grant is in use.
#[derive(Clone, Copy, Debug, Default)]
struct Pins {
    readers: u16,
    writers: u16,
}

impl Pins {
    const fn of(&mut self, access: Access) -> &mut u16 {
        match access {
            Access::Read => &mut self.readers,
            Access::Full => &mut self.writers,
        }
    }
}

/// A frame of another domain that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Whose it is: a number, and which of all domains that ever had it.
    pub granter: (DomainId, u64),
    /// By which grant.
    pub reference: u32,
    /// For what.
    pub access: Access,
    /// Where it is mapped.
    pub ipa: Ipa,
    /// What.
    pub frame: Pa,
}

/// A handle's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Followed by another one that is free.
    Free(u32),
    /// A mapping that is being made or taken away.
    Taken,
    Mapped(Mapping),
}

/// How far a domain's tables may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frames of its own grants, 512 in each.
    pub frames: u32,
    /// Grants of others that it may have mapped at once.
    pub mappings: u32,
}

impl Limits {
    /// Bytes of heap that tables within these limits take, while they grow as well.
    pub const fn heap_bytes(self) -> u64 {
        let pins = self.frames as usize * ENTRIES_PER_FRAME as usize * size_of::<Pins>();
        let slots = self.mappings as usize * size_of::<Slot>();
        let grown = pins.saturating_sub(ENTRIES_PER_FRAME as usize * size_of::<Pins>());
        (pins.next_power_of_two() + grown.next_power_of_two() + 2 * slots.next_power_of_two()) as u64
    }
}

/// A frame of the table.
pub struct Frame<P> {
    /// Its memory.
    pub page: P,
    /// Where the guest sees it, if it does.
    pub ipa: Option<Ipa>,
}

/// One domain's table of grants and table of mappings.
pub struct GrantTable<P> {
    frames: Vec<Frame<P>>,
    pins: Vec<Pins>,
    slots: Vec<Slot>,
    free: u32,
    /// How far it may grow.
    pub limits: Limits,
}

/// The end of the list of free handles.
const NONE: u32 = u32::MAX;
/// How often an entry that the guest keeps changing is tried.
const TRIES: usize = 5;

impl<P: Page> GrantTable<P> {
    /// A table that has no frames yet.
    pub const fn new(limits: Limits) -> Self {
        Self { frames: Vec::new(), pins: Vec::new(), slots: Vec::new(), free: NONE, limits }
    }

    /// Frames there are.
    pub fn frames(&self) -> u32 {
        self.frames.len() as u32
    }

    /// Adds a frame, zeroed.
    ///
    /// # Errors
    /// If there are as many as there can be, or no memory; the frame comes back.
    pub fn add_frame(&mut self, page: P) -> Result<(), P> {
        let entries = ENTRIES_PER_FRAME as usize;
        if self.frames() >= self.limits.frames
            || self.frames.try_reserve(1).is_err()
            || self.pins.try_reserve_exact(entries).is_err()
        {
            return Err(page);
        }
        self.frames.push(Frame { page, ipa: None });
        self.pins.resize(self.pins.len() + entries, Pins::default());
        Ok(())
    }

    /// A frame.
    pub fn frame(&mut self, index: u32) -> Option<&mut Frame<P>> {
        self.frames.get_mut(index as usize)
    }

    /// Its frames' pages.
    pub fn pages(&self) -> impl Iterator<Item = &P> {
        self.frames.iter().map(|frame| &frame.page)
    }

    /// Its frames that the guest sees, with their numbers, and where.
    pub fn places(&self) -> impl Iterator<Item = (u32, Ipa)> {
        (0..).zip(&self.frames).filter_map(|(index, frame)| Some((index, frame.ipa?)))
    }

    /// The guest took away what was at `ipa`.
    pub fn forget_ipa(&mut self, ipa: Ipa) {
        for frame in &mut self.frames {
            frame.ipa.take_if(|place| *place == ipa);
        }
    }

    /// Begins the use of a grant by domain `user`: the frame granted, as the guest numbers it.
    ///
    /// # Errors
    /// If there is no such grant for that domain and use.
    pub fn pin(&mut self, reference: u32, user: DomainId, access: Access) -> Result<Ipa, GrantStatus> {
        let pins = self.pins.get_mut(reference as usize).ok_or(GrantStatus::BadGrantReference)?;
        let count = pins.of(access);
        let more = count.checked_add(1).ok_or(GrantStatus::GeneralError)?;
        let (page, offset) = entry(&self.frames, reference).ok_or(GrantStatus::BadGrantReference)?;
        note_use(page, offset, user, access)?;
        // Read behind the header, whose writer set it last.
        let frame = page.word(offset + FRAME).load(Ordering::Acquire);
        *count = more;
        Ok(Ipa(u64::from(frame) * PAGE_SIZE))
    }

    /// Ends one use of a grant.
    pub fn unpin(&mut self, reference: u32, access: Access) {
        let Some(pins) = self.pins.get_mut(reference as usize) else { return };
        let count = pins.of(access);
        *count = count.saturating_sub(1);
        let over = match (pins.readers, pins.writers) {
            (0, 0) => flags::READING | flags::WRITING,
            (_, 0) => flags::WRITING,
            _ => return,
        };
        if let Some((page, offset)) = entry(&self.frames, reference) {
            page.word(offset).fetch_and(!u32::from(over), Ordering::AcqRel);
        }
    }

    /// Whether a grant is in use.
    pub fn is_pinned(&self, reference: u32) -> bool {
        self.pins.get(reference as usize).is_some_and(|pins| pins.readers | pins.writers != 0)
    }

    /// Swaps two grants that nobody uses.
    ///
    /// # Errors
    /// If one is in use or there is none.
    pub fn swap(&mut self, a: u32, b: u32) -> Result<(), GrantStatus> {
        let of = |reference| entry(&self.frames, reference).ok_or(GrantStatus::BadGrantReference);
        let (first, second) = (of(a)?, of(b)?);
        if a == b {
            return Ok(());
        }
        if self.is_pinned(a) || self.is_pinned(b) {
            return Err(GrantStatus::Again);
        }
        for field in [FRAME, 0] {
            let value = first.0.word(first.1 + field).load(Ordering::Acquire);
            let other = second.0.word(second.1 + field).swap(value, Ordering::AcqRel);
            first.0.word(first.1 + field).store(other, Ordering::Release);
        }
        Ok(())
    }

    /// A handle for a mapping that is about to be made.
    ///
    /// # Errors
    /// If as many are in use as may be.
    pub fn take_handle(&mut self) -> Result<u32, GrantStatus> {
        let handle = self.free;
        if let Some(slot) = self.slots.get_mut(handle as usize)
            && let Slot::Free(next) = *slot
        {
            *slot = Slot::Taken;
            self.free = next;
            return Ok(handle);
        }
        let handle = self.slots.len() as u32;
        if handle >= self.limits.mappings || self.slots.try_reserve(1).is_err() {
            return Err(GrantStatus::NoDeviceSpace);
        }
        self.slots.push(Slot::Taken);
        Ok(handle)
    }

    /// The mapping was made.
    pub fn set_mapping(&mut self, handle: u32, mapping: Mapping) {
        self.set(handle, Slot::Mapped(mapping));
    }

    /// A mapping.
    ///
    /// # Errors
    /// If the handle names none.
    pub fn mapping(&self, handle: u32) -> Result<Mapping, GrantStatus> {
        match self.slots.get(handle as usize) {
            Some(&Slot::Mapped(mapping)) => Ok(mapping),
            _ => Err(GrantStatus::BadHandle),
        }
    }

    /// A mapping, so that it can be taken away: nobody else can meanwhile.
    ///
    /// # Errors
    /// If the handle names none.
    pub fn take_mapping(&mut self, handle: u32) -> Result<Mapping, GrantStatus> {
        let mapping = self.mapping(handle)?;
        self.set(handle, Slot::Taken);
        Ok(mapping)
    }

    /// The handle names nothing any more.
    pub fn free_handle(&mut self, handle: u32) {
        let next = self.free;
        if self.set(handle, Slot::Free(next)) {
            self.free = handle;
        }
    }

    /// Any mapping that is left, with its handle free: for a domain that ends.
    pub fn take_any(&mut self) -> Option<Mapping> {
        self.free = NONE;
        let mut slots = core::iter::from_fn(|| self.slots.pop());
        slots.find_map(|slot| if let Slot::Mapped(mapping) = slot { Some(mapping) } else { None })
    }

    fn set(&mut self, handle: u32, to: Slot) -> bool {
        self.slots.get_mut(handle as usize).map(|slot| *slot = to).is_some()
    }
}

/// Offset of `grant_entry_v1.frame`, and the domain's place in the word before it.
const FRAME: usize = core::mem::offset_of!(Entry, frame);
const DOMID_SHIFT: u32 = 16;

/// The page that a grant's entry is in, and the entry's offset.
fn entry<P>(frames: &[Frame<P>], reference: u32) -> Option<(&P, usize)> {
    let frame = frames.get((reference / ENTRIES_PER_FRAME) as usize)?;
    Some((&frame.page, (reference % ENTRIES_PER_FRAME) as usize * size_of::<Entry>()))
}

/// Checks that an entry permits this, and notes in it that it is used.
fn note_use<P: Page>(page: &P, offset: usize, user: DomainId, access: Access) -> Result<(), GrantStatus> {
    let noted = match access {
        Access::Read => flags::READING,
        Access::Full => flags::READING | flags::WRITING,
    };
    let word = page.word(offset);
    let mut header = word.load(Ordering::Acquire);
    for _ in 0..TRIES {
        let permitted = header as u16 & flags::TYPE == flags::PERMIT_ACCESS
            && header >> DOMID_SHIFT == u32::from(user.get())
            && (access == Access::Read || header as u16 & flags::READ_ONLY == 0);
        if !permitted {
            return Err(GrantStatus::GeneralError);
        }
        let used = header | u32::from(noted);
        match word.compare_exchange(header, used, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(()),
            Err(now) => header = now,
        }
    }
    Err(GrantStatus::GeneralError)
}

#[cfg(test)]
mod tests;
