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

/// How much is given out at once: bytes as a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Order {
    /// 4 KiB.
    Page = 12,
    /// 2 MiB.
    Block = 21,
    /// 1 GiB.
    Gib = 30,
}

impl Order {
    /// Bytes.
    pub const fn size(self) -> u64 {
        1 << self.shift()
    }

    /// The same as a power of two.
    pub const fn shift(self) -> u32 {
        self as u32
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
    /// The size of its parts as an order.
    pub order: Order,
    /// How many parts follow each other.
    pub count: u32,
}

impl Extent {
    /// What was kept as an address, by one who owns it.
    pub const fn kept(base: Pa, order: Order) -> Self {
        Self { base, order, count: 1 }
    }

    /// Bytes.
    pub const fn size(&self) -> u64 {
        self.order.size() * self.count as u64
    }

    /// Whether more of the same parts is right behind it.
    pub fn is_followed_by(&self, more: &Self) -> bool {
        (self.order, self.base.0 + self.size()) == (more.order, more.base.0)
    }

    /// The same memory in pages.
    pub const fn into_pages(self) -> Self {
        Self { count: (self.size() / PAGE_SIZE) as u32, order: Order::Page, ..self }
    }

    /// Its first pages, so many of them, which it is without from then on.
    const fn take(&mut self, count: usize) -> Self {
        let first = Self { base: self.base, order: Order::Page, count: count as u32 };
        self.base.0 += count as u64 * PAGE_SIZE;
        self.count -= first.count;
        first
    }
}

/// What asking for memory comes to: `ENOMEM` if there is not enough of the kind asked for, `EINVAL` if nothing can be there, `EEXIST` if
/// something is, `ENOENT` if nothing is, `EACCES` if it is somebody else's.
pub type Result<T = ()> = core::result::Result<T, Errno>;

/// Whose a frame is: a word, of which many are compared and changed quickly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame(u32);

impl Frame {
    /// Not RAM, or EL2's, a boot module's or the firmware's for good.
    const RESERVED: Self = Self(u32::MAX);
    const FREE: Self = Self(u32::MAX - 1);
    /// The owner of what is nobody's any more: no domain.
    const NOBODY: u32 = DomainId::FIRST_RESERVED as u32;

    /// A domain's, or nobody's any more; and used from elsewhere as often as the number says. With neither it is being scrubbed.
    fn held(owner: Option<DomainId>, uses: u16) -> Self {
        Self(owner.map_or(Self::NOBODY, |owner| owner.get().into()) << u16::BITS | u32::from(uses))
    }

    /// Whose it is and how often it is used, if it is neither free nor reserved.
    fn holder(self) -> Option<(Option<DomainId>, u16)> {
        let owner = self.0 >> u16::BITS;
        (owner <= Self::NOBODY).then(|| (DomainId::new(owner as u16), self.0 as u16))
    }
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
    #[inline(never)]
    fn new(frame: Frame) -> Result<Self> {
        let mut frames = Vec::new();
        frames.try_reserve_exact(FRAMES_PER_BLOCK).map_err(|_| Errno::ENOMEM)?;
        frames.resize(FRAMES_PER_BLOCK, frame);
        Ok(Self { frames, free: if frame == Frame::FREE { FRAMES_PER_BLOCK } else { 0 }, next: 0 })
    }

    /// Makes the first that are free, which follow each other, `most` of them, into this; which, and how many.
    fn take(&mut self, most: usize, into: Frame) -> (usize, usize) {
        let is_free = |frame: &Frame| *frame == Frame::FREE;
        let mut first = self.next;
        while self.frames.get(first).is_some_and(|frame| !is_free(frame)) {
            first += 1;
        }
        let free = self.frames.iter_mut().skip(first).take(most).take_while(|frame| is_free(frame));
        let count = free.map(|frame| *frame = into).count();
        (self.next, self.free) = (first + count, self.free - count);
        (first, count)
    }

    /// How many of `most` frames from `first` on are the same as this.
    fn run(&self, first: usize, most: usize, of: Frame) -> usize {
        let end = FRAMES_PER_BLOCK.min(first + most);
        let frames = self.frames.get(first..end).unwrap_or_default();
        frames.iter().position(|frame| *frame != of).unwrap_or(frames.len())
    }

