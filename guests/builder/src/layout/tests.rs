use proptest::prelude::*;

use super::*;
use crate::image::Segment;

fn kernel(base: Base, size: u64) -> Kernel {
    let segments = [Segment { offset: 0, length: size / 2, target: 0, size }].into();
    Kernel { base, segments, entry: 0, size }
}

fn new(memory: u64, kernel: &Kernel, ramdisk: Option<u64>, tree: u64) -> Result<Layout, LayoutError> {
    Layout::new(banks(memory)?, kernel, ramdisk, tree)
}

#[test]
fn memory_is_split_as_on_xen() {
    const GIB: u64 = 1 << 30;
    let bank = |base, size| IpaRange { base: Ipa(base), size };
    assert_eq!(banks(GIB), Ok([bank(0x4000_0000, GIB)].into()));
    assert_eq!(banks(4 * GIB), Ok([bank(0x4000_0000, 3 * GIB), bank(0x2_0000_0000, GIB)].into()));
    assert_eq!(banks(u64::MAX), Err(LayoutError::TooMuch));
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let large = kernel(Base::Ram(0x8_0000), 0x10_0000);
    let needed = 0x8_0000 + 0x10_0000 + 0x5000 + 0x1000;
    assert_eq!(new(0x10_0000, &large, Some(0x5000), 100), Err(LayoutError::TooLittle(needed)));
    let low = kernel(Base::Fixed(Ipa(0x1000)), 0x1000);
    assert_eq!(new(0x10_0000, &low, None, 100), Err(LayoutError::KernelPlace));
    let endless = kernel(Base::Fixed(Ipa(u64::MAX)), 0x1000);
    assert_eq!(new(0x10_0000, &endless, None, 100), Err(LayoutError::KernelPlace));
}

#[test]
fn banks_may_be_in_any_order() {
    let bank = |base, size| IpaRange { base: Ipa(base), size };
    let given = [bank(0x6000_0000, 0x80_0000), bank(0x9000_0000, 0x20_0000), bank(0x5000_0000, 0x40_0000)];
    let layout = Layout::new(given.into(), &kernel(Base::Ram(0), 0x10_0000), None, 4096).expect("room");
    assert_eq!(layout.banks, [given[2], given[0], given[1]]);
    assert_eq!((layout.kernel.base, layout.tree.base), (Ipa(0x6000_0000), Ipa(0x607f_f000)));
    let unused: Vec<_> = layout.unused().collect();
    assert_eq!(unused[0], bank(0x9020_0000, RAM0.end() - 0x9020_0000), "behind all that it has");
}

proptest! {
    #[test]
    fn everything_lies_in_ram_apart_and_aligned(
        pages in 16..2_000_000u64,
        offset in 0..(4u64 << 20),
        size in 1..(80u64 << 20),
        ramdisk in prop::option::of(1..(200u64 << 20)),
        tree in 1..(2u64 << 20),
        fixed in any::<bool>(),
    ) {
        let base = if fixed { Base::Fixed(Ipa(RAM0.base + offset)) } else { Base::Ram(offset) };
        let Ok(layout) = new(pages * PAGE_SIZE, &kernel(base, size), ramdisk, tree) else {
            // Twice what is needed, and a boundary for the tree, is enough for any order.
            prop_assert!(pages * PAGE_SIZE < 2 * (offset + size + ramdisk.unwrap_or(0) + 2 * (2 << 20)));
            return Ok(());
        };
        prop_assert_eq!(layout.banks.iter().map(|bank| bank.size).sum::<u64>(), pages * PAGE_SIZE);
        let bank = layout.banks[0];
        let parts: alloc::vec::Vec<_> =
            [Some(layout.kernel), layout.ramdisk, Some(layout.tree)].into_iter().flatten().collect();
        for (index, part) in parts.iter().enumerate() {
            prop_assert!(bank.base.0 <= part.base.0 && part.end() <= bank.end());
            prop_assert!(parts[..index].iter().all(|other| !other.overlaps(*part)));
        }
        prop_assert_eq!(layout.kernel.base.0, RAM0.base + offset);
        prop_assert!(layout.tree.base.0.is_multiple_of(8) && layout.tree.size >= tree);
        let boundary = 2 << 20;
        prop_assert_eq!(layout.tree.base.0 / boundary, (layout.tree.end() - 1) / boundary);
        prop_assert_eq!(layout.ramdisk.map(|place| place.size), ramdisk);
    }
}
