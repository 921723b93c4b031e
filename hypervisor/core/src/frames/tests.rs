//! The pool beside its model.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn range(base: u64, size: u64) -> PaRange {
    PaRange::new(Pa(base), size).expect("a small range")
}

fn domain(number: u16) -> DomainId {
    DomainId::new(number).expect("a small number")
}

fn unshare(pool: &mut FramePool, page: Pa) -> bool {
    pool.leave(None, &mut Extent::kept(page, Order::Page)).is_some()
}

fn free_bytes(pool: &FramePool) -> u64 {
    let free = |block: &Block| match block {
        Block::Whole(frame) => usize::from(*frame == Frame::FREE) * FRAMES_PER_BLOCK,
        Block::Split(split) => {
            assert_eq!(split.free, split.frames.iter().filter(|frame| **frame == Frame::FREE).count());
            split.free
        }
    };
    pool.blocks.iter().map(free).sum::<usize>() as u64 * PAGE_SIZE
}

#[test]
fn ragged_ram_gives_its_whole_pages() {
    let mut pool = FramePool::new(&[range(0x4000_0800, 0x3800)]).expect("a small pool");
    assert_eq!(free_bytes(&pool), 3 * PAGE_SIZE);
    let pages: Vec<_> = core::iter::from_fn(|| pool.allocate(Some(domain(1)), Order::Page, 1).ok()).collect();
    assert_eq!(pages.iter().map(|p| p.base.0).collect::<Vec<_>>(), [0x4000_1000, 0x4000_2000, 0x4000_3000]);
    assert_eq!(pool.allocate(Some(domain(1)), Order::Block, 1), Err(Errno::ENOMEM));
}

#[test]
fn what_is_claimed_is_its_owners() {
    let mut pool = FramePool::new(&[range(0x4000_0000, 4 << 20)]).expect("a small pool");
    pool.claim(domain(0), range(0x4000_0000, 0x20_0001)).expect("room");
    assert_eq!(free_bytes(&pool), BLOCK_SIZE - PAGE_SIZE);
    pool.free(Some(domain(0)), Extent::kept(Pa(0x4000_0000), Order::Block)).expect("it was the owner's");
    pool.free(Some(domain(0)), Extent::kept(Pa(0x4020_0000), Order::Page)).expect("it was the owner's");
    assert_eq!(free_bytes(&pool), 2 * BLOCK_SIZE);
}

#[test]
fn what_is_reserved_is_not_given_out() {
    let mut pool = FramePool::new(&[range(0x4000_0000, 4 << 20)]).expect("a small pool");
    pool.reserve(range(0x4000_0000, 0x20_0001)).expect("room");
    assert_eq!(free_bytes(&pool), BLOCK_SIZE - PAGE_SIZE);
    assert_eq!(pool.allocate(Some(domain(1)), Order::Block, 1), Err(Errno::ENOMEM));
    pool.release(range(0x4020_0000, PAGE_SIZE)).expect("room");
    assert_eq!(free_bytes(&pool), BLOCK_SIZE);
}

#[test]
fn a_range_is_released_once() {
    let mut pool = FramePool::new(&[range(0x4000_0000, 4 << 20)]).expect("a small pool");
    let module = range(0x4000_0000, BLOCK_SIZE + PAGE_SIZE);
    pool.reserve(module).expect("room");
    pool.release(module).expect("room");
    let all: Vec<_> = core::iter::from_fn(|| pool.allocate(Some(domain(1)), Order::Page, 1).ok()).collect();
    pool.release(module).expect("room");
    assert_eq!(all.len() as u64, (4 << 20) / PAGE_SIZE);
    assert!(pool.allocate(Some(domain(2)), Order::Page, 1).is_err(), "it is the first domain's");
}

