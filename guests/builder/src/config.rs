//! The domains that a device tree asks for: the `xen,domain` nodes below `/chosen`, in Xen's dom0less binding with Mote's additions
//! (`dtb/README.md`).

mod devices;
mod saved;

use alloc::string::String;
use alloc::vec::Vec;

use mote_protocols::service::Terms;
use thiserror::Error;
use xen_abi::arch_arm::MAX_VCPUS;

use crate::addr::{BLOCK_SIZE, PAGE_SIZE, PaRange};
use crate::tree::{Node, Tree};

pub use devices::{Vbd, Vif, is_host, serial, vdev_number};

/// Most domains that a configuration can ask for.
pub const MAX_DOMAINS: usize = 1024;
/// Least memory of a domain, in bytes.
pub const MIN_MEMORY: u64 = 64 << 10;
/// The last port of an event channel that a configuration can name, and the last that a domain has if it is no driver domain.
pub const MAX_PORT: u32 = 1023;
/// Frames of a domain's own grants, as on Xen (`opt_max_grant_frames`), and of its mappings of others': fewer than on Xen, where
/// a domain that maps without end takes 16 MiB of the hypervisor's memory.
const GRANT_FRAMES: u32 = 64;
const MAPTRACK_FRAMES: u32 = 8;
const MAX_MAPTRACK_FRAMES: u32 = 1024;
/// A driver domain maps what all others grant, as many as it has memory for: frames of mappings for each MiB, 256 in each, two for each
/// domain with which it shares an event channel, and all that all domains that there can be have need of.
const DRIVER_MAPTRACK_FRAMES_PER_MIB: u64 = 8;
const DRIVER_MAPTRACK_FRAMES: [u64; 2] = [64, 256];
const MAPPINGS_PER_PORT: u32 = 2;
const MAPPINGS_PER_FRAME: u32 = 256;
/// A vCPU's weight in the scheduler unless said, and the greatest: as credit2's.
pub const DEFAULT_WEIGHT: u32 = 256;
const MAX_WEIGHT: u32 = 65_535;
/// What the control domain is called.
pub const CONTROL: &str = "control";
/// Longest name, and the characters besides letters and digits that are in some (Devicetree Specification 2.2.1).
const MAX_NAME: usize = 31;
const NAME_PUNCTUATION: &str = ",._+-";
/// Longest text that shows that a domain is ready.
const MAX_READY: usize = 127;

/// What a domain is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name: the node's.
    pub name: String,
    /// Its memory in bytes, whole pages.
    pub memory: u64,
    /// Its vCPUs, 1 to 128.
    pub vcpus: u32,
    /// Its vCPUs' weight in the scheduler.
    pub weight: u32,
    /// Whether it has a UART.
    pub vpl011: bool,
    /// Whether it is told of the hypervisor, and has a console ring.
    pub enhanced: bool,
    /// Whether it has xenstore as well.
    pub xenstore: bool,
    /// Whether it gets devices, and may be joined with everybody.
    pub driver: bool,
    /// Whether its memory is where the machine has it.
    pub direct_map: bool,
    /// Whether all it had is free as soon as it ends, and nobody is told of its end.
    pub ephemeral: bool,
    /// Names of the domains that it may share events and grants with.
    pub peers: Vec<String>,
    /// Event channels that are there before it runs.
    pub channels: Vec<StaticChannel>,
    /// Its network interfaces.
    pub vifs: Vec<Vif>,
    /// Its disks.
    pub vbds: Vec<Vbd>,
    /// Frames of grants that it may make.
    pub max_grant_frames: u32,
    /// Frames of others' grants that it may have mapped.
    pub max_maptrack_frames: u32,
    /// Its kernel.
    pub kernel: PaRange,
    /// The kernel's command line.
    pub bootargs: Option<String>,
    /// Its initial RAM disk.
    pub ramdisk: Option<PaRange>,
    /// A partial device tree to merge into its own.
    pub device_tree: Option<PaRange>,
    /// What on its console shows that it is ready; unless said, its first line.
    pub ready: Option<String>,
    /// Whether its memory is mapped page by page, so that exactly the pages that it touches are counted.
    pub track_touched: bool,
}

