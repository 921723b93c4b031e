use super::*;
use crate::addr::Pa;
use crate::testing::machine_tree;
use crate::tree;

#[test]
fn everything_that_is_needed_is_found() {
    let bytes = machine_tree(&[]);
    let tree = tree::check(&bytes).expect("good");
    let machine = Machine::read(tree).expect("complete");
    assert_eq!(machine.ram.iter().map(|bank| bank.size()).sum::<u64>(), 0x8000_0000);
    assert_eq!(machine.cpus, [0, 1]);
    assert_eq!(machine.gic.distributor.base().0, 0x800_0000);
    assert_eq!(machine.gic.redistributors.len(), 1);
    assert_eq!(machine.gic.maintenance, 25);
    assert_eq!((machine.virtual_timer, machine.hypervisor_timer), (27, 26));
    let console = console(tree).expect("a console");
    assert_eq!((console.registers.base().0, console.intid), (0x900_0000, Some(33)));
}

#[test]
fn memory_and_what_el2_uses_is_no_device() {
    let bytes = machine_tree(&[]);
    let tree = tree::check(&bytes).expect("good");
    let kept = Machine::read(tree).expect("complete").kept(console(tree));
    let is_kept = |base| kept.iter().any(|kept| kept.overlaps(PaRange::new(Pa(base), 0x1000).expect("a page")));
    for base in [0x4000_0000, 0xbfff_f000, 0x800_0000, 0x808_0000, 0x80a_0000, 0x8ff_f000, 0x900_0000] {
        assert!(is_kept(base), "{base:#x}");
    }
    assert!(!is_kept(0xa00_0000) && !is_kept(0xa00_3000) && !is_kept(0x801_0000) && !is_kept(0x901_0000));
}

#[test]
fn what_is_missing_is_named() {
    let good = machine_tree(&[]);
    for (node, missing) in [
        ("memory@40000000", Unusable::Memory),
        ("arm,psci-1.0", Unusable::Psci),
        ("arm,gic-v3", Unusable::Gic),
        ("arm,armv8-timer", Unusable::Timer),
        ("smc", Unusable::Psci),
    ] {
        // Under another name it is another thing. A memory node is known by its type.
        let needle = if missing == Unusable::Memory { "memory\0" } else { node };
        let mut bytes = good.clone();
        let at = bytes.windows(needle.len()).position(|part| part == needle.as_bytes());
        bytes[at.expect("it is there")] = b'x';
        let tree = tree::check(&bytes).expect("as good as before");
        assert_eq!(Machine::read(tree).err(), Some(missing), "{node}");
    }
}
