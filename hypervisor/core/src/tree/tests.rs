use std::vec::Vec;

use dtoolkit::error::FdtErrorKind;

use super::*;
use crate::machine::{self, Machine, Modules};
use crate::testing::{self, Random, cells, machine_tree, place};

const HEADER: usize = 40;
const NOP: u32 = 4;

/// A field of a tree's header.
fn field(tree: &[u8], index: usize) -> usize {
    let at = index * 4;
    u32::from_be_bytes(tree[at..at + 4].try_into().expect("four bytes")) as usize
}

/// A tree with something of everything.
fn rich_tree() -> Vec<u8> {
    let domain = testing::Node::good("guest")
        .set("vpl011", Vec::new())
        .set("mote,ready", b"go\0".into())
        .module("multiboot,ramdisk", place(1))
        .module("multiboot,device-tree", place(2));
    machine_tree(&[domain, testing::Node::good("other").set("cpus", cells(&[1]))])
}

/// Reads all that the hypervisor reads of a tree, in every role that a tree can have.
fn read_everything(tree: Tree<'_>) {
    let _ = Machine::read(tree);
    let _ = machine::console(tree);
    let _ = Modules::read(tree, |_| true);
}

/// Changes a few words, bytes or bits, or cuts the end off.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    const ODD: [u32; 10] = [0, 1, 2, 3, 4, 9, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0x100];
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => {
                let at = at & !3;
                let odd = ODD[random.below(ODD.len())].to_be_bytes();
                bytes.iter_mut().skip(at).zip(odd).for_each(|(byte, odd)| *byte = odd);
            }
            _ if random.below(8) == 0 => bytes.truncate(at.max(1)),
            _ => {
                let header = bytes.len().min(HEADER);
                bytes[random.below(header)] = random.next() as u8;
            }
        }
    }
}

#[test]
fn no_damage_makes_reading_panic() {
    const TREES: usize = 200_000;
    let good = rich_tree();
    let mut random = Random::new(2024);
    let mut accepted = 0;
    for _ in 0..TREES {
        let mut bytes = good.clone();
        damage(&mut bytes, &mut random);
        if let Ok(tree) = check(&bytes) {
            accepted += 1;
            read_everything(tree);
        }
    }
    // Damage that is always noticed would test nothing behind the check.
    assert!(accepted > TREES / 20 && accepted < TREES, "{accepted} of {TREES}");
}

#[test]
fn no_beginning_of_a_tree_is_one() {
    let good = rich_tree();
    assert!(check(&good).is_ok());
    for length in 0..good.len() {
        assert!(check(&good[..length]).is_err(), "{length} of {}", good.len());
    }
}

#[test]
fn noise_is_no_tree() {
    let mut random = Random::new(7);
    for length in 0..2000 {
        let noise: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        assert!(check(&noise).is_err());
    }
}

#[test]
fn placeholders_are_read_over() {
    let good = rich_tree();
    let (start, size) = (field(&good, 2), field(&good, 9));
    // One in front of the first property of the root, one behind its last node.
    let (root, end) = (start + 8, start + size - 8);
    let mut bytes = good[..root].to_vec();
    bytes.extend(NOP.to_be_bytes());
    bytes.extend(&good[root..end]);
    bytes.extend(NOP.to_be_bytes());
    bytes.extend(&good[end..]);
    for index in [1, 3, 9] {
        let new = (field(&good, index) + 8) as u32;
        bytes[index * 4..index * 4 + 4].copy_from_slice(&new.to_be_bytes());
    }
    let (good, tree) = (check(&good).expect("good"), check(&bytes).expect("as good"));
    assert!(nodes(tree).map(|node| node.name()).eq(nodes(good).map(|node| node.name())));
    assert_eq!(property(tree.root(), "#address-cells"), Some(2_u32));
    assert_eq!(Machine::read(tree), Machine::read(good));
}

#[test]
fn what_lies_outside_the_tree_is_refused() {
    let good = rich_tree();
    for (index, outside) in [(1, u32::MAX), (2, u32::MAX - 3), (3, 0x7fff_fff0), (4, u32::MAX - 7), (8, u32::MAX)] {
        let mut bytes = good.clone();
        bytes[index * 4..index * 4 + 4].copy_from_slice(&outside.to_be_bytes());
        assert!(check(&bytes).is_err(), "{index}");
    }
    let mut bytes = good.clone();
    bytes[0] = 0;
    assert_eq!(check(&bytes).err().map(|error| error.kind), Some(FdtErrorKind::InvalidMagic));
    let cut_short = check(&good[..good.len() - 1]).err();
    assert_eq!(cut_short.map(|error| error.kind), Some(FdtErrorKind::InvalidLength));
}

#[test]
fn a_number_of_another_length_is_none() {
    let good = testing::Node::good("guest").set("cpus", cells(&[1, 1])).set("mote,weight", Vec::new());
    let bytes = machine_tree(&[good]);
    let guest = check(&bytes).expect("good").find_node("/chosen/guest").expect("the guest");
    assert_eq!((property::<u32>(guest, "cpus"), property::<u32>(guest, "mote,weight")), (None, None));
    assert!(property(guest, "memory") == Some(0x400_u64));
}

#[test]
fn a_tree_of_any_depth_can_be_read() {
    let deep = |depth: u32| {
        let begin = [[1, 0]].into_iter().chain((0..depth).map(|_| [1, u32::from_be_bytes(*b"n\0\0\0")]));
        let structure: Vec<u32> = begin.flatten().chain((0..=depth).map(|_| 2)).chain([9]).collect();
        let (from, size) = (HEADER as u32 + 16, structure.len() as u32 * 4);
        let header = [0xd00d_feed, from + size, from, from + size, HEADER as u32, 17, 16, 0, 0, size];
        cells(&[&header[..], &[0; 4], &structure].concat())
    };
    for depth in [0, 1, 23, 24, 25, 50_000] {
        let bytes = deep(depth);
        let tree = check(&bytes).expect("well nested");
        read_everything(tree);
        assert_eq!(nodes(tree).count(), MAX_DEPTH.min(depth as usize), "{depth}");
    }
}
