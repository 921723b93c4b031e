//! The domains that the configuration asks for: the `xen,domain` nodes below `/chosen`, in Xen's dom0less binding with
//! Mote's additions (`dtb/README.md`).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use thiserror::Error;
use xen_abi::arch_arm::MAX_VCPUS;

use crate::addr::{PAGE_SIZE, PaRange};
use crate::console::Ready;
use crate::events::MAX_PORT;
use crate::grants::Limits;
use crate::id::DomainId;
use crate::sched::DEFAULT_WEIGHT;
use crate::tree::{Node, Tree};

/// Most domains that a configuration can build.
pub const MAX_DOMAINS: usize = 1024;
/// Least memory of a domain, in bytes.
pub const MIN_MEMORY: u64 = 64 << 10;
/// Frames of a domain's own grants, as on Xen (`opt_max_grant_frames`), and of its mappings of others': fewer than on Xen, where
/// a domain that maps without end takes 16 MiB of the hypervisor's memory. A frame of mappings is 256 of them.
const GRANT_FRAMES: u32 = 64;
const MAPTRACK_FRAMES: u32 = 8;
const MAX_MAPTRACK_FRAMES: u32 = 1024;
const MAPPINGS_PER_FRAME: u32 = 256;
/// Greatest weight, as credit2's.
const MAX_WEIGHT: u32 = 65_535;
/// Longest name, and the characters besides letters and digits that are in some (Devicetree Specification 2.2.1).
const MAX_NAME: usize = 31;
const NAME_PUNCTUATION: &str = ",._+-";

/// A domain to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainConfig {
    /// Its number: they count from 1 in the tree's order.
    pub id: DomainId,
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
    /// Names of the domains that it may share events and grants with.
    pub peers: Vec<String>,
    /// Event channels that are there before it runs.
    pub channels: Vec<StaticChannel>,
    /// How far its grant tables may grow.
    pub grants: Limits,
    /// Its kernel.
    pub kernel: PaRange,
    /// The kernel's command line.
    pub bootargs: Option<String>,
    /// Its initial RAM disk.
    pub ramdisk: Option<PaRange>,
    /// A partial device tree to merge into its own.
    pub device_tree: Option<PaRange>,
    /// What on its console shows that it is ready.
    pub ready: Ready,
    /// Whether its memory is mapped page by page, so that exactly the pages that it touches are counted.
    pub by_pages: bool,
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
    /// The domains to build, in the tree's order.
    pub domains: Vec<DomainConfig>,
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
    /// Less memory than a domain must have, or more than a number can say.
    #[error("memory is less than {} KiB or more than a domain can have", MIN_MEMORY >> 10)]
    Memory,
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
}

impl Configuration {
    /// Reads the tree; `is_free` says whether memory is RAM that modules can be in.
    pub fn read(tree: &Tree<'_>, is_free: impl Fn(PaRange) -> bool) -> Self {
        let mut configuration = Self::default();
        let Some(chosen) = tree.node("/chosen") else { return configuration };
        configuration.interactive = chosen.has("mote,interactive");
        for node in chosen.children().filter(|node| node.is_compatible("xen,domain")) {
            match configuration.domain(node, &is_free) {
                Ok(domain) => configuration.domains.push(domain),
                Err(error) => configuration.refused.push((node.name().into(), error)),
            }
        }
        configuration
    }

    /// The domains that `domain` is joined with: those that it names, and those that name it.
    pub fn peers_of(&self, domain: &DomainConfig) -> Box<[DomainId]> {
        let names = |from: &DomainConfig, to: &DomainConfig| from.peers.contains(&to.name);
        let joined = self.domains.iter().filter(|other| names(domain, other) || names(other, domain));
        joined.map(|other| other.id).collect()
    }

    /// The event channels whose two ends name each other, each once: domain and port of both ends.
    pub fn connections(&self) -> impl Iterator<Item = [(DomainId, u32); 2]> {
        let ends = || self.domains.iter().flat_map(|domain| domain.channels.iter().map(|end| (domain.id, end)));
        ends().enumerate().filter_map(move |(number, (id, end))| {
            let mut others = ends().skip(number + 1);
            let other = others.find(|(_, other)| other.phandle == end.peer && other.peer == end.phandle);
            other.map(|(other_id, other)| [(id, end.port), (other_id, other.port)])
        })
    }

