//! What the device tree says of the domain: memory, vCPUs, devices, arguments.

use core::ops::Range;

use arm_gic::IntId;
use fdt::{Fdt, node::FdtNode};
use spin::Once;

use crate::{boot, power, template, time::Timer};

/// Cells of a GIC interrupt: kind, number, flags (binding `arm,gic-v3`).
const INTERRUPT_CELLS: usize = 3;

/// 2^64 divided by the golden ratio: multiplied by it, near numbers come to lie far apart.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The domain that the guest runs in.
#[derive(Clone, Copy)]
pub struct Machine {
    tree: Fdt<'static>,
    tree_address: usize,
    first_instruction: u64,
    displacement: usize,
}

static MACHINE: Once<Machine> = Once::new();

impl Machine {
    pub(crate) fn init(tree_address: usize, first_instruction: u64, displacement: usize) -> Self {
        // SAFETY: the boot protocol puts the device tree there, where memory is mapped; nobody writes to it.
        let Ok(tree) = (unsafe { Fdt::from_ptr(tree_address as *const u8) }) else {
            // Without a tree there is no console to say so.
            power::crash()
        };
        *MACHINE.call_once(|| Self { tree, tree_address, first_instruction, displacement })
    }

    pub(crate) fn get() -> Option<&'static Self> {
        MACHINE.get()
    }

    /// The whole tree, for those who want to know more than is asked here.
    #[must_use]
    pub const fn tree(&self) -> &Fdt<'static> {
        &self.tree
    }

    /// The arguments that the configuration gave the guest, `bootargs`.
    #[must_use]
    pub fn arguments(&self) -> &'static str {
        let bootargs = self.tree.find_node("/chosen").and_then(|node| node.property("bootargs"));
        bootargs.and_then(|property| property.as_str()).unwrap_or("")
    }

    /// The value of the first argument `name=value`.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<&'static str> {
        let value = |argument: &'static str| argument.strip_prefix(name)?.strip_prefix('=');
        self.arguments().split_ascii_whitespace().find_map(value)
    }

    /// The number after `name=`, or `None` if there is none or it is not a decimal number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.argument(name)?.parse().ok()
    }

    /// Bits that are this domain's own and that nobody can guess: from the tree's `rng-seed`, or, where there is none, from the
    /// counter alone.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.random_words().fold(Timer::Physical.count() ^ template::seed().unwrap_or(0), mix)
    }

    /// The same for a key that is not to be guessed: either half of it is from other words.
    #[must_use]
    pub fn key(&self) -> u128 {
        let half = |parity| self.random_words().skip(parity).step_by(2).fold(self.seed(), mix);
        u128::from(half(0)) << 64 | u128::from(half(1))
    }

    fn random_words(&self) -> impl Iterator<Item = u64> {
        let property = self.tree.find_node("/chosen").and_then(|node| node.property("rng-seed"));
        let (words, _) = property.map_or(&[][..], |property| property.value).as_chunks::<8>();
        words.iter().map(|word| u64::from_ne_bytes(*word))
    }

    /// How many vCPUs the domain has.
    #[must_use]
    pub fn vcpus(&self) -> usize {
        self.affinities().count()
    }

    /// Each vCPU's affinity, as in `MPIDR_EL1`, in the order of the tree.
    pub fn affinities(&self) -> impl Iterator<Item = u64> {
        let cpus = self.tree.find_node("/cpus").into_iter().flat_map(FdtNode::children);
        cpus.filter(|node| node.name.starts_with("cpu@")).filter_map(|node| {
            let reg = node.property("reg")?;
            reg.as_usize().map(|affinity| affinity as u64)
        })
    }

    /// The ranges of the domain's memory.
    pub fn memory(&self) -> impl Iterator<Item = Range<usize>> {
        ranges(self.tree.find_node("/memory"))
    }

    /// Bytes of memory that the domain was given.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        self.memory().map(|bank| bank.len()).sum()
    }

    /// The physical counter at the image's first instruction, in ticks since the machine's reset.
    #[must_use]
    pub fn first_instruction(&self) -> u64 {
        self.first_instruction
    }

    /// The ranges at which no memory is free: image, device tree, ramdisk, and the addresses that lead to the image in
    /// place of what is there.
    pub(crate) fn reserved(&self) -> [Range<usize>; 4] {
        let image = self.physical(boot::image_start())..self.physical(boot::image_end());
        let linked = boot::image_start()..boot::image_start() + boot::IMAGE_WINDOW;
        let tree = self.tree_address..self.tree_address + self.tree.total_size();
        let chosen = self.tree.find_node("/chosen");
        let address = |name| chosen?.property(name)?.as_usize();
        let ramdisk = address("linux,initrd-start").zip(address("linux,initrd-end"));
        let ramdisk = ramdisk.map_or(0..0, |(start, end)| start..end);
        [image, if self.displacement == 0 { 0..0 } else { linked }, tree, ramdisk]
    }

    /// The physical address of what this domain sees at `address`: the same, unless it is in an image that lies elsewhere.
    pub(crate) fn address(address: usize) -> usize {
        let linked = boot::image_start()..boot::image_end();
        MACHINE.get().filter(|_| linked.contains(&address)).map_or(address, |machine| machine.physical(address))
    }

    /// The physical address of a linked one.
    pub(crate) fn physical(&self, linked: usize) -> usize {
        linked.wrapping_add(self.displacement)
    }

    /// The register ranges of the first device that is compatible with `name`.
    pub fn device(&self, name: &str) -> impl Iterator<Item = Range<usize>> {
        ranges(self.tree.find_compatible(&[name]))
    }

    /// Addresses at which nothing is, for what is not the domain's own: those that the hypervisor's node names behind the grant
    /// table's.
    pub fn unused(&self) -> impl Iterator<Item = Range<usize>> {
        self.device("xen,xen").skip(1)
    }

    /// The interrupt by which events come, if the domain is told of the hypervisor.
    #[must_use]
    pub fn event_interrupt(&self) -> Option<IntId> {
        interrupt(self.tree.find_compatible(&["xen,xen"])?, 0)
    }

    /// The interrupt of `timer`.
    #[must_use]
    pub fn timer_interrupt(&self, timer: Timer) -> Option<IntId> {
        let node = self.tree.find_compatible(&["arm,armv8-timer"])?;
        // The binding's order: secure physical, physical, virtual.
        let index = match timer {
            Timer::Physical => 1,
            Timer::Virtual => 2,
        };
        interrupt(node, index)
    }
}

/// A device's private interrupt.
fn interrupt(node: FdtNode<'_, 'static>, index: usize) -> Option<IntId> {
    let (cells, _) = node.property("interrupts")?.value.as_chunks::<4>();
    let number = cells.get(index * INTERRUPT_CELLS + 1)?;
    Some(IntId::ppi(u32::from_be_bytes(*number)))
}

fn ranges(node: Option<FdtNode<'_, 'static>>) -> impl Iterator<Item = Range<usize>> {
    node.into_iter().filter_map(FdtNode::reg).flatten().filter_map(|region| {
        let start = region.starting_address as usize;
        Some(start..start.checked_add(region.size?)?)
    })
}

/// Mixes a word into what was mixed before.
const fn mix(mixed: u64, word: u64) -> u64 {
    (mixed ^ word).wrapping_mul(GOLDEN).rotate_left(23)
}
