//! The machine's frames: which are free, and whose the others are.
//!
//! RAM is kept in blocks of 2 MiB, as guests get it. Only a block of which single pages were given out has a table of its
//! 512 frames, so the pool costs 40 bytes for each 2 MiB of RAM and little more.

use alloc::vec::Vec;
use core::ops::Range;

use xen_abi::errno::Errno;

use crate::addr::{PAGE_SIZE, Pa, PaRange};
use crate::id::DomainId;

/// Bytes in a block.
pub const BLOCK_SIZE: u64 = 2 << 20;
const FRAMES_PER_BLOCK: usize = (BLOCK_SIZE / PAGE_SIZE) as usize;

/// How much is given out at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// 4 KiB.
    Page,
    /// 2 MiB.
    Block,
    /// 1 GiB.
    Gib,
}

impl Order {
    /// Bytes.
    pub const fn size(self) -> u64 {
        1 << self.shift()
    }

    /// The same as a power of two.
    pub const fn shift(self) -> u32 {
        match self {
            Self::Page => 12,
            Self::Block => 21,
            Self::Gib => 30,
        }
    }

    /// The next smaller.
    pub(crate) const fn below(self) -> Option<Self> {
        match self {
            Self::Gib => Some(Self::Block),
            Self::Block => Some(Self::Page),
            Self::Page => None,
        }
    }
}

/// Memory that somebody owns: there is one such value for it, and dropping it loses the memory.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "memory that is dropped is lost: give it back to its pool"]
pub struct Extent {
    /// First byte, aligned to the order's size.
    pub base: Pa,
    /// Its size as an order.
    pub order: Order,
}

impl Extent {
    /// What was kept as an address, by one who owns it.
    pub const fn kept(base: Pa, order: Order) -> Self {
        Self { base, order }
    }

    /// The same memory in parts of an order that is not larger.
    pub fn split_into(self, order: Order) -> impl Iterator<Item = Self> {
        let parts = self.order.size() / order.size();
        (0..parts).map(move |part| Self::kept(Pa(self.base.0 + part * order.size()), order))
    }
}

/// What asking for memory comes to: `ENOMEM` if there is not enough of the kind asked for, `EINVAL` if nothing can be there, `EEXIST` if
/// something is, `ENOENT` if nothing is, `EACCES` if it is somebody else's.
pub type Result<T = ()> = core::result::Result<T, Errno>;

/// Whose a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    /// Not RAM, or EL2's, a boot module's or the firmware's for good.
    Reserved,
    Free,
    /// A domain's, or nobody's any more; and used from elsewhere as often as the number says. With neither it is being scrubbed.
    Held(Option<DomainId>, u16),
}

#[derive(Debug)]
enum Block {
    Whole(Frame),
    Split(Split),
}

#[derive(Debug)]
struct Split {
    // 512 of them.
    frames: Vec<Frame>,
    free: usize,
    // No frame before it is free.
    next: usize,
}

impl Split {
    #[cold]
    fn new(frame: Frame) -> Result<Self> {
        let mut frames = Vec::new();
        frames.try_reserve_exact(FRAMES_PER_BLOCK).map_err(|_| Errno::ENOMEM)?;
        frames.resize(FRAMES_PER_BLOCK, frame);
        Ok(Self { frames, free: if frame == Frame::Free { FRAMES_PER_BLOCK } else { 0 }, next: 0 })
    }

    fn set(&mut self, index: usize, frame: Frame) {
        let Some(slot) = self.frames.get_mut(index) else { return };
        self.free -= usize::from(*slot == Frame::Free);
        self.free += usize::from(frame == Frame::Free);
        *slot = frame;
        if frame == Frame::Free {
            self.next = self.next.min(index);
        }
    }
}

impl Block {
    fn frame(&self, index: usize) -> Frame {
        match self {
            Self::Whole(frame) => *frame,
            Self::Split(split) => split.frames.get(index).copied().unwrap_or(Frame::Reserved),
        }
    }

    fn is_whole(&self, of: Frame) -> bool {
        matches!(self, Self::Whole(frame) if *frame == of)
    }

    /// Its pages one by one.
    fn split(&mut self) -> Result<&mut Split> {
        if let Self::Whole(frame) = *self {
            *self = Self::Split(Split::new(frame)?);
        }
        match self {
            Self::Split(split) => Ok(split),
            Self::Whole(_) => Err(Errno::ENOMEM),
        }
    }
}

/// Bytes of heap that the pool's tables take when of every block of `ram` bytes single pages were given out.
pub const fn table_bytes(ram: u64) -> u64 {
    let table = (size_of::<Frame>() * FRAMES_PER_BLOCK).next_power_of_two() as u64;
    ram.div_ceil(BLOCK_SIZE) * table
}

