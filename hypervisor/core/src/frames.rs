//! The machine's frames: which are free, and whose the others are.
//!
//! RAM is kept in blocks of 2 MiB, as guests get it. Only a block of which single pages were given out has a table of its
//! 512 frames, so the pool costs 16 bytes for each 2 MiB of RAM and little more.

use alloc::vec::Vec;

use crate::addr::{PAGE_SIZE, Pa, PaRange};
use crate::id::DomainId;

/// Bytes in a block.
pub const BLOCK_SIZE: u64 = 2 << 20;
const FRAMES_PER_BLOCK: usize = (BLOCK_SIZE / PAGE_SIZE) as usize;
const BLOCKS_PER_GIB: usize = 512;

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
    #[must_use]
    pub const fn size(self) -> u64 {
        match self {
            Self::Page => PAGE_SIZE,
            Self::Block => BLOCK_SIZE,
            Self::Gib => BLOCK_SIZE * BLOCKS_PER_GIB as u64,
        }
    }

    /// The largest order that fits `bytes` and may lie at a place aligned to `alignment` bytes.
    #[must_use]
    pub fn largest(bytes: u64, alignment: u64) -> Option<Self> {
        [Self::Gib, Self::Block, Self::Page]
            .into_iter()
            .find(|order| order.size() <= bytes && alignment.is_multiple_of(order.size()))
    }
}

/// Memory that somebody owns: there is one such value for it, and dropping it loses the memory.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "memory that is dropped is lost: give it back to its pool"]
pub struct Extent {
    // Aligned to the order's size. Made by the pool, or by whoever an extent was given to keep.
    base: Pa,
    order: Order,
}

impl Extent {
    /// What was kept as an address, by one who owns it.
    pub(crate) const fn kept(base: Pa, order: Order) -> Self {
        Self { base, order }
    }

    /// A page that was kept as a table's address.
    pub const fn of_table(table: Pa) -> Self {
        Self::kept(table, Order::Page)
    }

    /// The same memory as single pages.
    pub fn into_pages(self) -> impl Iterator<Item = Self> {
        let pages = self.order.size() / PAGE_SIZE;
        (0..pages).map(move |page| Self::kept(Pa(self.base.0 + page * PAGE_SIZE), Order::Page))
    }

    /// First byte.
    #[must_use]
    pub const fn base(&self) -> Pa {
        self.base
    }

    /// Its size as an order.
    #[must_use]
    pub const fn order(&self) -> Order {
        self.order
    }
}

/// There is not enough memory of the kind asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// Memory that was given back is not its giver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOwned;

impl From<OutOfMemory> for NotOwned {
    fn from(_: OutOfMemory) -> Self {
        Self
    }
}

/// Whose a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    /// Not RAM, or EL2's, a boot module's or the firmware's for good.
    Reserved,
    Free,
    Owned(DomainId),
    /// A domain's, and used from elsewhere as often as the number says.
    Shared(DomainId, u16),
    /// Nobody's any more, and still used so often; with 0 it is being scrubbed.
    Left(u16),
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
    // Where the next free one is looked for.
    next: usize,
}

impl Split {
    fn new(frame: Frame) -> Result<Self, OutOfMemory> {
        let mut frames = Vec::new();
        frames.try_reserve_exact(FRAMES_PER_BLOCK).map_err(|_| OutOfMemory)?;
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

    /// Its pages one by one.
    fn split(&mut self) -> Result<&mut Split, OutOfMemory> {
        if let Self::Whole(frame) = self {
            *self = Self::Split(Split::new(*frame)?);
        }
        match self {
            Self::Split(split) => Ok(split),
            Self::Whole(_) => Err(OutOfMemory),
        }
    }
}

/// All RAM of the machine.
#[derive(Debug)]
pub struct FramePool {
    first: u64,
    blocks: Vec<Block>,
    // Where the last search for a whole block, or for a split one with a free frame, ended.
    next_block: usize,
    next_split: usize,
    free_bytes: u64,
}

impl FramePool {
    /// The pool of `ram`, all free. What of it is not whole pages is left out.
    ///
    /// # Errors
    /// If the heap cannot hold the pool's own tables.
    pub fn new(ram: &[PaRange]) -> Result<Self, OutOfMemory> {
        let first = ram.iter().map(|r| r.base().0 / BLOCK_SIZE).min().unwrap_or(0);
        let last = ram.iter().map(|r| r.end().0.div_ceil(BLOCK_SIZE)).max().unwrap_or(0);
        let count = usize::try_from(last - first).map_err(|_| OutOfMemory)?;
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(count).map_err(|_| OutOfMemory)?;
        blocks.resize_with(count, || Block::Whole(Frame::Reserved));
        let mut pool = Self { first, blocks, next_block: 0, next_split: 0, free_bytes: 0 };
        for &range in ram {
            pool.mark(range, Frame::Free, Rounding::Inward)?;
        }
        Ok(pool)
    }

