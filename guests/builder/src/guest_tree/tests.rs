use std::vec::Vec;

use vm_fdt::FdtWriter;

use super::*;
use crate::addr::{Ipa, PaRange};

fn config(vcpus: u32, vpl011: bool) -> Definition {
    Definition {
        memory: 5 << 30,
        vcpus,
        vpl011,
        enhanced: true,
        bootargs: Some("console=ttyAMA0".into()),
        ..crate::testing::definition()
    }
}

fn layout() -> Layout {
    let range = |base, size| IpaRange { base: Ipa(base), size };
    Layout {
        banks: [range(0x4000_0000, 3 << 30), range(0x2_0000_0000, 2 << 30)].into(),
        kernel: range(0x4000_0000, 0x1000),
        ramdisk: Some(range(0x4700_0000, 0x1234)),
        tree: range(0x4600_0000, 0x1000),
    }
}

fn partial() -> Vec<u8> {
    let mut tree = FdtWriter::new().expect("a writer");
    let write = |tree: &mut FdtWriter| {
        let root = tree.begin_node("")?;
        for (name, phandle) in [("aliases", 5), ("passthrough", 6), ("secrets", 7)] {
            let node = tree.begin_node(name)?;
            let child = tree.begin_node("device@1")?;
            tree.property_phandle(phandle)?;
            tree.property_string("compatible", name)?;
            tree.property_null("xen,force-assign-without-iommu")?;
            tree.end_node(child)?;
            tree.end_node(node)?;
        }
        tree.end_node(root)
    };
    write(&mut tree).expect("written");
    tree.finish().expect("a tree")
}

#[test]
fn a_guest_is_told_what_xen_tells() {
    let bytes = build(&config(17, true), &layout(), None, Some([9; SEED])).expect("a tree");
    let tree = Tree::check(&bytes).expect("a good tree");
    let chosen = tree.node("/chosen").expect("chosen");
    assert_eq!(chosen.string("bootargs"), Some("console=ttyAMA0"));
    assert_eq!(chosen.bytes("linux,initrd-end"), Some(&0x4700_1234_u64.to_be_bytes()[..]));
    assert_eq!(chosen.bytes("rng-seed"), Some(&[9; SEED][..]));
    let hypervisor = tree.node("/hypervisor").expect("hypervisor");
    assert_eq!(hypervisor.strings("compatible").collect::<Vec<_>>(), ["xen,xen-4.20", "xen,xen"]);
    let reg: Vec<_> = hypervisor.ranges().iter().map(|r| (r.base().0, r.size())).collect();
    // The first bank is full, the second has two of its GiB.
    assert_eq!(reg, [(0x3800_0000, 0x100_0000), (0x2_8000_0000, (1 << 39) - 0x2_8000_0000)]);
    let interrupt: Vec<_> = hypervisor.words("interrupts").expect("an interrupt").collect();
    assert_eq!(interrupt, [1, 15, 0xf08]);
    let cpus: Vec<_> = tree.node("/cpus").expect("cpus").children().filter_map(|cpu| cpu.number("reg")).collect();
    assert_eq!((cpus.len(), cpus[15], cpus[16]), (17, 15, 0x100));
    let memory = |at: &str| tree.node(at).and_then(|node| node.ranges().first().copied());
    assert_eq!(memory("/memory@40000000").map(PaRange::size), Some(3 << 30));
    assert_eq!(memory("/memory@200000000").map(PaRange::size), Some(2 << 30));
    let gic = tree.nodes().find(|node| node.is_compatible("arm,gic-v3")).expect("a GIC");
    let frames = gic.ranges();
    assert_eq!((frames[0].base().0, frames[1].base().0), (0x300_1000, 0x302_0000));
    assert_eq!(frames[1].size(), 17 * 0x2_0000);
    let timer = tree.node("/timer").and_then(|node| node.words("interrupts")).expect("a timer");
    assert_eq!(timer.skip(1).step_by(3).collect::<Vec<_>>(), [13, 14, 11]);
    assert_eq!(tree.node("/psci").and_then(|psci| psci.string("method")), Some("hvc"));
    let uart = tree.node("/sbsa-uart@22000000").expect("a UART");
    assert_eq!(uart.words("interrupts").expect("an SPI").collect::<Vec<_>>(), [0, 0, 0xf04]);
}

