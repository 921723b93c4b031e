//! The memory of templates and of clones. What a clone has of its own stands in a list: when it ends nothing else is looked at.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mote_core::addr::{Ipa, PAGE_SIZE, Pa};
use mote_core::frames::{Extent, Order, Result};
use mote_core::id::DomainId;
use mote_core::p2m::{Content, Inherited, Leaf};
use mote_platform::stage2;
use xen_abi::errno::Errno;

use super::{GuestMemory, Promise, Tables, give_back, with_pools};

/// Pages that a clone has of its own or has mapped, with what is in them: tables are stale.
pub(super) struct Owned {
    frames: Vec<(Pa, Content)>,
    /// The room for those that there are.
    promise: Promise,
}

impl Tables {
    /// Notes a page that a clone gets.
    pub(super) fn note(&mut self, page: &Extent, content: Content) -> Result {
        let Some(Owned { frames, promise }) = &mut self.owned else { return Ok(()) };
        if frames.len() == frames.capacity() {
            // Growing takes the old list and one of twice its size.
            let more = frames.capacity().max(4);
            promise.extend(2 * more * size_of::<(Pa, Content)>())?;
            frames.try_reserve_exact(more).map_err(|_| Errno::ENOMEM)?;
        }
        frames.push((page.base, content));
        Ok(())
    }

    /// A clone has a page no more.
    pub(super) fn forget(&mut self, page: &Extent) {
        let Some(Owned { frames, .. }) = &mut self.owned else { return };
        if let Some(at) = frames.iter().rposition(|(base, _)| *base == page.base) {
            let (_, content) = frames.swap_remove(at);
            self.left += u64::from(content.is_own());
        }
    }
}

impl GuestMemory {
    /// Makes it a template's: what is `private` clones do not have, and of what others use they have a copy.
    ///
    /// # Errors
    /// If there is no memory for tables; then its domain cannot go on.
    pub fn freeze(&mut self, private: &[Ipa]) -> Result {
        let inherited = |ipa, page| match private.contains(&ipa) {
            true => Inherited::Nothing,
            false if with_pools(|pools| pools.frames.is_used(page)) => Inherited::Copy,
            false => Inherited::Page,
        };
        self.map.freeze(&mut self.tables, inherited)?;
        stage2::invalidate_all(self.tables.tag.vmid());
        Ok(())
    }

    /// The memory of a clone, which may have so many pages of its own.
    ///
    /// # Errors
    /// If there is no memory for the root.
    pub fn clone_of(&self, owner: DomainId, pages: u64) -> Result<Self> {
        let mut tables = Tables { owner, tag: Arc::default(), left: pages.saturating_add(1), owned: None };
        // The root is not in the list: it goes when everything else has gone.
        let map = self.map.clone_of(&mut tables)?;
        tables.owned = Some(Owned { frames: Vec::new(), promise: Promise::new(0)? });
        let mut memory = Self::with(map, tables);
        (memory.by_pages, memory.most, memory.last) = (true, pages * PAGE_SIZE, self.last);
        Ok(memory)
    }

    /// Gives a clone its own of the page at `ipa`; what is there then.
    ///
    /// # Errors
    /// As [`P2m::own`](mote_core::p2m::P2m::own).
    #[inline(never)]
    pub fn own(&mut self, ipa: Ipa) -> Result<Leaf> {
        self.map.own(&mut self.tables, ipa.page())?;
        self.touched += PAGE_SIZE;
        self.map.lookup(&self.tables, ipa).ok_or(Errno::EINVAL)
    }

    /// Lets a clone touch a page of its own; whether it may, and may write there if it is to `write`.
    pub fn is_its_own(&mut self, ipa: Ipa, write: bool) -> bool {
        self.touch(ipa).is_ok() && (!write || self.leaf(ipa.page(), true).is_ok_and(|leaf| leaf.writable))
    }

    /// Why a clone gets no more.
    pub const fn shortage(&self) -> &'static str {
        match self.tables.left {
            0 => "it wrote to more memory than it may",
            _ => "there is no memory left for what it writes",
        }
    }

    /// What is at `ipa`, where a clone that is to `write` has its own.
    #[inline(always)]
    pub(super) fn leaf(&mut self, ipa: Ipa, write: bool) -> Result<Leaf> {
        let leaf = self.map.lookup(&self.tables, ipa).ok_or(Errno::EINVAL)?;
        if !leaf.shared || leaf.foreign || leaf.touched && !write || self.tables.owned.is_none() {
            return Ok(leaf);
        }
        self.own(ipa)
    }

    /// Takes a part of what a clone has away; whether that was the last. `None` if it is no clone.
    pub(super) fn release_owned(&mut self, part: u64) -> Option<bool> {
        let Owned { frames, .. } = self.tables.owned.as_mut()?;
        self.map.abandon();
        for _ in 0..part {
            let Some((base, content)) = frames.pop() else { return Some(true) };
            give_back(self.tables.owner, Extent::kept(base, Order::Page), content);
        }
        Some(frames.is_empty())
    }

    /// Pages that it had, tables included.
    pub const fn pages_had(&self) -> u64 {
        self.touched / PAGE_SIZE + self.map.table_bytes() / PAGE_SIZE
    }
}