/// Says where a module is, by its node and its kind.
pub trait Locate: Fn(Node<'_>, &'static str) -> Result<PaRange, ConfigError> {}

impl<F: Fn(Node<'_>, &'static str) -> Result<PaRange, ConfigError>> Locate for F {}

impl Definition {
    /// One vCPU, `memory` bytes, and nothing besides.
    #[must_use]
    pub fn bare(name: &str, memory: u64, kernel: PaRange) -> Self {
        Self {
            name: name.into(),
            memory,
            vcpus: 1,
            weight: DEFAULT_WEIGHT,
            vpl011: false,
            enhanced: false,
            xenstore: false,
            driver: false,
            direct_map: false,
            ephemeral: false,
            peers: Vec::new(),
            channels: Vec::new(),
            vifs: Vec::new(),
            vbds: Vec::new(),
            max_grant_frames: GRANT_FRAMES,
            max_maptrack_frames: MAPTRACK_FRAMES,
            kernel,
            bootargs: None,
            ramdisk: None,
            device_tree: None,
            ready: None,
            track_touched: false,
        }
    }

    /// Where the bytes are that it is built from.
    pub fn modules(&self) -> impl Iterator<Item = PaRange> + use<> {
        [Some(self.kernel), self.ramdisk, self.device_tree].into_iter().flatten()
    }

    /// Whether it is to become a template, the clones of which serve who connects to its address.
    pub fn is_service(&self) -> bool {
        self.vifs.iter().any(|vif| vif.service.is_some())
    }

    /// How machines that boot serve who connects to its address, if that is what it is for: then it never runs itself.
    pub fn booted(&self) -> Option<&Terms> {
        self.vifs.iter().filter_map(|vif| vif.service.as_ref()).find(|terms| terms.boots)
    }

    /// Bytes of the images that are loaded as they are.
    pub fn image_bytes(&self) -> u64 {
        self.kernel.size() + self.ramdisk.map_or(0, PaRange::size)
    }

    /// Whether the two may share events and grants: one names the other, or is for everybody.
    pub fn is_joined_with(&self, other: &Self) -> bool {
        self.driver || other.driver || self.peers.contains(&other.name) || other.peers.contains(&self.name)
    }
}

/// One end of an event channel that the configuration asks for (`xen,evtchn-v1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticChannel {
    /// The port.
    pub port: u32,
    /// By this number its other end names it.
    pub phandle: u32,
    /// The other end's number.
    pub peer: u32,
}

/// What the configuration asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The domains to build, in the tree's order. The first has the number 1.
    pub domains: Vec<Definition>,
    /// Those that cannot be built: name, and why.
    pub refused: Vec<(String, ConfigError)>,
    /// Whether somebody sits at the console: the first domain is in focus.
    pub interactive: bool,
}