#[test]
fn another_owner_cannot_free() {
    let mut pool = FramePool::new(&[range(0x4000_0000, 4 << 20)]).expect("a small pool");
    let block = pool.allocate(Some(domain(1)), Order::Block, 1).expect("room");
    let copy = Extent::kept(block.base, Order::Block);
    assert_eq!(pool.free(Some(domain(2)), copy), Err(Errno::EACCES));
    assert_eq!(pool.free(Some(domain(1)), block), Ok(()));
    assert_eq!(pool.free(Some(domain(1)), Extent::kept(Pa(0x4000_0000), Order::Page)), Err(Errno::EACCES));
    assert_eq!(pool.free(Some(domain(1)), Extent::kept(Pa(0), Order::Gib)), Err(Errno::EACCES));
}

#[test]
fn a_page_outlives_its_owner_while_it_is_used() {
    let mut pool = FramePool::new(&[range(0x4000_0000, 2 << 20)]).expect("a small pool");
    let block = pool.allocate(Some(domain(1)), Order::Block, 1).expect("room");
    let (total, page) = (2 << 20, Pa(0x4000_3000));
    assert!(!pool.is_used(page));
    assert_eq!((pool.share(page), pool.share(page)), (Ok(()), Ok(())));
    assert!(pool.is_used(page) && !pool.is_used(Pa(0x4000_4000)) && !pool.is_used(Pa(0)));
    assert!(!unshare(&mut pool, page));
    let mut pages = block.into_pages();
    let before = pool.leave(Some(domain(1)), &mut pages).map(|part| (part.base, part.count));
    assert_eq!(before, Some((Pa(0x4000_0000), 3)));
    assert_eq!(pool.leave(Some(domain(1)), &mut pages), None, "it is used");
    let behind = pool.leave(Some(domain(1)), &mut pages).map(|part| (part.base, part.count));
    assert_eq!((behind, pages.count), (Some((Pa(0x4000_4000), FRAMES_PER_BLOCK as u32 - 4)), 0));
    assert_eq!(pool.leave(Some(domain(1)), &mut Extent::kept(page, Order::Page)), None, "left once");
    assert_eq!(pool.free(Some(domain(1)), Extent::kept(page, Order::Page)), Err(Errno::EACCES));
    assert_eq!(pool.free(None, Extent::kept(page, Order::Page)), Err(Errno::EACCES));
    assert!(unshare(&mut pool, page), "the last use ends");
    assert_eq!(
        (pool.free(None, Extent::kept(page, Order::Page)), pool.free(None, Extent::kept(page, Order::Page))),
        (Ok(()), Err(Errno::EACCES))
    );
    assert_eq!(free_bytes(&pool), PAGE_SIZE);
    assert_eq!(pool.share(page), Err(Errno::EACCES));
    let own = pool.allocate(None, Order::Page, 1).expect("one is free").base;
    assert_eq!((own, pool.share(own), unshare(&mut pool, own), unshare(&mut pool, own)), (page, Ok(()), false, true));
    assert!(free_bytes(&pool) < total);
}

#[test]
fn pages_come_together_as_they_lie() {
    let mut pool = FramePool::new(&[range(0x4000_0000, 4 << 20)]).expect("a small pool");
    let mut run = |most| {
        let run = pool.allocate(Some(domain(1)), Order::Page, most).expect("room");
        (run.base.0, run.count as usize)
    };
    assert_eq!((run(100), run(1)), ((0x4000_0000, 100), (0x4006_4000, 1)));
    assert_eq!(run(1000), (0x4006_5000, FRAMES_PER_BLOCK - 101), "up to the block's end");
    assert_eq!(run(FRAMES_PER_BLOCK), (0x4020_0000, FRAMES_PER_BLOCK));
    pool.free(Some(domain(1)), Extent { base: Pa(0x4000_3000), order: Order::Page, count: 5 }).expect("owned");
    pool.free(Some(domain(1)), Extent::kept(Pa(0x4020_0000), Order::Block)).expect("owned, as pages");
    let run = pool.allocate(Some(domain(1)), Order::Page, 9).expect("room");
    assert_eq!((run.base.0, run.count), (0x4000_3000, 5), "as many as there are");
    let taken = Extent { base: Pa(0x4000_6000), order: Order::Page, count: FRAMES_PER_BLOCK as u32 };
    assert_eq!(pool.free(Some(domain(1)), taken), Err(Errno::EACCES), "of one block");
    assert_eq!(free_bytes(&pool), BLOCK_SIZE);
}