#[test]
fn a_guest_without_a_uart_is_told_of_none() {
    let bytes = build(&config(1, false), &layout(), None, None).expect("a tree");
    let tree = Tree::check(&bytes).expect("a good tree");
    assert!(tree.node("/sbsa-uart").is_none());
    let chosen = tree.node("/chosen").expect("chosen");
    assert!(!chosen.has("stdout-path") && !chosen.has("rng-seed"));
}

#[test]
fn of_a_partial_tree_only_what_is_meant_for_the_guest_is_copied() {
    let partial = partial();
    let partial = Tree::check(&partial).expect("a good tree");
    let bytes = build(&config(1, true), &layout(), Some(&partial), None).expect("a tree");
    let tree = Tree::check(&bytes).expect("a good tree");
    for (path, phandle) in [("/aliases/device@1", 5), ("/passthrough/device@1", 6)] {
        let node = tree.node(path).expect("copied");
        assert_eq!(node.number("phandle"), Some(phandle), "{path}");
        assert!(node.has("compatible") && !node.has("xen,force-assign-without-iommu"), "{path}");
    }
    assert!(tree.node("/secrets").is_none());
}

#[test]
fn a_partial_tree_says_by_which_phandle_it_knows_the_gic() {
    let mut partial = FdtWriter::new().expect("a writer");
    let write = |tree: &mut FdtWriter| {
        let root = tree.begin_node("")?;
        let gic = tree.begin_node("gic")?;
        tree.property_phandle(1)?;
        tree.end_node(gic)?;
        tree.end_node(root)
    };
    write(&mut partial).expect("written");
    let partial = partial.finish().expect("a tree");
    let partial = Tree::check(&partial).expect("a good tree");
    let bytes = build(&config(1, true), &layout(), Some(&partial), None).expect("a tree");
    let tree = Tree::check(&bytes).expect("a good tree");
    assert_eq!(tree.root().number("interrupt-parent"), Some(1));
    let gic = tree.nodes().find(|node| node.is_compatible("arm,gic-v3")).expect("a GIC");
    assert_eq!(gic.number("phandle"), Some(1));
}

#[test]
fn the_size_is_known_before_the_addresses_are() {
    for vcpus in [1, 128] {
        let config = config(vcpus, true);
        let size = size(&config, 2, None).expect("a size");
        let bytes = build(&config, &layout(), None, Some([1; SEED])).expect("a tree");
        assert!(bytes.len() as u64 <= size, "{} of {size}", bytes.len());
    }
}

#[test]
fn a_partial_tree_that_is_too_deep_or_takes_the_gics_phandle_is_refused() {
    let nested = |depth: usize, phandle: u32| {
        let mut tree = FdtWriter::new().expect("a writer");
        let names = ["", "passthrough"].into_iter().chain((1..depth).map(|_| "n"));
        let mut open: Vec<_> = names.map(|name| tree.begin_node(name).expect("a node")).collect();
        tree.property_phandle(phandle).expect("a property");
        while let Some(node) = open.pop() {
            tree.end_node(node).expect("an end");
        }
        let bytes = tree.finish().expect("a tree");
        build(&config(1, true), &layout(), Some(&Tree::check(&bytes).expect("a good tree")), None).err()
    };
    assert_eq!(nested(MAX_DEPTH, 1), None);
    assert_eq!(nested(MAX_DEPTH + 1, 1), Some(TreeError));
    assert_eq!(nested(1, GIC_PHANDLE), Some(TreeError));
}