/// Why a domain's node cannot be built from. Each names the property or module it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The name is too long or has characters that names do not have.
    #[error("its name is not one to {MAX_NAME} of a-z, A-Z, 0-9 and {NAME_PUNCTUATION}")]
    Name,
    /// Another domain has this name.
    #[error("another domain has the same name")]
    Duplicate,
    /// There are too many domains.
    #[error("there are more than {MAX_DOMAINS} domains")]
    TooMany,
    /// A property that there must be is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A property has another form than its binding says.
    #[error("{0} does not have the form its binding asks for")]
    Malformed(&'static str),
    /// A property asks for what Mote does not do.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// A property means nothing without another.
    #[error("{0} is only for a domain with {1}")]
    Needs(&'static str, &'static str),
    /// Two properties that contradict each other.
    #[error("{0} is not for a domain with {1}")]
    Contradiction(&'static str, &'static str),
    /// Less memory than a domain must have, or more than a number can say.
    #[error("memory is less than {} KiB or more than a domain can have", MIN_MEMORY >> 10)]
    Memory,
    /// Memory where the machine has it comes in blocks.
    #[error("memory is not a whole number of {} KiB, in which direct-map gives it", BLOCK_SIZE >> 10)]
    Blocks,
    /// A number is not between these two.
    #[error("{0} is not {1} to {2}")]
    Range(&'static str, u32, u32),
    /// A module has no `reg`, or one that cannot be read.
    #[error("the {0} module has no reg that can be read")]
    ModuleAddress(&'static str),
    /// A module is not in RAM, or in memory that is EL2's own.
    #[error("the {0} module does not lie in free RAM")]
    ModulePlace(&'static str),
    /// There are two modules of a kind.
    #[error("there are two {0} modules")]
    TwoModules(&'static str),
    /// There are two disks of a name.
    #[error("there are two disks with one mote,vdev")]
    TwoDisks,
}

impl Configuration {
    /// Reads the tree; `is_free` says whether memory is RAM that modules can be in.
    pub fn read(tree: &Tree<'_>, is_free: impl Fn(PaRange) -> bool) -> Self {
        let mut configuration = Self::default();
        let Some(chosen) = tree.node("/chosen") else { return configuration };
        configuration.interactive = chosen.has("mote,interactive");
        let is_domain = |node: &Node<'_>| node.is_compatible("xen,domain") && !node.has("mote,control");
        for node in chosen.children().filter(is_domain) {
            match configuration.domain(node, &is_free) {
                Ok(domain) => configuration.domains.push(domain),
                Err(error) => configuration.refused.push((node.name().into(), error)),
            }
        }
        configuration
    }

    /// The event channels whose two ends name each other, each once: of both ends the domain's index and the port.
    pub fn connections(&self) -> impl Iterator<Item = [(usize, u32); 2]> {
        connections(self.domains.iter().enumerate())
    }

    fn domain(&self, node: Node<'_>, is_free: &impl Fn(PaRange) -> bool) -> Result<Definition, ConfigError> {
        let is_taken = |domain: &Definition| domain.name == node.name();
        if node.name() == CONTROL || self.domains.iter().any(is_taken) {
            return Err(ConfigError::Duplicate);
        }
        if self.domains.len() + self.refused.len() >= MAX_DOMAINS {
            return Err(ConfigError::TooMany);
        }
        Definition::read(node, is_free)
    }
}

impl Definition {
    /// Reads a domain's node; `is_free` says whether memory is RAM that modules can be in.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(node: Node<'_>, is_free: &impl Fn(PaRange) -> bool) -> Result<Self, ConfigError> {
        Self::read_with(node, &|module, kind| place(module, kind, is_free))
    }

    /// Reads a domain's node; `locate` says where a module is, by its node and its kind.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read_with(node: Node<'_>, locate: &impl Locate) -> Result<Self, ConfigError> {
        let name = node.name();
        if !is_name(name) {
            return Err(ConfigError::Name);
        }
        refuse_unsupported(node)?;
        let place = |kind| module(node, kind, locate).map(|module| module.map(|(_, range)| range));
        let (kernel, place_of_kernel) =
            module(node, "kernel", locate)?.ok_or(ConfigError::Missing("the kernel module"))?;
        let driver = node.has("mote,driver");
        let memory = memory(node)?;
        let [least, most] = DRIVER_MAPTRACK_FRAMES;
        let of_driver = ((memory >> 20) * DRIVER_MAPTRACK_FRAMES_PER_MIB).clamp(least, most) as u32;
        let maptrack_frames = if driver { of_driver } else { MAPTRACK_FRAMES };
        let (enhanced, xenstore) = enhanced(node)?;
        let (vifs, vbds) = (devices::vifs(node)?, devices::vbds(node)?);
        let has_devices = !vifs.is_empty() || !vbds.is_empty();
        if has_devices && !xenstore {
            return Err(ConfigError::Needs("mote,vif or mote,vbd", "xen,enhanced"));
        }
        let definition = Self {
            name: name.into(),
            memory,
            vcpus: number(node, "cpus", 1, 1, MAX_VCPUS)?,
            weight: number(node, "mote,weight", DEFAULT_WEIGHT, 1, MAX_WEIGHT)?,
            vpl011: node.has("vpl011"),
            enhanced,
            xenstore,
            driver,
            direct_map: node.has("direct-map"),
            ephemeral: node.has("mote,ephemeral"),
            peers: peers(node)?,
            channels: channels(node)?,
            vifs,
            vbds,
            max_grant_frames: number(node, "max_grant_frames", GRANT_FRAMES, 1, GRANT_FRAMES)?,
            max_maptrack_frames: number(node, "max_maptrack_frames", maptrack_frames, 0, MAX_MAPTRACK_FRAMES)?,
            kernel: place_of_kernel,
            bootargs: kernel.string("bootargs").map(String::from),
            ramdisk: place("ramdisk")?,
            device_tree: place("device-tree")?,
            ready: text(node, "mote,ready", |text| (1..=MAX_READY).contains(&text.len()))?.map(String::from),
            track_touched: node.has("mote,track-touched"),
        };
        definition.refuse_contradictions()?;
        Ok(definition)
    }

    /// Its last port: a driver domain has one more for each two mappings.
    #[must_use]
    pub const fn max_port(&self) -> u32 {
        let mappings = self.max_maptrack_frames * MAPPINGS_PER_FRAME;
        if self.driver { MAX_PORT + mappings / MAPPINGS_PER_PORT } else { MAX_PORT }
    }

    /// What comes back does not vanish; and what clones cannot have, a template has not either.
    fn refuse_contradictions(&self) -> Result<(), ConfigError> {
        let service = [
            ("several cpus", self.vcpus > 1 && self.booted().is_none()),
            ("mote,vbd", !self.vbds.is_empty()),
            ("a second mote,vif", self.vifs.len() > 1),
            ("mote,driver", self.driver),
        ];
        if let Some((other, _)) = service.into_iter().find(|(_, has)| *has && self.is_service()) {
            return Err(ConfigError::Contradiction("mote,service", other));
        }
        if self.ephemeral && self.driver {
            return Err(ConfigError::Contradiction("mote,ephemeral", "mote,driver"));
        }
        Ok(())
    }
}

/// Whether a domain may be called so: as nodes are, without a unit address.
pub fn is_name(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || NAME_PUNCTUATION.as_bytes().contains(&c);
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(fits)
}

/// Properties that would make another machine of the domain than the one it gets.
fn refuse_unsupported(node: Node<'_>) -> Result<(), ConfigError> {
    const UNSUPPORTED: [&str; 5] = ["xen,static-mem", "xen,static-heap", "llc-colors", "sve", "domain-cpupool"];
    /// Without an IOMMU who has a device has the machine.
    const DRIVERS: [&str; 2] = ["direct-map", "xen,passthrough"];
    let mut properties = UNSUPPORTED.into_iter().filter(|property| node.has(property));
    let mut drivers = DRIVERS.into_iter().filter(|property| node.has(property) && !node.has("mote,driver"));
    match (properties.next(), drivers.next()) {
        (Some(property), _) => Err(ConfigError::Unsupported(property)),
        (None, Some(property)) => Err(ConfigError::Needs(property, "mote,driver")),
        (None, None) => Ok(()),
    }
}

/// `xen,enhanced`: no value or "enabled", "no-xenstore", "disabled". The answer is whether the domain is told of the hypervisor, and
/// whether it has xenstore.
fn enhanced(node: Node<'_>) -> Result<(bool, bool), ConfigError> {
    match node.string("xen,enhanced") {
        None if !node.has("xen,enhanced") => Ok((false, false)),
        None | Some("" | "enabled") => Ok((true, true)),
        Some("no-xenstore") => Ok((true, false)),
        Some("disabled") => Ok((false, false)),
        Some("legacy") => Err(ConfigError::Unsupported("xen,enhanced = \"legacy\"")),
        Some(_) => Err(ConfigError::Malformed("xen,enhanced")),
    }
}

/// `mote,peers`: names of other domains.
fn peers(node: Node<'_>) -> Result<Vec<String>, ConfigError> {
    let named = |name| {
        if is_name(name) { Ok(name.into()) } else { Err(ConfigError::Malformed("mote,peers")) }
    };
    node.strings("mote,peers").map(named).collect()
}

/// The event channels of these domains whose two ends name each other, each once: of both ends the domain and the port.
pub fn connections<'a, I: Copy + 'a>(
    domains: impl Iterator<Item = (I, &'a Definition)> + Clone + 'a,
) -> impl Iterator<Item = [(I, u32); 2]> {
    let ends = domains.flat_map(|(domain, definition)| definition.channels.iter().map(move |end| (domain, end)));
    ends.clone().enumerate().filter_map(move |(number, (domain, end))| {
        let mut others = ends.clone().skip(number + 1);
        let other = others.find(|(_, other)| other.phandle == end.peer && other.peer == end.phandle);
        other.map(|(of_other, other)| [(domain, end.port), (of_other, other.port)])
    })
}

/// The nodes `xen,evtchn-v1`: `xen,evtchn = <port phandle-of-other-end>`.
fn channels(node: Node<'_>) -> Result<Vec<StaticChannel>, ConfigError> {
    const MALFORMED: ConfigError = ConfigError::Malformed("xen,evtchn");
    let mut channels = Vec::new();
    for channel in node.children().filter(|node| node.is_compatible("xen,evtchn-v1")) {
        let words: Vec<u32> = channel.words("xen,evtchn").ok_or(MALFORMED)?.collect();
        let &[port, peer] = words.as_slice() else { return Err(MALFORMED) };
        let phandle = channel.number("phandle").ok_or(MALFORMED)?;
        if !(1..=MAX_PORT).contains(&port) {
            return Err(ConfigError::Range("xen,evtchn", 1, MAX_PORT));
        }
        channels.push(StaticChannel { port, phandle, peer });
    }
    Ok(channels)
}

/// `memory`: KiB in two cells, or in one.
fn memory(node: Node<'_>) -> Result<u64, ConfigError> {
    let words: Vec<u32> = node.words("memory").ok_or(ConfigError::Missing("memory"))?.collect();
    let kib = match words[..] {
        [low] => u64::from(low),
        [high, low] => u64::from(high) << 32 | u64::from(low),
        _ => return Err(ConfigError::Malformed("memory")),
    };
    let bytes = kib.checked_mul(1024).filter(|&bytes| bytes >= MIN_MEMORY).ok_or(ConfigError::Memory)?;
    if node.has("direct-map") && !bytes.is_multiple_of(BLOCK_SIZE) {
        return Err(ConfigError::Blocks);
    }
    Ok(bytes / PAGE_SIZE * PAGE_SIZE)
}

fn number(node: Node<'_>, name: &'static str, default: u32, least: u32, most: u32) -> Result<u32, ConfigError> {
    if !node.has(name) {
        return Ok(default);
    }
    let value = node.number(name).ok_or(ConfigError::Malformed(name))?;
    if (least..=most).contains(&value) { Ok(value) } else { Err(ConfigError::Range(name, least, most)) }
}

/// A text that fits, if one is said.
fn text<'a>(node: Node<'a>, name: &'static str, fits: impl Fn(&str) -> bool) -> Result<Option<&'a str>, ConfigError> {
    match node.string(name) {
        None if !node.has(name) => Ok(None),
        Some(text) if fits(text) => Ok(Some(text)),
        _ => Err(ConfigError::Malformed(name)),
    }
}

/// The module of a kind, and where it is.
fn module<'a>(
    node: Node<'a>,
    kind: &'static str,
    locate: &impl Locate,
) -> Result<Option<(Node<'a>, PaRange)>, ConfigError> {
    let is_kind = |text: &str| text.strip_prefix("multiboot,") == Some(kind);
    let is_wanted = |module: &Node<'_>| module.strings("compatible").any(is_kind);
    let mut modules = node.children().filter(|child| child.is_compatible("multiboot,module")).filter(is_wanted);
    let Some(module) = modules.next() else { return Ok(None) };
    if modules.next().is_some() {
        return Err(ConfigError::TwoModules(kind));
    }
    Ok(Some((module, locate(module, kind)?)))
}

/// Where a module is that lies in the machine's memory: where its `reg` says.
fn place(module: Node<'_>, kind: &'static str, is_free: &impl Fn(PaRange) -> bool) -> Result<PaRange, ConfigError> {
    let range = module.ranges().first().copied().ok_or(ConfigError::ModuleAddress(kind))?;
    if range.is_empty() || !is_free(range) { Err(ConfigError::ModulePlace(kind)) } else { Ok(range) }
}

#[cfg(test)]
mod tests;