/// All RAM of the machine.
#[derive(Debug)]
pub struct FramePool {
    // The number of the first block.
    first: usize,
    blocks: Vec<Block>,
    // Where the last search for a whole block, or for a split one with a free frame, ended.
    next_block: usize,
    next_split: usize,
}

impl FramePool {
    /// The pool of `ram`, all free. What of it is not whole pages is left out.
    ///
    /// # Errors
    /// If the heap cannot hold the pool's own tables.
    pub fn new(ram: &[PaRange]) -> Result<Self> {
        let first = ram.iter().map(|r| r.base().0 / BLOCK_SIZE).min().unwrap_or(0) as usize;
        let last = ram.iter().map(|r| r.end().0.div_ceil(BLOCK_SIZE)).max().unwrap_or(0) as usize;
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(last - first).map_err(|_| Errno::ENOMEM)?;
        blocks.resize_with(last - first, || Block::Whole(Frame::Reserved));
        let mut pool = Self { first, blocks, next_block: 0, next_split: 0 };
        for &range in ram {
            pool.mark(range.base().0.div_ceil(PAGE_SIZE)..range.end().0 / PAGE_SIZE, Frame::Reserved, Frame::Free)?;
        }
        Ok(pool)
    }

    /// Takes a range out of the pool: EL2 itself, boot modules, what the firmware keeps.
    ///
    /// # Errors
    /// If the heap cannot hold the pool's own tables.
    pub fn reserve(&mut self, range: PaRange) -> Result {
        self.mark(range.base().0 / PAGE_SIZE..range.end().0.div_ceil(PAGE_SIZE), Frame::Free, Frame::Reserved)
    }

    /// Puts a range that was reserved back into the pool. The caller has scrubbed it.
    ///
    /// # Errors
    /// If the heap cannot hold the pool's own tables.
    #[cfg(test)]
    pub fn release(&mut self, range: PaRange) -> Result {
        self.mark(range.base().0.div_ceil(PAGE_SIZE)..range.end().0 / PAGE_SIZE, Frame::Reserved, Frame::Free)
    }

    /// Bytes that are free or somebody's, which is all but what is reserved, and those that are free.
    pub fn bytes(&self) -> (u64, u64) {
        let count = |is_it: fn(&Frame) -> bool| {
            let pages = |block: &Block| match block {
                Block::Whole(frame) => usize::from(is_it(frame)) * FRAMES_PER_BLOCK,
                Block::Split(split) => split.frames.iter().filter(|frame| is_it(frame)).count(),
            };
            self.blocks.iter().map(pages).sum::<usize>() as u64 * PAGE_SIZE
        };
        (count(|frame| *frame != Frame::Reserved), count(|frame| *frame == Frame::Free))
    }

    /// Makes a range of free pages `owner`'s: what the boot loader put there for it.
    ///
    /// # Errors
    /// If the heap cannot hold the pool's own tables.
    pub fn claim(&mut self, owner: DomainId, range: PaRange) -> Result {
        let pages = range.base().0 / PAGE_SIZE..range.end().0.div_ceil(PAGE_SIZE);
        self.mark(pages, Frame::Free, Frame::Held(Some(owner), 0))
    }

    /// Makes those of some pages that are `from` into `to`.
    fn mark(&mut self, pages: Range<u64>, from: Frame, to: Frame) -> Result {
        let in_block = FRAMES_PER_BLOCK as u64;
        let mut at = pages.start;
        while at < pages.end {
            let until = pages.end.min((at / in_block + 1) * in_block);
            match self.block(Pa(at * PAGE_SIZE)) {
                Err(_) => {}
                Ok(Block::Whole(whole)) if until - at == in_block => {
                    if *whole == from {
                        *whole = to;
                    }
                }
                Ok(block) => {
                    for page in (at..until).map(|page| (page % in_block) as usize) {
                        if block.frame(page) == from {
                            block.split()?.set(page, to);
                        }
                    }
                }
            }
            at = until;
        }
        Ok(())
    }

    /// Gives `owner` memory, whatever its content; without an owner it is used once.
    ///
    /// # Errors
    /// If there is no such memory.
    pub fn allocate(&mut self, owner: Option<DomainId>, order: Order) -> Result<Extent> {
        let held = Frame::Held(owner, owner.is_none().into());
        if order == Order::Page {
            return Ok(Extent { base: self.allocate_page(held)?, order });
        }
        let index = self.free_block().filter(|_| order == Order::Block).ok_or(Errno::ENOMEM)?;
        self.next_block = index + 1;
        self.blocks.iter_mut().skip(index).take(1).for_each(|block| *block = Block::Whole(held));
        Ok(Extent { base: self.base_of(index), order })
    }