#[test]
fn a_block_freed_by_pages_is_a_block_again() {
    let mut pool = FramePool::new(&[range(0x4000_0000, 2 << 20)]).expect("a small pool");
    let block = pool.allocate(Some(domain(1)), Order::Block, 1).expect("room");
    for page in 0..FRAMES_PER_BLOCK as u64 {
        let page = Extent::kept(Pa(block.base.0 + page * PAGE_SIZE), Order::Page);
        pool.free(Some(domain(1)), page).expect("owned");
    }
    assert!(pool.allocate(Some(domain(2)), Order::Block, 1).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_given_twice_and_nothing_is_lost(steps in prop::collection::vec((0u8..7, 0u16..3, 0usize..64), 1..400)) {
        let ram = [range(0x4000_3000, 9 << 20), range(0x8000_0000, 5 << 20)];
        let mut pool = FramePool::new(&ram).expect("a small pool");
        let total = free_bytes(&pool);
        // The model: every owned page and its owner.
        let mut model: BTreeMap<u64, u16> = BTreeMap::new();
        let mut held: Vec<(u16, Extent)> = Vec::new();
        // How often pages are used from elsewhere, and those of them whose owner gave them up.
        let mut uses: BTreeMap<u64, usize> = BTreeMap::new();
        let mut left: BTreeSet<u64> = BTreeSet::new();
        for (action, owner, pick) in steps {
            if action < 3 {
                let order = if action == 0 { Order::Block } else { Order::Page };
                if let Ok(extent) = pool.allocate(Some(domain(owner)), order, 1 + pick) {
                    prop_assert!(order == Order::Page && extent.count as usize <= 1 + pick || extent.count == 1);
                    for page in 0..extent.size() / PAGE_SIZE {
                        let at = extent.base.0 + page * PAGE_SIZE;
                        prop_assert!(ram.iter().any(|r| r.contains(range(at, PAGE_SIZE))));
                        prop_assert!(model.insert(at, owner).is_none(), "given twice");
                    }
                    held.push((owner, extent));
                }
            } else if action == 3 && !uses.is_empty() {
                let at = *uses.keys().nth(pick % uses.len()).expect("there are some");
                uses.entry(at).and_modify(|uses| *uses -= 1);
                uses.retain(|_, uses| *uses > 0);
                let is_last = !uses.contains_key(&at) && left.remove(&at);
                prop_assert_eq!(unshare(&mut pool, Pa(at)), is_last);
                if is_last {
                    model.remove(&at);
                    prop_assert_eq!(pool.free(None, Extent::kept(Pa(at), Order::Page)), Ok(()));
                }
            } else if action == 4 && !model.is_empty() {
                let at = *model.keys().nth(pick * 37 % model.len()).expect("there are some");
                prop_assert_eq!(pool.share(Pa(at)), Ok(()));
                *uses.entry(at).or_default() += 1;
            } else if !held.is_empty() {
                let (owner, extent) = held.swap_remove(pick % held.len());
                let mut pages = extent.into_pages();
                while pages.count > 0 {
                    let first = pages.base.0;
                    let Some(part) = pool.leave(Some(domain(owner)), &mut pages) else {
                        prop_assert!(uses.contains_key(&first) && left.insert(first));
                        continue;
                    };
                    prop_assert!(part.base.0 == first && part.count > 0);
                    for at in (first..first + part.size()).step_by(PAGE_SIZE as usize) {
                        prop_assert!(!uses.contains_key(&at) && model.remove(&at) == Some(owner));
                    }
                    prop_assert_eq!(pool.free(Some(domain(owner)), part), Ok(()));
                }
            }
            prop_assert_eq!(free_bytes(&pool) + model.len() as u64 * PAGE_SIZE, total);
        }
    }
}
