//! What several modules' tests share: a machine's device tree to start from, and cheap random numbers.

use core::sync::atomic::{AtomicU32, AtomicU64};
use std::string::String;
use std::vec::Vec;

use vm_fdt::FdtWriter;

use crate::events::Page;

/// A domain's node, good in every respect.
#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    /// Cells of properties; what is not four bytes long can be put here too.
    pub properties: Vec<(&'static str, Vec<u8>)>,
    /// Modules: compatible, and reg.
    pub modules: Vec<(&'static str, Vec<u8>)>,
}

/// Big-endian, as cells are.
pub fn cells(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// A module's `reg` in RAM, somewhere else for each number.
pub fn place(number: u32) -> Vec<u8> {
    cells(&[0, 0x5000_0000 + number * 0x10_0000, 0, 0x8000])
}

impl Node {
    pub fn good(name: &str) -> Self {
        Self {
            name: name.into(),
            properties: [("cpus", cells(&[2])), ("memory", cells(&[0, 0x400]))].into(),
            modules: [("multiboot,kernel", place(0))].into(),
        }
    }

    pub fn set(mut self, name: &'static str, value: Vec<u8>) -> Self {
        self.properties.retain(|(known, _)| *known != name);
        self.properties.push((name, value));
        self
    }

    pub fn module(mut self, kind: &'static str, reg: Vec<u8>) -> Self {
        self.modules.push((kind, reg));
        self
    }

    fn write(&self, tree: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        let node = tree.begin_node(&self.name)?;
        tree.property_string("compatible", "xen,domain")?;
        tree.property_u32("#address-cells", 2)?;
        tree.property_u32("#size-cells", 2)?;
        for (name, value) in &self.properties {
            tree.property(name, value)?;
        }
        for (number, (kind, reg)) in self.modules.iter().enumerate() {
            let module = tree.begin_node(&std::format!("module@{number}"))?;
            let compatible = [(*kind).into(), "multiboot,module".into()].into();
            tree.property_string_list("compatible", compatible)?;
            tree.property_string("bootargs", "console=ttyAMA0")?;
            tree.property("reg", reg)?;
            tree.end_node(module)?;
        }
        tree.end_node(node)
    }
}

/// The tree of a machine like QEMU's, with these domains.
pub fn machine_tree(domains: &[Node]) -> Vec<u8> {
    write(domains).expect("a tree that can be written")
}

fn write(domains: &[Node]) -> Result<Vec<u8>, vm_fdt::Error> {
    let mut tree = FdtWriter::new()?;
    let root = tree.begin_node("")?;
    tree.property_u32("#address-cells", 2)?;
    tree.property_u32("#size-cells", 2)?;
    let node = tree.begin_node("memory@40000000")?;
    tree.property_string("device_type", "memory")?;
    tree.property_array_u64("reg", &[0x4000_0000, 0x8000_0000])?;
    tree.end_node(node)?;
    let node = tree.begin_node("cpus")?;
    tree.property_u32("#address-cells", 1)?;
    tree.property_u32("#size-cells", 0)?;
    for cpu in 0..2 {
        let node = tree.begin_node(&std::format!("cpu@{cpu}"))?;
        tree.property_string("device_type", "cpu")?;
        tree.property_u32("reg", cpu)?;
        tree.end_node(node)?;
    }
    tree.end_node(node)?;
    let node = tree.begin_node("psci")?;
    tree.property_string_list("compatible", ["arm,psci-1.0".into(), "arm,psci".into()].into())?;
    tree.property_string("method", "smc")?;
    tree.end_node(node)?;
    let node = tree.begin_node("intc@8000000")?;
    tree.property_string("compatible", "arm,gic-v3")?;
    tree.property_array_u64("reg", &[0x800_0000, 0x1_0000, 0x80a_0000, 0xf6_0000])?;
    tree.property_array_u32("interrupts", &[1, 9, 4])?;
    tree.property_u32("#address-cells", 2)?;
    tree.property_u32("#size-cells", 2)?;
    let its = tree.begin_node("its@8080000")?;
    tree.property_array_u64("reg", &[0x808_0000, 0x2_0000])?;
    tree.end_node(its)?;
    tree.end_node(node)?;
    let node = tree.begin_node("timer")?;
    tree.property_string("compatible", "arm,armv8-timer")?;
    let ppis = [13, 14, 11, 10].map(|ppi| [1, ppi, 0x104]);
    tree.property_array_u32("interrupts", ppis.as_flattened())?;
    tree.end_node(node)?;
    let node = tree.begin_node("pl011@9000000")?;
    tree.property_string_list("compatible", ["arm,pl011".into(), "arm,primecell".into()].into())?;
    tree.property_array_u64("reg", &[0x900_0000, 0x1000])?;
    tree.property_array_u32("interrupts", &[0, 1, 4])?;
    tree.end_node(node)?;
    let node = tree.begin_node("chosen")?;
    tree.property_u32("#address-cells", 2)?;
    tree.property_u32("#size-cells", 2)?;
    tree.property_string("stdout-path", "/pl011@9000000")?;
    tree.property("rng-seed", &[7; 32])?;
    for domain in domains {
        domain.write(&mut tree)?;
    }
    tree.end_node(node)?;
    tree.end_node(root)?;
    tree.finish()
}

/// Random numbers that are the same in every run (Marsaglia's xorshift64).
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`.
    pub const fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// A page that a guest has as well. Words and doubles are apart, so a place is to be used as one or the other.
#[derive(Clone)]
pub struct Shared(std::rc::Rc<(Vec<AtomicU32>, Vec<AtomicU64>)>);

impl Shared {
    /// Zeroes.
    pub fn new() -> Self {
        let words = (0..1024).map(|_| AtomicU32::new(0)).collect();
        Self(std::rc::Rc::new((words, (0..512).map(|_| AtomicU64::new(0)).collect())))
    }

    /// How many hold the page.
    pub fn holders(&self) -> usize {
        std::rc::Rc::strong_count(&self.0)
    }
}

impl Page for Shared {
    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4), "{offset}");
        &self.0.0[offset / 4]
    }

    fn double(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8), "{offset}");
        &self.0.1[offset / 8]
    }
}
