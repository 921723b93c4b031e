use std::vec::Vec;

use vm_fdt::FdtWriter;

use super::*;
use crate::testing::cells;

/// The tree with these devices: `xen,reg` and `interrupts`.
fn tree(devices: &[(&[u32], &[u32])]) -> Vec<u8> {
    let mut tree = FdtWriter::new().expect("a writer");
    let write = |tree: &mut FdtWriter| {
        let root = tree.begin_node("")?;
        let passthrough = tree.begin_node("passthrough")?;
        tree.property_u32("#address-cells", 2)?;
        tree.property_u32("#size-cells", 1)?;
        for (number, (registers, interrupts)) in devices.iter().enumerate() {
            let node = tree.begin_node(&std::format!("device@{number}"))?;
            tree.property("xen,reg", &cells(registers))?;
            tree.property_array_u32("interrupts", interrupts)?;
            tree.property_null("xen,force-assign-without-iommu")?;
            tree.end_node(node)?;
        }
        tree.end_node(passthrough)?;
        tree.end_node(root)
    };
    write(&mut tree).expect("written");
    tree.finish().expect("a tree")
}

fn read(devices: &[(&[u32], &[u32])]) -> Result<Devices, DeviceError> {
    let bytes = tree(devices);
    Devices::read(&Tree::check(&bytes).expect("a good tree"))
}

#[test]
fn devices_that_share_a_page_get_it_once() {
    let devices = read(&[
        (&[0, 0xa00_0e00, 0x200, 0, 0xa00_0e00], &[0, 23, 1]),
        (&[0, 0xa00_0000, 0x200, 0, 0xa00_0000], &[0, 16, 1]),
        (&[0, 0x900_0000, 0x1000, 0, 0x2300_0000, 0, 0xa00_1000, 0x2000, 0, 0xa00_1000], &[0, 1, 4, 0, 2, 4]),
    ]);
    let expected = [Pages { gfn: 0xa000, mfn: 0xa000, count: 3 }, Pages { gfn: 0x2_3000, mfn: 0x9000, count: 1 }];
    let (interrupts, virtio) = ([33, 34, 48, 55].into(), Vec::new());
    assert_eq!(devices, Ok(Devices { pages: expected.into(), interrupts, virtio }));
}

#[test]
fn a_device_that_cannot_be_given_away_is_refused() {
    let registers = |reg: &[u32]| read(&[(reg, &[])]).expect_err("refused");
    assert_eq!(registers(&[0, 0x1000, 0x1000]), DeviceError::Registers);
    assert_eq!(registers(&[0, 0x1000, 0x1000, 0, 0x1200]), DeviceError::Registers);
    assert_eq!(registers(&[0, 0x1000, 0, 0, 0x1000]), DeviceError::Registers);
    assert_eq!(registers(&[u32::MAX, 0xffff_f000, 0x2000, 0, 0x1000]), DeviceError::Registers);
    assert_eq!(registers(&[0, 0x1000, u32::MAX, 0, 0x1000]), DeviceError::Registers);
    let interrupts = |cells: &[u32]| read(&[(&[], cells)]).expect_err("refused");
    assert_eq!(interrupts(&[0, 1]), DeviceError::Interrupts);
    assert_eq!(interrupts(&[1, 1, 4]), DeviceError::Interrupts);
    assert_eq!(interrupts(&[0, 988, 4]), DeviceError::Interrupts);
}

#[test]
fn a_tree_without_devices_has_none() {
    assert_eq!(read(&[]), Ok(Devices::default()));
}