    /// Changes frames that are the same.
    fn set(&mut self, first: usize, count: usize, frame: Frame) {
        let Some(slots) = self.frames.get_mut(first..first + count) else { return };
        if slots.first() == Some(&Frame::FREE) {
            self.free -= count;
        }
        slots.fill(frame);
        if frame == Frame::FREE {
            self.free += count;
            self.next = self.next.min(first);
        }
    }
}

impl Block {
    fn frame(&self, index: usize) -> Frame {
        match self {
            Self::Whole(frame) => *frame,
            Self::Split(split) => split.frames.get(index).copied().unwrap_or(Frame::RESERVED),
        }
    }

    /// How many of `most` frames from `first` on are the same as this.
    fn run(&self, first: usize, most: usize, of: Frame) -> usize {
        match self {
            Self::Whole(frame) if *frame == of => most.min(FRAMES_PER_BLOCK - first),
            Self::Whole(_) => 0,
            Self::Split(split) => split.run(first, most, of),
        }
    }

    /// Changes frames that are the same.
    fn set(&mut self, first: usize, count: usize, frame: Frame) -> Result {
        if count < FRAMES_PER_BLOCK {
            let split = self.split()?;
            split.set(first, count, frame);
            if split.free < FRAMES_PER_BLOCK {
                return Ok(());
            }
        }
        *self = Self::Whole(frame);
        Ok(())
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
        blocks.resize_with(last - first, || Block::Whole(Frame::RESERVED));
        let mut pool = Self { first, blocks, next_block: 0, next_split: 0 };
        for &range in ram {
            pool.mark(range.base().0.div_ceil(PAGE_SIZE)..range.end().0 / PAGE_SIZE, Frame::RESERVED, Frame::FREE)?;
        }
        Ok(pool)
    }

    /// Takes a range out of the pool: EL2 itself, boot modules, what the firmware keeps.
    ///
    /// # Errors
    /// If the heap cannot hold the pool's own tables.
    pub fn reserve(&mut self, range: PaRange) -> Result {
        self.mark(range.base().0 / PAGE_SIZE..range.end().0.div_ceil(PAGE_SIZE), Frame::FREE, Frame::RESERVED)
    }

    /// Puts a range that was reserved back into the pool. The caller has scrubbed it.
    ///
    /// # Errors
    /// If the heap cannot hold the pool's own tables.
    #[cfg(test)]
    pub fn release(&mut self, range: PaRange) -> Result {
        self.mark(range.base().0.div_ceil(PAGE_SIZE)..range.end().0 / PAGE_SIZE, Frame::RESERVED, Frame::FREE)
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
        (count(|frame| *frame != Frame::RESERVED), count(|frame| *frame == Frame::FREE))
    }

    /// Makes a range of free pages `owner`'s: what the boot loader put there for it.
    ///
    /// # Errors
    /// If the heap cannot hold the pool's own tables.
    pub fn claim(&mut self, owner: DomainId, range: PaRange) -> Result {
        let pages = range.base().0 / PAGE_SIZE..range.end().0.div_ceil(PAGE_SIZE);
        self.mark(pages, Frame::FREE, Frame::held(Some(owner), 0))
    }

    /// Makes those of some pages that are `from` into `to`.
    fn mark(&mut self, pages: Range<u64>, from: Frame, to: Frame) -> Result {
        let mut at = pages.start;
        while at < pages.end {
            let base = Pa(at * PAGE_SIZE);
            let mut run = 0;
            if let Ok(block) = self.block(base) {
                run = block.run(frame_index(base), (pages.end - at) as usize, from);
                if run > 0 {
                    block.set(frame_index(base), run, to)?;
                }
            }
            at += run.max(1) as u64;
        }
        Ok(())
    }