    /// Takes a range out of the pool: EL2 itself, boot modules, what the firmware keeps.
    ///
    /// # Errors
    /// If the heap cannot hold the pool's own tables.
    pub fn reserve(&mut self, range: PaRange) -> Result<(), OutOfMemory> {
        self.mark(range, Frame::Reserved, Rounding::Outward)
    }

    /// Puts a range that was reserved back into the pool. The caller has scrubbed it.
    ///
    /// # Errors
    /// If the heap cannot hold the pool's own tables.
    pub fn release(&mut self, range: PaRange) -> Result<(), OutOfMemory> {
        self.mark(range, Frame::Free, Rounding::Inward)
    }

    /// Bytes that are free.
    #[must_use]
    pub const fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    /// Gives `owner` memory, whatever its content.
    ///
    /// # Errors
    /// If there is no such memory.
    pub fn allocate(&mut self, owner: DomainId, order: Order) -> Result<Extent, OutOfMemory> {
        let base = match order {
            Order::Page => self.allocate_page(Frame::Owned(owner))?,
            Order::Block => self.allocate_blocks(owner, 1)?,
            Order::Gib => self.allocate_blocks(owner, BLOCKS_PER_GIB)?,
        };
        self.free_bytes -= order.size();
        Ok(Extent { base, order })
    }

    /// A page that is no domain's, with one reference to it.
    ///
    /// # Errors
    /// If there is none.
    pub fn allocate_left(&mut self) -> Result<Pa, OutOfMemory> {
        let base = self.allocate_page(Frame::Left(1))?;
        self.free_bytes -= PAGE_SIZE;
        Ok(base)
    }

    /// Takes a reference to the page at `base`, which stays what it is until the last is dropped.
    ///
    /// # Errors
    /// If it is nobody's, or the heap cannot hold the count.
    pub fn share(&mut self, base: Pa) -> Result<(), NotOwned> {
        self.change(base, |frame| match frame {
            Frame::Owned(owner) => Some(Frame::Shared(owner, 1)),
            Frame::Shared(owner, count) => Some(Frame::Shared(owner, count.checked_add(1)?)),
            Frame::Left(count) if count > 0 => Some(Frame::Left(count.checked_add(1)?)),
            Frame::Left(_) | Frame::Reserved | Frame::Free => None,
        })
        .map(drop)
    }

    /// Drops a reference. `true` if the page is nobody's now: it must be scrubbed and [`FramePool::free_left`].
    pub fn unshare(&mut self, base: Pa) -> bool {
        let changed = self.change(base, |frame| match frame {
            Frame::Shared(owner, 1) => Some(Frame::Owned(owner)),
            Frame::Shared(owner, count) => Some(Frame::Shared(owner, count.checked_sub(1)?)),
            Frame::Left(count) => Some(Frame::Left(count.checked_sub(1)?)),
            Frame::Owned(_) | Frame::Reserved | Frame::Free => None,
        });
        changed == Ok(Frame::Left(0))
    }

    /// `owner` gives a page up. `true` if nobody uses it: it must be scrubbed and freed.
    pub fn leave(&mut self, owner: DomainId, page: &Extent) -> bool {
        let changed = self.change(page.base, |frame| match frame {
            Frame::Owned(it) if it == owner => Some(frame),
            Frame::Shared(it, count) if it == owner => Some(Frame::Left(count)),
            _ => None,
        });
        changed == Ok(Frame::Owned(owner))
    }

    /// Frees a page that was nobody's.
    ///
    /// # Errors
    /// If it is still used.
    pub fn free_left(&mut self, base: Pa) -> Result<(), NotOwned> {
        let index = self.block_index(base).ok_or(NotOwned)?;
        self.free_page(index, base, Frame::Left(0))?;
        self.free_bytes += PAGE_SIZE;
        Ok(())
    }