    fn domain(&self, node: Node<'_>, is_free: &impl Fn(PaRange) -> bool) -> Result<DomainConfig, ConfigError> {
        let name = node.name();
        if !is_name(name) {
            return Err(ConfigError::Name);
        }
        if self.domains.iter().any(|domain| domain.name == name) {
            return Err(ConfigError::Duplicate);
        }
        if self.domains.len() + self.refused.len() >= MAX_DOMAINS {
            return Err(ConfigError::TooMany);
        }
        refuse_unsupported(node)?;
        let place = |kind| module(node, kind, is_free).map(|module| module.map(|(_, range)| range));
        let (kernel, place_of_kernel) =
            module(node, "kernel", is_free)?.ok_or(ConfigError::Missing("the kernel module"))?;
        Ok(DomainConfig {
            id: u16::try_from(self.domains.len() + 1).ok().and_then(DomainId::new).ok_or(ConfigError::TooMany)?,
            name: name.into(),
            memory: memory(node)?,
            vcpus: number(node, "cpus", 1, 1, MAX_VCPUS)?,
            weight: number(node, "mote,weight", DEFAULT_WEIGHT, 1, MAX_WEIGHT)?,
            vpl011: node.has("vpl011"),
            enhanced: enhanced(node)?,
            peers: peers(node)?,
            channels: channels(node)?,
            grants: Limits {
                frames: number(node, "max_grant_frames", GRANT_FRAMES, 1, GRANT_FRAMES)?,
                mappings: MAPPINGS_PER_FRAME
                    * number(node, "max_maptrack_frames", MAPTRACK_FRAMES, 0, MAX_MAPTRACK_FRAMES)?,
            },
            kernel: place_of_kernel,
            bootargs: kernel.string("bootargs").map(String::from),
            ramdisk: place("ramdisk")?,
            device_tree: place("device-tree")?,
            ready: ready(node)?,
            by_pages: node.has("mote,track-touched"),
        })
    }
}

/// Whether a domain may be called so: as nodes are, without a unit address.
pub fn is_name(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || NAME_PUNCTUATION.as_bytes().contains(&c);
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(fits)
}

/// Properties that would make another machine of the domain than the one it gets.
fn refuse_unsupported(node: Node<'_>) -> Result<(), ConfigError> {
    const UNSUPPORTED: [&str; 7] =
        ["xen,static-mem", "xen,static-heap", "direct-map", "xen,passthrough", "llc-colors", "sve", "domain-cpupool"];
    let found = UNSUPPORTED.into_iter().find(|property| node.has(property));
    found.map_or(Ok(()), |property| Err(ConfigError::Unsupported(property)))
}

/// `xen,enhanced`: no value or "enabled", "no-xenstore", "disabled". Xenstore is not there yet, so the first two are the same.
fn enhanced(node: Node<'_>) -> Result<bool, ConfigError> {
    match node.string("xen,enhanced") {
        None if !node.has("xen,enhanced") => Ok(false),
        None | Some("" | "enabled" | "no-xenstore") => Ok(true),
        Some("disabled") => Ok(false),
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
    Ok(bytes / PAGE_SIZE * PAGE_SIZE)
}

fn number(node: Node<'_>, name: &'static str, default: u32, least: u32, most: u32) -> Result<u32, ConfigError> {
    if !node.has(name) {
        return Ok(default);
    }
    let value = node.number(name).ok_or(ConfigError::Malformed(name))?;
    if (least..=most).contains(&value) { Ok(value) } else { Err(ConfigError::Range(name, least, most)) }
}

fn ready(node: Node<'_>) -> Result<Ready, ConfigError> {
    match node.string("mote,ready") {
        Some(text) if !text.is_empty() => Ok(Ready::Text(text.into())),
        None if !node.has("mote,ready") => Ok(Ready::FirstLine),
        _ => Err(ConfigError::Malformed("mote,ready")),
    }
}

/// The module of a kind, and where it is.
fn module<'a>(
    node: Node<'a>,
    kind: &'static str,
    is_free: &impl Fn(PaRange) -> bool,
) -> Result<Option<(Node<'a>, PaRange)>, ConfigError> {
    let is_kind = |text: &str| text.strip_prefix("multiboot,") == Some(kind);
    let is_wanted = |module: &Node<'_>| module.strings("compatible").any(is_kind);
    let mut modules = node.children().filter(|child| child.is_compatible("multiboot,module")).filter(is_wanted);
    let Some(module) = modules.next() else { return Ok(None) };
    if modules.next().is_some() {
        return Err(ConfigError::TwoModules(kind));
    }
    let range = module.ranges().first().copied().ok_or(ConfigError::ModuleAddress(kind))?;
    if range.is_empty() || !is_free(range) {
        return Err(ConfigError::ModulePlace(kind));
    }
    Ok(Some((module, range)))
}

#[cfg(test)]
mod tests;