    /// Gives `owner` memory, whatever its content: a part of this order, or as many pages at most as lie together; without an owner it is
    /// used once.
    ///
    /// # Errors
    /// If there is no such memory.
    pub fn allocate(&mut self, owner: Option<DomainId>, order: Order, most: usize) -> Result<Extent> {
        let found = match order {
            Order::Page => self.block_with_free_frame(),
            Order::Block => self.free_block(),
            Order::Gib => None,
        };
        let index = found.ok_or(Errno::ENOMEM)?;
        let base = self.base_of(index);
        let block = self.blocks.get_mut(index).ok_or(Errno::ENOMEM)?;
        let held = Frame::held(owner, owner.is_none().into());
        if order == Order::Block {
            block.set(0, FRAMES_PER_BLOCK, held)?;
            self.next_block = index + 1;
            return Ok(Extent::kept(base, order));
        }
        let (first, count) = block.split()?.take(most, held);
        self.next_split = index;
        Ok(Extent { base: Pa(base.0 + first as u64 * PAGE_SIZE), order, count: count as u32 })
    }

    /// Takes a reference to the page at `base`, which stays what it is until the last is dropped.
    ///
    /// # Errors
    /// If it is nobody's, or the heap cannot hold the count.
    pub fn share(&mut self, base: Pa) -> Result {
        let shared = self.change(base, |owner, uses| match (owner, uses) {
            (None, 0) => None,
            _ => Some(Frame::held(owner, uses.checked_add(1)?)),
        });
        shared.map(drop)
    }

    /// `owner` gives the first of these pages up, or without an owner one use of it ends. Those from it on that nobody uses then must be
    /// scrubbed and freed. What is left of `pages` is still to be given up.
    pub fn leave(&mut self, owner: Option<DomainId>, pages: &mut Extent) -> Option<Extent> {
        let (base, unused) = (pages.base, Frame::held(owner, 0));
        let alone = match owner {
            Some(_) => self.block(base).map_or(0, |block| block.run(frame_index(base), pages.count as usize, unused)),
            None => 0,
        };
        let leaves = |it, uses: u16| match owner {
            Some(_) => (it == owner).then_some(Frame::held(None, uses)),
            None => Some(Frame::held(it, uses.checked_sub(1)?)),
        };
        let is_unused = alone > 0 || self.change(base, leaves) == Ok(unused);
        let left = pages.take(alone.max(1));
        is_unused.then_some(left)
    }

    /// Whether somebody besides its owner uses the page at `base`.
    pub fn is_used(&mut self, base: Pa) -> bool {
        let frame = self.block(base).map(|block| block.frame(frame_index(base)));
        frame.is_ok_and(|frame| matches!(frame.holder(), Some((_, 1..))))
    }

    /// Makes of the page at `base` what `f` makes of its owner and its uses, and says what it is now.
    fn change(&mut self, base: Pa, f: impl FnOnce(Option<DomainId>, u16) -> Option<Frame>) -> Result<Frame> {
        let block = self.block(base)?;
        let before = block.frame(frame_index(base));
        let after = before.holder().and_then(|(owner, uses)| f(owner, uses)).ok_or(Errno::EACCES)?;
        if after != before {
            block.set(frame_index(base), 1, after)?;
        }
        Ok(after)
    }

    /// Takes memory of one block back that is `owner`'s, or nobody's any more. The caller has scrubbed it.
    ///
    /// # Errors
    /// If not all of it is, or it is used; then nothing changes and the memory stays as it is.
    pub fn free(&mut self, owner: Option<DomainId>, extent: Extent) -> Result {
        let (first, count) = (frame_index(extent.base), (extent.size() / PAGE_SIZE) as usize);
        let block = self.block(extent.base)?;
        if block.run(first, count, Frame::held(owner, 0)) != count {
            return Err(Errno::EACCES);
        }
        block.set(first, count, Frame::FREE)
    }

    /// A split block with a free frame, else a free block.
    fn block_with_free_frame(&self) -> Option<usize> {
        let count = self.blocks.len();
        let mut around = (0..count).map(|i| (self.next_split + i) % count);
        let has_free = |index: &usize| matches!(&self.blocks[*index], Block::Split(s) if s.free > 0);
        around.find(has_free).or_else(|| self.free_block())
    }

    #[inline(never)]
    fn free_block(&self) -> Option<usize> {
        let count = self.blocks.len();
        let mut around = (0..count).map(|i| (self.next_block + i) % count);
        around.find(|&index| matches!(self.blocks.get(index), Some(Block::Whole(Frame::FREE))))
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