    /// Whether all pages of an extent are its owner's alone, and freed at once.
    #[must_use]
    pub fn is_whole(&self, extent: &Extent) -> bool {
        let count = (extent.order.size() / BLOCK_SIZE) as usize;
        let blocks = self.block_index(extent.base).and_then(|at| self.blocks.get(at..at + count));
        count > 0 && blocks.is_some_and(|all| all.iter().all(|b| matches!(b, Block::Whole(_))))
    }

    /// Makes of the page at `base` what `f` makes of it, and says what it is now.
    fn change(&mut self, base: Pa, f: impl FnOnce(Frame) -> Option<Frame>) -> Result<Frame, NotOwned> {
        let block = self.block_index(base).and_then(|index| self.blocks.get_mut(index));
        let block = block.ok_or(NotOwned)?;
        let before = block.frame(frame_index(base));
        let after = f(before).ok_or(NotOwned)?;
        if before != after {
            block.split()?.set(frame_index(base), after);
        }
        Ok(after)
    }

    /// Takes memory back. The caller has scrubbed it.
    ///
    /// # Errors
    /// If not all of it is `owner`'s; then nothing changes and the memory stays as it is.
    pub fn free(&mut self, owner: DomainId, extent: Extent) -> Result<(), NotOwned> {
        let owned = Frame::Owned(owner);
        let index = self.block_index(extent.base).ok_or(NotOwned)?;
        if extent.order == Order::Page {
            self.free_page(index, extent.base, owned)?;
        } else {
            let count = (extent.order.size() / BLOCK_SIZE) as usize;
            let blocks = self.blocks.get_mut(index..index + count).ok_or(NotOwned)?;
            if !blocks.iter().all(|block| matches!(block, Block::Whole(frame) if *frame == owned)) {
                return Err(NotOwned);
            }
            blocks.fill_with(|| Block::Whole(Frame::Free));
        }
        self.free_bytes += extent.order.size();
        Ok(())
    }

    fn free_page(&mut self, index: usize, base: Pa, owned: Frame) -> Result<(), NotOwned> {
        let frame = frame_index(base);
        let block = self.blocks.get_mut(index).ok_or(NotOwned)?;
        if block.frame(frame) != owned {
            return Err(NotOwned);
        }
        let split = block.split()?;
        split.set(frame, Frame::Free);
        if split.free == FRAMES_PER_BLOCK {
            *block = Block::Whole(Frame::Free);
        }
        Ok(())
    }

    fn allocate_page(&mut self, as_what: Frame) -> Result<Pa, OutOfMemory> {
        let index = self.block_with_free_frame()?;
        let block = self.blocks.get_mut(index).ok_or(OutOfMemory)?;
        let split = block.split()?;
        let after = split.next..FRAMES_PER_BLOCK;
        let mut places = after.chain(0..split.next);
        let is_free = |place: &usize| split.frames.get(*place) == Some(&Frame::Free);
        let frame = places.find(is_free).ok_or(OutOfMemory)?;
        split.next = frame + 1;
        split.set(frame, as_what);
        self.next_split = index;
        Ok(Pa((self.first + index as u64) * BLOCK_SIZE + frame as u64 * PAGE_SIZE))
    }

    /// A split block with a free frame, else a free block.
    fn block_with_free_frame(&self) -> Result<usize, OutOfMemory> {
        let count = self.blocks.len();
        let mut around = (0..count).map(|i| (self.next_split + i) % count);
        let has_free = |index: &usize| matches!(&self.blocks[*index], Block::Split(s) if s.free > 0);
        around.find(has_free).or_else(|| self.find_blocks(1)).ok_or(OutOfMemory)
    }

    fn allocate_blocks(&mut self, owner: DomainId, count: usize) -> Result<Pa, OutOfMemory> {
        let index = self.find_blocks(count).ok_or(OutOfMemory)?;
        for block in self.blocks.iter_mut().skip(index).take(count) {
            *block = Block::Whole(Frame::Owned(owner));
        }
        self.next_block = index + count;
        Ok(Pa((self.first + index as u64) * BLOCK_SIZE))
    }

    /// `count` free blocks in a row, the first at a multiple of their size.
    fn find_blocks(&self, count: usize) -> Option<usize> {
        let start = (count as u64 - self.first % count as u64) % count as u64;
        let places = || (start as usize..self.blocks.len()).step_by(count);
        let is_free = |&place: &usize| {
            self.blocks
                .get(place..place + count)
                .is_some_and(|blocks| blocks.iter().all(|block| matches!(block, Block::Whole(Frame::Free))))
        };
        let skip = self.next_block.saturating_sub(start as usize) / count;
        places().skip(skip).chain(places().take(skip)).find(is_free)
    }

