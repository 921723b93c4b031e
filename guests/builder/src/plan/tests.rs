use std::string::ToString;
use std::vec::Vec;

use vm_fdt::FdtWriter;

use super::*;
use crate::testing::{cells, definition};

/// An arm64 Image of so many bytes.
fn image(size: usize) -> Vec<u8> {
    let mut bytes = std::vec![0xaa; size];
    bytes[..64].fill(0);
    bytes[16..24].copy_from_slice(&(size as u64).to_le_bytes());
    bytes[56..60].copy_from_slice(b"ARM\x64");
    bytes
}

fn driver_tree(force: bool) -> Vec<u8> {
    let mut tree = FdtWriter::new().expect("a writer");
    let write = |tree: &mut FdtWriter| {
        let root = tree.begin_node("")?;
        let passthrough = tree.begin_node("passthrough")?;
        tree.property_u32("#address-cells", 2)?;
        tree.property_u32("#size-cells", 2)?;
        let device = tree.begin_node("virtio@a003e00")?;
        tree.property("xen,reg", &cells(&[0, 0xa00_3e00, 0, 0x200, 0, 0xa00_3e00]))?;
        tree.property_array_u32("interrupts", &[0, 47, 1])?;
        if force {
            tree.property_null("xen,force-assign-without-iommu")?;
        }
        tree.end_node(device)?;
        tree.end_node(passthrough)?;
        tree.end_node(root)
    };
    write(&mut tree).expect("written");
    tree.finish().expect("a tree")
}

#[test]
fn everything_has_its_place() {
    let (kernel, ramdisk) = (image(0x3000), [1, 2, 3]);
    let definition = definition();
    let images = Images { kernel: &kernel, ramdisk: Some(&ramdisk), device_tree: None };
    let plan = Plan::new(&definition, images).expect("a plan");
    let contents = plan.place(plan.banks().expect("banks"), Some([5; SEED])).expect("room");
    let [code, disk, tree] = &contents.pieces[..] else { panic!("three pieces") };
    assert_eq!((code.0, code.1.len(), contents.entry), (Ipa(0x4000_0000), 0x3000, Ipa(0x4000_0000)));
    assert_eq!(disk.1, &ramdisk[..]);
    assert_eq!(tree.0, contents.tree);
    let tree = Tree::check(&tree.1).expect("a good tree");
    let start = tree.node("/chosen").and_then(|chosen| chosen.bytes("linux,initrd-start"));
    assert_eq!(start, Some(&disk.0.0.to_be_bytes()[..]));
}

#[test]
fn memory_where_the_machine_has_it_is_what_the_tree_says() {
    let kernel = image(0x3000);
    let definition = Definition { driver: true, direct_map: true, ..definition() };
    let plan = Plan::new(&definition, Images { kernel: &kernel, ramdisk: None, device_tree: None }).expect("a plan");
    let banks: Vec<_> = (0..5).map(|n| IpaRange { base: Ipa(0x6000_0000 + n * 0x40_0000), size: 0x20_0000 }).collect();
    let contents = plan.place(banks.clone(), None).expect("room");
    let tree = Tree::check(&contents.pieces[1].1).expect("a good tree");
    for bank in banks {
        assert!(tree.node(&std::format!("/memory@{:x}", bank.base.0)).is_some());
    }
    assert_eq!(contents.entry, Ipa(0x6000_0000));
}

#[test]
fn only_a_driver_domain_gets_devices_and_only_with_the_owner_s_word() {
    let kernel = image(0x3000);
    let plan = |driver, tree: &[u8]| {
        let definition = Definition { driver, ..definition() };
        let plan = Plan::new(&definition, Images { kernel: &kernel, ramdisk: None, device_tree: Some(tree) });
        plan.map(|plan| plan.devices().clone()).map_err(|error| error.to_string())
    };
    let devices = plan(true, &driver_tree(true)).expect("devices");
    assert_eq!(devices.interrupts, [79]);
    assert_eq!(devices.pages.len(), 1);
    assert!(plan(false, &driver_tree(true)).is_err_and(|error| error.contains("mote,driver")));
    assert!(plan(true, &driver_tree(false)).is_err_and(|error| error.contains("IOMMU")));
    assert!(plan(true, b"no tree").is_err_and(|error| error.contains("malformed")));
}