    /// Takes a reference to the page at `base`, which stays what it is until the last is dropped.
    ///
    /// # Errors
    /// If it is nobody's, or the heap cannot hold the count.
    pub fn share(&mut self, base: Pa) -> Result {
        let shared = self.change(base, |owner, uses| match (owner, uses) {
            (None, 0) => None,
            _ => Some(Frame::Held(owner, uses.checked_add(1)?)),
        });
        shared.map(drop)
    }

    /// `owner` gives a page up, or without an owner one use of it ends. `true` if nobody uses it: it must be scrubbed and freed.
    pub fn leave(&mut self, owner: Option<DomainId>, page: &Extent) -> bool {
        let of_owner = |it, uses| (it == owner).then_some(Frame::Held(if uses == 0 { owner } else { None }, uses));
        let left = match owner {
            Some(_) => self.change(page.base, of_owner),
            None => self.change(page.base, |it, uses| Some(Frame::Held(it, uses.checked_sub(1)?))),
        };
        left == Ok(Frame::Held(owner, 0))
    }

    /// Whether somebody besides its owner uses the page at `base`.
    pub fn is_used(&mut self, base: Pa) -> bool {
        let frame = self.block(base).map(|block| block.frame(frame_index(base)));
        matches!(frame, Ok(Frame::Held(_, 1..)))
    }

    /// Whether all pages of a block are its owner's alone, and freed at once.
    pub fn is_whole(&mut self, extent: &Extent) -> bool {
        matches!(self.block(extent.base), Ok(Block::Whole(_)))
    }

    /// Makes of the page at `base` what `f` makes of its owner and its uses, and says what it is now.
    fn change(&mut self, base: Pa, f: impl FnOnce(Option<DomainId>, u16) -> Option<Frame>) -> Result<Frame> {
        let block = self.block(base)?;
        let before = block.frame(frame_index(base));
        let Frame::Held(owner, uses) = before else { return Err(Errno::EACCES) };
        let after = f(owner, uses).ok_or(Errno::EACCES)?;
        if after != before {
            block.split()?.set(frame_index(base), after);
        }
        Ok(after)
    }

    /// Takes memory back that is `owner`'s, or nobody's any more. The caller has scrubbed it.
    ///
    /// # Errors
    /// If not all of it is, or it is used; then nothing changes and the memory stays as it is.
    pub fn free(&mut self, owner: Option<DomainId>, extent: Extent) -> Result {
        let owned = Frame::Held(owner, 0);
        let block = self.block(extent.base)?;
        match extent.order {
            Order::Block if block.is_whole(owned) => *block = Block::Whole(Frame::Free),
            Order::Page if block.frame(frame_index(extent.base)) == owned => {
                let split = block.split()?;
                split.set(frame_index(extent.base), Frame::Free);
                if split.free == FRAMES_PER_BLOCK {
                    *block = Block::Whole(Frame::Free);
                }
            }
            _ => return Err(Errno::EACCES),
        }
        Ok(())
    }

    fn allocate_page(&mut self, held: Frame) -> Result<Pa> {
        let index = self.block_with_free_frame().ok_or(Errno::ENOMEM)?;
        let block = self.blocks.get_mut(index).ok_or(Errno::ENOMEM)?;
        let split = block.split()?;
        let is_free = |place: &usize| split.frames.get(*place) == Some(&Frame::Free);
        let frame = (split.next..FRAMES_PER_BLOCK).find(is_free).ok_or(Errno::ENOMEM)?;
        split.next = frame + 1;
        split.set(frame, held);
        self.next_split = index;
        Ok(Pa(self.base_of(index).0 + frame as u64 * PAGE_SIZE))
    }

    /// A split block with a free frame, else a free block.
    fn block_with_free_frame(&self) -> Option<usize> {
        let count = self.blocks.len();
        let mut around = (0..count).map(|i| (self.next_split + i) % count);
        let has_free = |index: &usize| matches!(&self.blocks[*index], Block::Split(s) if s.free > 0);
        around.find(has_free).or_else(|| self.free_block())
    }

    fn free_block(&self) -> Option<usize> {
        let count = self.blocks.len();
        let mut around = (0..count).map(|i| (self.next_block + i) % count);
        around.find(|&index| self.blocks.get(index).is_some_and(|block| block.is_whole(Frame::Free)))
    }

    fn base_of(&self, index: usize) -> Pa {
        Pa((self.first + index) as u64 * BLOCK_SIZE)
    }

    fn block(&mut self, base: Pa) -> Result<&mut Block> {
        let index = ((base.0 / BLOCK_SIZE) as usize).checked_sub(self.first);
        index.and_then(|index| self.blocks.get_mut(index)).ok_or(Errno::EACCES)
    }
}

fn frame_index(base: Pa) -> usize {
    (base.0 % BLOCK_SIZE / PAGE_SIZE) as usize
}

#[cfg(test)]
mod tests;