    fn block_index(&self, base: Pa) -> Option<usize> {
        (base.0 / BLOCK_SIZE).checked_sub(self.first).and_then(|index| usize::try_from(index).ok())
    }

    fn mark(&mut self, range: PaRange, frame: Frame, rounding: Rounding) -> Result<(), OutOfMemory> {
        let (mut at, end) = rounding.pages(range);
        while at < end {
            let block_end = (at / BLOCK_SIZE + 1) * BLOCK_SIZE;
            let until = block_end.min(end);
            if let Some(block) = self.block_index(Pa(at)).and_then(|i| self.blocks.get_mut(i)) {
                let before = free_frames(block);
                mark_block(block, frame_index(Pa(at)), (until - at) / PAGE_SIZE, frame)?;
                let after = free_frames(block);
                self.free_bytes += after * PAGE_SIZE;
                self.free_bytes -= before * PAGE_SIZE;
            }
            at = until;
        }
        Ok(())
    }
}

/// Which pages a range of bytes stands for.
#[derive(Clone, Copy)]
enum Rounding {
    /// Those that it holds wholly.
    Inward,
    /// All that it touches.
    Outward,
}

impl Rounding {
    fn pages(self, range: PaRange) -> (u64, u64) {
        let (base, end) = (range.base().0, range.end().0);
        match self {
            Self::Inward => (base.next_multiple_of(PAGE_SIZE), end / PAGE_SIZE * PAGE_SIZE),
            Self::Outward => (base / PAGE_SIZE * PAGE_SIZE, end.next_multiple_of(PAGE_SIZE)),
        }
    }
}

fn frame_index(base: Pa) -> usize {
    (base.0 % BLOCK_SIZE / PAGE_SIZE) as usize
}

fn free_frames(block: &Block) -> u64 {
    match block {
        Block::Whole(Frame::Free) => FRAMES_PER_BLOCK as u64,
        Block::Whole(_) => 0,
        Block::Split(split) => split.free as u64,
    }
}

fn mark_block(block: &mut Block, from: usize, count: u64, frame: Frame) -> Result<(), OutOfMemory> {
    if count == FRAMES_PER_BLOCK as u64 {
        *block = Block::Whole(frame);
        return Ok(());
    }
    let split = block.split()?;
    (from..from + count as usize).for_each(|index| split.set(index, frame));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn range(base: u64, size: u64) -> PaRange {
        PaRange::new(Pa(base), size).expect("a small range")
    }

    fn domain(number: u16) -> DomainId {
        DomainId::new(number).expect("a small number")
    }

    #[test]
    fn ragged_ram_gives_its_whole_pages() {
        let mut pool = FramePool::new(&[range(0x4000_0800, 0x3800)]).expect("a small pool");
        assert_eq!(pool.free_bytes(), 3 * PAGE_SIZE);
        let pages: Vec<_> = core::iter::from_fn(|| pool.allocate(domain(1), Order::Page).ok()).collect();
        assert_eq!(pages.iter().map(|p| p.base().0).collect::<Vec<_>>(), [0x4000_1000, 0x4000_2000, 0x4000_3000]);
        assert_eq!(pool.allocate(domain(1), Order::Block), Err(OutOfMemory));
    }

    #[test]
    fn a_gigabyte_lies_at_a_multiple_of_its_size() {
        let mut pool = FramePool::new(&[range(0x4020_0000, 3 << 30)]).expect("a small pool");
        let extent = pool.allocate(domain(1), Order::Gib).expect("there are two");
        assert_eq!(extent.base(), Pa(0x8000_0000));
        assert!(pool.allocate(domain(1), Order::Gib).is_ok());
        assert_eq!(pool.allocate(domain(1), Order::Gib), Err(OutOfMemory));
    }

    #[test]
    fn what_is_reserved_is_not_given_out() {
        let mut pool = FramePool::new(&[range(0x4000_0000, 4 << 20)]).expect("a small pool");
        pool.reserve(range(0x4000_0000, 0x20_0001)).expect("room");
        assert_eq!(pool.free_bytes(), BLOCK_SIZE - PAGE_SIZE);
        assert_eq!(pool.allocate(domain(1), Order::Block), Err(OutOfMemory));
        pool.release(range(0x4020_0000, PAGE_SIZE)).expect("room");
        assert_eq!(pool.free_bytes(), BLOCK_SIZE);
    }

    #[test]
    fn another_owner_cannot_free() {
        let mut pool = FramePool::new(&[range(0x4000_0000, 4 << 20)]).expect("a small pool");
        let block = pool.allocate(domain(1), Order::Block).expect("room");
        let copy = Extent::kept(block.base(), Order::Block);
        assert_eq!(pool.free(domain(2), copy), Err(NotOwned));
        assert_eq!(pool.free(domain(1), block), Ok(()));
        assert_eq!(pool.free(domain(1), Extent::kept(Pa(0x4000_0000), Order::Page)), Err(NotOwned));
        assert_eq!(pool.free(domain(1), Extent::kept(Pa(0), Order::Gib)), Err(NotOwned));
    }

    #[test]
    fn a_page_outlives_its_owner_while_it_is_used() {
        let mut pool = FramePool::new(&[range(0x4000_0000, 2 << 20)]).expect("a small pool");
        let block = pool.allocate(domain(1), Order::Block).expect("room");
        let (total, page) = (2 << 20, Pa(0x4000_3000));
        assert!(pool.is_whole(&block));
        assert_eq!((pool.share(page), pool.share(page)), (Ok(()), Ok(())));
        assert!(!pool.is_whole(&block) && !pool.unshare(page));
        let left = block.into_pages().filter(|page| !pool.leave(domain(1), page)).count();
        assert_eq!(left, 1);
        assert!(!pool.leave(domain(1), &Extent::kept(page, Order::Page)), "left once");
        assert_eq!(pool.free(domain(1), Extent::kept(page, Order::Page)), Err(NotOwned));
        assert_eq!(pool.free_left(page), Err(NotOwned));
        assert!(pool.unshare(page), "the last use ends");
        assert_eq!((pool.free_left(page), pool.free_left(page)), (Ok(()), Err(NotOwned)));
        assert_eq!(pool.free_bytes(), PAGE_SIZE);
        assert_eq!(pool.share(page), Err(NotOwned));
        let own = pool.allocate_left().expect("one is free");
        assert_eq!((own, pool.share(own), pool.unshare(own), pool.unshare(own)), (page, Ok(()), false, true));
        assert!(pool.free_bytes() < total);
    }

    #[test]
    fn a_block_freed_by_pages_is_a_block_again() {
        let mut pool = FramePool::new(&[range(0x4000_0000, 2 << 20)]).expect("a small pool");
        let block = pool.allocate(domain(1), Order::Block).expect("room");
        for page in 0..FRAMES_PER_BLOCK as u64 {
            let page = Extent::kept(Pa(block.base().0 + page * PAGE_SIZE), Order::Page);
            pool.free(domain(1), page).expect("owned");
        }
        assert!(pool.allocate(domain(2), Order::Block).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_is_given_twice_and_nothing_is_lost(steps in prop::collection::vec((0u8..5, 0u16..3, 0usize..64), 1..400)) {
            let ram = [range(0x4000_3000, 9 << 20), range(0x8000_0000, 5 << 20)];
            let mut pool = FramePool::new(&ram).expect("a small pool");
            let total = pool.free_bytes();
            // The model: every owned page and its owner.
            let mut model: BTreeMap<u64, u16> = BTreeMap::new();
            let mut held: Vec<(u16, Extent)> = Vec::new();
            for (action, owner, pick) in steps {
                if action < 3 {
                    let order = if action == 0 { Order::Block } else { Order::Page };
                    if let Ok(extent) = pool.allocate(domain(owner), order) {
                        for page in 0..order.size() / PAGE_SIZE {
                            let at = extent.base().0 + page * PAGE_SIZE;
                            prop_assert!(ram.iter().any(|r| r.contains(range(at, PAGE_SIZE))));
                            prop_assert!(model.insert(at, owner).is_none(), "given twice");
                        }
                        held.push((owner, extent));
                    }
                } else if !held.is_empty() {
                    let (owner, extent) = held.swap_remove(pick % held.len());
                    for page in 0..extent.order().size() / PAGE_SIZE {
                        model.remove(&(extent.base().0 + page * PAGE_SIZE));
                    }
                    prop_assert_eq!(pool.free(domain(owner), extent), Ok(()));
                }
                prop_assert_eq!(pool.free_bytes() + model.len() as u64 * PAGE_SIZE, total);
            }
        }
    }
}
