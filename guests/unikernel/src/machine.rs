//! What the device tree says of the domain: memory, vCPUs, devices, arguments.

use core::ffi::CStr;
use core::ops::Range;

use arm_gic::IntId;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use spin::Once;

use crate::{boot, power, template, time::Timer};

/// Cells of a GIC interrupt: kind, number, flags (binding `arm,gic-v3`).
const INTERRUPT_CELLS: usize = 3;

/// How a device tree begins.
const MAGIC: u32 = 0xd00d_feed;

/// 2^64 divided by the golden ratio: multiplied by it, near numbers come to lie far apart.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The domain that the guest runs in.
#[derive(Clone, Copy)]
pub struct Machine {
    tree: Fdt<'static>,
    first_instruction: u64,
    displacement: usize,
}

static MACHINE: Once<Machine> = Once::new();

impl Machine {
    pub(crate) fn init(tree_address: usize, first_instruction: u64, displacement: usize) -> Self {
        let tree = tree_address as *const u32;
        // SAFETY: memory is mapped there: the boot protocol puts the device tree there.
        if unsafe { tree.read() } != MAGIC.to_be() {
            // Without a tree there is no console to say so.
            power::crash()
        }
        // SAFETY: the boot protocol again, and nobody writes to it. Who made it made the domain and is trusted to do it well.
        let tree = unsafe { Fdt::from_raw_unchecked(tree.cast()) };
        *MACHINE.call_once(|| Self { tree, first_instruction, displacement })
    }

    pub(crate) fn get() -> Option<&'static Self> {
        MACHINE.get()
    }

    /// The whole tree, for those who want to know more than is asked here.
    #[must_use]
    pub const fn tree(&self) -> &Fdt<'static> {
        &self.tree
    }

    /// What the tree says by `name` of the domain as a whole, in `/chosen`.
    #[must_use]
    pub fn chosen(&self, name: &str) -> Option<&'static [u8]> {
        value(self.child("chosen")?, name)
    }

    /// The arguments that the configuration gave the guest, `bootargs`.
    #[must_use]
    pub fn arguments(&self) -> &'static str {
        let arguments = self.chosen("bootargs").and_then(|bytes| CStr::from_bytes_until_nul(bytes).ok());
        arguments.and_then(|arguments| arguments.to_str().ok()).unwrap_or("")
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
        let (words, _) = self.chosen("rng-seed").unwrap_or(&[]).as_chunks::<8>();
        words.iter().map(|word| u64::from_ne_bytes(*word))
    }

    /// How many vCPUs the domain has.
    #[must_use]
    pub fn vcpus(&self) -> usize {
        self.affinities().count()
    }

    /// Each vCPU's affinity, as in `MPIDR_EL1`, in the order of the tree.
    pub fn affinities(&self) -> impl Iterator<Item = u64> {
        let cpus = self.child("cpus").into_iter().flat_map(|cpus| cpus.children());
        cpus.filter(|node| node.name().starts_with("cpu@")).filter_map(|node| number(value(node, "reg")?))
    }

    /// The ranges of the domain's memory.
    pub fn memory(&self) -> impl Iterator<Item = Range<usize>> {
        ranges(self.child("memory"))
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
        let tree = self.tree.data().as_ptr_range();
        let tree = tree.start as usize..tree.end as usize;
        let address = |name| number(self.chosen(name)?).map(|address| address as usize);
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

    /// The register ranges of the first of the hypervisor's devices that is compatible with `name`.
    pub fn device(&self, name: &str) -> impl Iterator<Item = Range<usize>> {
        ranges(self.compatible(name))
    }

    /// Addresses at which nothing is, for what is not the domain's own: those that the hypervisor's node names behind the grant
    /// table's.
    pub fn unused(&self) -> impl Iterator<Item = Range<usize>> {
        self.device("xen,xen").skip(1)
    }

    /// The interrupt by which events come, if the domain is told of the hypervisor.
    #[must_use]
    pub fn event_interrupt(&self) -> Option<IntId> {
        interrupt(self.compatible("xen,xen")?, 0)
    }

    /// The interrupt of `timer`.
    #[must_use]
    pub fn timer_interrupt(&self, timer: Timer) -> Option<IntId> {
        let node = self.compatible("arm,armv8-timer")?;
        // The binding's order: secure physical, physical, virtual.
        let index = match timer {
            Timer::Physical => 1,
            Timer::Virtual => 2,
        };
        interrupt(node, index)
    }

    // The root's, whose unit address is left out. A path is not asked for: that is more code.
    fn child(&self, name: &str) -> Option<FdtNode<'static>> {
        let is_it = |rest: &str| rest.is_empty() || rest.starts_with('@');
        self.tree.root().children().find(|node| node.name().strip_prefix(name).is_some_and(is_it))
    }

    // What the hypervisor itself gives a domain are children of the root.
    fn compatible(&self, name: &str) -> Option<FdtNode<'static>> {
        self.tree.root().children().find(|node| is_compatible(*node, name))
    }
}

/// A device's private interrupt.
fn interrupt(node: FdtNode<'static>, index: usize) -> Option<IntId> {
    interrupt_number(node, index).map(IntId::ppi)
}

/// The number of a device's interrupt among those of its kind.
pub(crate) fn interrupt_number(node: FdtNode<'static>, index: usize) -> Option<u32> {
    let (cells, _) = value(node, "interrupts")?.as_chunks::<4>();
    cells.get(index * INTERRUPT_CELLS + 1).map(|number| u32::from_be_bytes(*number))
}

/// Whether one of the names that the node is compatible with is this.
pub(crate) fn is_compatible(node: FdtNode<'static>, name: &str) -> bool {
    value(node, "compatible").is_some_and(|names| names.split(|byte| *byte == 0).any(|other| other == name.as_bytes()))
}

/// The ranges of addresses of the node's registers or memory.
pub(crate) fn ranges(node: Option<FdtNode<'static>>) -> impl Iterator<Item = Range<usize>> {
    node.into_iter().filter_map(|node| node.reg().ok()?).flatten().filter_map(|region| {
        let start: u64 = region.address().ok()?;
        let end = start.checked_add(region.size().ok()?)?;
        Some(start as usize..end as usize)
    })
}

/// The value of a node's property.
#[inline(never)]
pub(crate) fn value(node: FdtNode<'static>, name: &str) -> Option<&'static [u8]> {
    node.property(name)?.value_as().ok()
}

/// The number of one or two cells.
fn number(value: &[u8]) -> Option<u64> {
    let number = value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    matches!(value.len(), 4 | 8).then_some(number)
}

/// Mixes a word into what was mixed before.
const fn mix(mixed: u64, word: u64) -> u64 {
    (mixed ^ word).wrapping_mul(GOLDEN).rotate_left(23)
}
