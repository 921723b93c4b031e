use super::*;
use crate::testing::machine_tree;

#[test]
fn everything_that_is_needed_is_found() {
    let bytes = machine_tree(&[]);
    let tree = Tree::check(&bytes).expect("good");
    let machine = Machine::read(&tree).expect("complete");
    assert_eq!(machine.ram.iter().map(|bank| bank.size()).sum::<u64>(), 0x8000_0000);
    assert_eq!(machine.cpus, [0, 1]);
    assert_eq!(machine.conduit, Conduit::Smc);
    assert_eq!(machine.gic.distributor.base().0, 0x800_0000);
    assert_eq!(machine.gic.redistributors.len(), 1);
    assert_eq!(machine.gic.maintenance, 25);
    assert_eq!(machine.timers, Timers { virtual_timer: 27, hypervisor: 26 });
    let console = console(&tree).expect("a console");
    assert_eq!((console.registers.base().0, console.intid), (0x900_0000, Some(33)));
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
        let tree = Tree::check(&bytes).expect("as good as before");
        assert_eq!(Machine::read(&tree).err(), Some(missing), "{node}");
    }
}
