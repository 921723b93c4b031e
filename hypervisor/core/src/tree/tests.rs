use std::vec::Vec;

use super::*;
use crate::config::Configuration;
use crate::guest_tree;
use crate::layout::{IpaRange, Layout};
use crate::machine::{self, Machine};
use crate::random::Seeds;
use crate::testing::{Node, Random, cells, machine_tree, place};

/// A tree with something of everything.
fn rich_tree() -> Vec<u8> {
    let domain = Node::good("guest")
        .set("vpl011", Vec::new())
        .set("mote,ready", b"go\0".into())
        .module("multiboot,ramdisk", place(1))
        .module("multiboot,device-tree", place(2));
    machine_tree(&[domain, Node::good("other").set("cpus", cells(&[1]))])
}

/// Reads all that the hypervisor reads of a tree, in every role that a tree can have.
fn read_everything(tree: &Tree<'_>) {
    let _ = Machine::read(tree);
    let _ = machine::console(tree);
    let _ = tree.reservations().count();
    let _ = Seeds::new(tree).draw();
    let configuration = Configuration::read(tree, |_| true);
    let bank = IpaRange { base: crate::addr::Ipa(0x4000_0000), size: 0x10_0000 };
    let layout = Layout { banks: [bank].into(), kernel: bank, ramdisk: None, tree: bank };
    for domain in configuration.domains.iter().take(2) {
        let _ = guest_tree::build(domain, &layout, Some(tree), None);
    }
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
                let header = bytes.len().min(HEADER_SIZE);
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
        remove_placeholders(&mut bytes);
        if let Ok(tree) = Tree::check(&bytes) {
            accepted += 1;
            read_everything(&tree);
        }
    }
    // Damage that is always noticed would test nothing behind the check.
    assert!(accepted > TREES / 20 && accepted < TREES, "{accepted} of {TREES}");
}

#[test]
fn no_beginning_of_a_tree_is_one() {
    let good = rich_tree();
    assert!(Tree::check(&good).is_ok());
    for length in 0..good.len() {
        assert!(Tree::check(&good[..length]).is_err(), "{length} of {}", good.len());
    }
}

#[test]
fn noise_is_no_tree() {
    let mut random = Random::new(7);
    for length in 0..2000 {
        let noise: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        assert!(Tree::check(&noise).is_err());
    }
}

#[test]
fn placeholders_vanish_and_nothing_else() {
    let good = rich_tree();
    let tree = Tree::check(&good).expect("good");
    let names: Vec<_> = tree.nodes().map(|node| std::string::String::from(node.name)).collect();
    let field = |index: usize| word(&good, index * 4).expect("a header") as usize;
    let (start, size) = (field(2), field(9));
    // A placeholder before every token costs a word each; here one at the beginning and one in front of the end.
    let mut bytes = good[..start].to_vec();
    bytes.extend(NOP.to_be_bytes());
    bytes.extend(&good[start..start + size - 4]);
    bytes.extend(NOP.to_be_bytes());
    bytes.extend(END.to_be_bytes());
    bytes.extend(&good[start + size..]);
    for (index, by) in [(1, 8), (9, 8), (3, 8)] {
        let new = (field(index) + by) as u32;
        bytes[index * 4..index * 4 + 4].copy_from_slice(&new.to_be_bytes());
    }
    if field(3) < start {
        bytes[12..16].copy_from_slice(&(field(3) as u32).to_be_bytes());
    }
    assert!(Tree::check(&bytes).is_err(), "fdt does not expect placeholders");
    remove_placeholders(&mut bytes);
    let tree = Tree::check(&bytes).expect("good again");
    assert!(tree.nodes().map(|node| node.name).eq(names.iter().map(std::string::String::as_str)));
}

#[test]
fn a_tree_that_is_too_deep_is_refused() {
    let deep = |depth: usize| {
        let mut tree = vm_fdt::FdtWriter::new().expect("a writer");
        let mut open = Vec::new();
        for level in 0..depth {
            open.push(tree.begin_node(if level == 0 { "" } else { "n" }).expect("a node"));
        }
        while let Some(node) = open.pop() {
            tree.end_node(node).expect("an end");
        }
        tree.finish().expect("a tree")
    };
    assert!(Tree::check(&deep(MAX_DEPTH)).is_ok());
    assert_eq!(Tree::check(&deep(MAX_DEPTH + 1)).err(), Some(Malformed::Depth));
}
