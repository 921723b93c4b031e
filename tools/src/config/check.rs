//! Every rule a configuration must follow, applied to the whole of it in one pass.

use std::collections::HashMap;
use std::path::Path;

use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use dtoolkit::{Node, Property};

use mote_builder::config::{self as binding, ConfigError, MAX_PORT, is_name};

use super::mistake::Mistake;
use super::property::{self, Support, did_you_mean};
use super::source::{self, Source};
use super::{Control, DOMAIN, Domain, Module, Role, devices, kernel};
use crate::boot::machine::Memory;

/// KiB in a page: memory is given in whole pages.
const PAGE_KIB: u64 = 4;
/// And with `direct-map` in blocks.
const BLOCK_KIB: u64 = 2048;
/// The least memory a guest can be given, in KiB.
const MEMORY_MIN_KIB: u64 = 64;
/// The most memory a guest's physical map has room for, in KiB: both of Xen's banks.
const MEMORY_MAX_KIB: u64 = (3 + 1016) << 20;
/// As many redistributors as Xen's guest memory map has room for.
const CPUS_MAX: u32 = 128;
/// credit2's range of weights.
const WEIGHTS: std::ops::RangeInclusive<u32> = 1..=65_535;
/// What the hypervisor itself, the control domain unless more is said, and the machine's device tree take at most.
const RESERVED_MIB: u64 = 8;
/// The least memory of the control domain, in KiB.
const CONTROL_MIN_KIB: u64 = 1024;
/// The guests, and what is said of the control domain.
type Found = (Vec<Domain>, Control);

/// What a node of an event channel is compatible with.
const CHANNEL: &str = "xen,evtchn-v1";

const MEMORY_HELP: &str = "memory is one 64-bit number of KiB: memory = <0x0 0x40000>; is 256 MiB";
const CPUS_HELP: &str = "cpus is one number from 1 to 128: cpus = <2>;";

/// The guests `tree` describes, and every mistake in it, for a file in `directory` and a machine
/// with `memory`. A guest with a mistake may be missing.
///
/// `running` are the guests of the machine that it is for, if that runs already.
pub fn check(tree: &DeviceTree, directory: &Path, memory: Memory, running: Option<&[String]>) -> (Found, Vec<Mistake>) {
    let (guests, control) = (source::guests(), Control::default());
    let mut check = Check { directory, running, guests, control, hosts: HashMap::new(), mistakes: Vec::new() };
    let domains = check.chosen(tree);
    if check.control.node.is_none() && domains.iter().any(|domain| domain.driver) {
        check.control.memory = Control::WITH_NETWORK;
    }
    check.joints(tree);
    devices::backends(&mut check, tree);
    check.total(&domains, memory);
    ((domains, check.control), check.mistakes)
}

/// What is checked, and what was found.
pub struct Check<'a> {
    /// Where the file is.
    pub directory: &'a Path,
    /// The guests of a machine that runs.
    pub running: Option<&'a [String]>,
    guests: Vec<String>,
    control: Control,
    /// The interfaces of services by their names.
    pub hosts: HashMap<String, String>,
    mistakes: Vec<Mistake>,
}

impl Check<'_> {
    fn chosen(&mut self, tree: &DeviceTree) -> Vec<Domain> {
        const PATH: &str = "/chosen";
        let Some(chosen) = tree.find_node(PATH) else {
            self.node("/", "there is no node /chosen", "guests are nodes in `/ { chosen { … }; };`");
            return Vec::new();
        };
        self.names(PATH, chosen, property::CHOSEN);
        let mut domains = Vec::new();
        let mut names = HashMap::new();
        for node in chosen.children() {
            let path = format!("{PATH}/{}", node.name());
            if !is_compatible(node, DOMAIN) {
                self.node(&path, "this is no guest", format!("a guest has compatible = \"{DOMAIN}\";"));
                continue;
            }
            if node.property("mote,control").is_some() {
                self.control_domain(&path, node);
                continue;
            }
            if node.name() == binding::CONTROL {
                self.node(&path, "the control domain is called so", "give the guest another name");
            }
            if !is_name(node.name()) {
                let help = ConfigError::Name.to_string();
                self.node(&path, "no guest can be called so", help);
            }
            let bare = node.name_without_address();
            if let Some(other) = names.insert(bare.to_owned(), path.clone()) {
                let what = format!("{other} is called `{bare}` too");
                self.node(&path, what, "give each guest a name of its own");
            }
            domains.push(self.domain(&path, node));
        }
        if domains.is_empty() && self.mistakes.is_empty() {
            self.node(PATH, "there is no guest", format!("add a node with compatible = \"{DOMAIN}\";"));
        }
        domains
    }

    fn domain(&mut self, path: &str, node: &DeviceTreeNode) -> Domain {
        self.names(path, node, property::DOMAIN);
        self.cells_properties(path, node);
        self.cpus(path, node);
        self.strings_and_flags(path, node);
        self.enhancement(path, node);
        let memory = self.memory(path, node).unwrap_or(0).saturating_mul(1024);
        self.channels(path, node);
        let (disks, publish) = devices::check(self, path, node);
        let modules: Vec<Module> = node
            .children()
            .filter(|child| !is_compatible(child, CHANNEL) && !devices::is_one(child))
            .filter_map(|child| self.module(&format!("{path}/{}", child.name()), child, memory))
            .collect();
        self.roles(path, node);
        let shell = node.property("mote,shell").is_some();
        let driver = node.property("mote,driver").is_some();
        let ephemeral = node.property("mote,ephemeral").is_some();
        Domain { name: node.name().into(), memory, shell, modules, disks, driver, ephemeral, publish }
    }

    /// What is said of the control domain.
    fn control_domain(&mut self, path: &str, node: &DeviceTreeNode) {
        self.names(path, node, property::CONTROL);
        if self.control.node.is_some() {
            self.node(path, "a second control domain", "there is one; remove the other node");
        }
        if let Some(child) = node.children().next() {
            let path = format!("{path}/{}", child.name());
            self.node(&path, "the control domain needs no module", "remove it: the tool builds guests/control");
        }
        let kib = self.memory(path, node).unwrap_or(0);
        if kib > 0 && kib < CONTROL_MIN_KIB {
            let what = format!("{kib} KiB are too little for the control domain");
            self.property(path, "memory", what, format!("it needs at least memory = <0x0 {CONTROL_MIN_KIB:#x}>;"));
        }
        let guest = strings(node, "mote,guest").pop().unwrap_or_else(|| binding::CONTROL.into());
        let publish = devices::of_control(self, path, node);
        self.control = Control { node: Some(node.name().into()), memory: kib.saturating_mul(1024), guest, publish };
    }

    fn cells_properties(&mut self, path: &str, node: &DeviceTreeNode) {
        for name in ["#address-cells", "#size-cells"] {
            if !matches!(cells(node, name), None | Some(Ok([1 | 2]))) {
                self.property(path, name, "is not 1 or 2", format!("write {name} = <2>;"));
            }
        }
    }

    fn cpus(&mut self, path: &str, node: &DeviceTreeNode) {
        match cells(node, "cpus") {
            None | Some(Ok([1..=CPUS_MAX])) => {}
            Some(Ok([0])) => self.property(path, "cpus", "a guest without a CPU", CPUS_HELP),
            Some(Ok([count])) => {
                self.property(path, "cpus", format!("{count} CPUs are too many"), CPUS_HELP);
            }
            Some(Err(length)) => {
                self.property(path, "cpus", format!("{length} bytes instead of 4"), CPUS_HELP);
            }
        }
    }

    /// The memory in KiB, if it can be had. Where the machine has it it comes in blocks.
    fn memory(&mut self, path: &str, node: &DeviceTreeNode) -> Option<u64> {
        let what = match cells(node, "memory") {
            None => {
                self.node(path, "it is not said how much memory the guest has", MEMORY_HELP);
                return None;
            }
            Some(Ok([high, low])) => match u64::from(high) << 32 | u64::from(low) {
                kib if kib < MEMORY_MIN_KIB => {
                    format!("{kib} KiB are less than the least possible, {MEMORY_MIN_KIB} KiB")
                }
                kib if kib > MEMORY_MAX_KIB => {
                    format!("{kib} KiB are more than a guest's memory map has room for")
                }
                kib if kib % PAGE_KIB != 0 => format!("{kib} KiB are not whole pages of 4 KiB"),
                kib if kib % BLOCK_KIB != 0 && node.property("direct-map").is_some() => {
                    format!("{kib} KiB are not whole blocks of {BLOCK_KIB} KiB, in which direct-map gives it")
                }
                kib => return Some(kib),
            },
            Some(Err(length)) => format!("{length} bytes instead of 8"),
        };
        self.property(path, "memory", what, MEMORY_HELP);
        None
    }

    fn strings_and_flags(&mut self, path: &str, node: &DeviceTreeNode) {
        for flag in ["vpl011", "mote,shell", "mote,track-touched", "mote,driver", "mote,ephemeral", "direct-map"] {
            if node.property(flag).is_some_and(|property| !property.value().is_empty()) {
                self.property(path, flag, "takes no value", format!("write {flag};"));
            }
        }
        for only_drivers in ["direct-map", "xen,passthrough"] {
            if node.property(only_drivers).is_some() && node.property("mote,driver").is_none() {
                let help = "there is no IOMMU: who has a device has the machine. Say mote,driver; if that is meant";
                self.property(path, only_drivers, "is only for a guest with mote,driver", help);
            }
        }
        if node.property("mote,ephemeral").is_some() && node.property("mote,driver").is_some() {
            let help = "a driver domain is started again when it ends: remove one of the two";
            self.property(path, "mote,ephemeral", "is not for a guest with mote,driver", help);
        }
        match cells(node, "mote,weight") {
            Some(Ok([weight])) if WEIGHTS.contains(&weight) => {}
            None => {}
            Some(_) => self.property(
                path,
                "mote,weight",
                "is not one number from 1 to 65535",
                "a guest of weight 512 gets twice the time of one of 256, the default",
            ),
        }
        if node.property("mote,ready").is_some() && strings(node, "mote,ready").len() != 1 {
            let help = "write the text that the guest prints when it is ready: mote,ready = \"init: \";";
            self.property(path, "mote,ready", "is not one text", help);
        }
    }

    /// What Xen's ABI takes.
    fn enhancement(&mut self, path: &str, node: &DeviceTreeNode) {
        const KINDS: [&str; 3] = ["enabled", "no-xenstore", "disabled"];
        let known = match &strings(node, "xen,enhanced")[..] {
            [] => true,
            [kind] => kind.is_empty() || KINDS.contains(&kind.as_str()),
            _ => false,
        };
        if !known {
            let help = "write xen,enhanced; or with one of \"enabled\", \"no-xenstore\", \"disabled\"";
            self.property(path, "xen,enhanced", "is nothing that Mote knows", help);
        }
        for (name, range) in [("max_grant_frames", 1..=64), ("max_maptrack_frames", 0..=1024)] {
            match cells(node, name) {
                Some(Ok([count])) if range.contains(&count) => {}
                None => {}
                Some(_) => {
                    let (least, most) = (range.start(), range.end());
                    let what = format!("is not one number from {least} to {most}");
                    self.property(path, name, what, format!("write {name} = <{most}>;"));
                }
            }
        }
    }

    fn channels(&mut self, path: &str, node: &DeviceTreeNode) {
        const HELP: &str = "write xen,evtchn = <10 &other_end>; with this end's port and the other end's label";
        for channel in node.children().filter(|child| is_compatible(child, CHANNEL)) {
            let path = format!("{path}/{}", channel.name());
            self.names(&path, channel, property::CHANNEL);
            match cells(channel, "xen,evtchn") {
                Some(Ok([1..=MAX_PORT, _])) => {}
                Some(Ok([port, _])) => {
                    self.property(&path, "xen,evtchn", format!("there is no port {port}"), HELP);
                }
                Some(Err(length)) => {
                    self.property(&path, "xen,evtchn", format!("{length} bytes instead of 8"), HELP);
                }
                None => self.node(&path, "the event channel leads nowhere", HELP),
            }
        }
    }

    /// What joins guests must be there at both ends.
    fn joints(&mut self, tree: &DeviceTree) {
        let guests: Vec<_> = tree.find_node("/chosen").iter().flat_map(|node| node.children()).collect();
        for guest in &guests {
            let path = format!("/chosen/{}", guest.name());
            for peer in strings(guest, "mote,peers") {
                let is_there = guests.iter().any(|other| other.name() == peer) || self.runs(&peer);
                if !is_there || peer == guest.name() {
                    let what = format!("there is no other guest `{peer}`");
                    let names = guests.iter().map(|guest| guest.name());
                    let help = did_you_mean(&peer, names.filter(|name| *name != guest.name()));
                    self.property(&path, "mote,peers", what, help);
                }
            }
        }
        let ends: Vec<_> = guests
            .iter()
            .flat_map(|guest| guest.children().map(move |end| (guest.name(), end)))
            .filter(|(_, end)| is_compatible(end, CHANNEL))
            .map(|(guest, end)| (format!("/chosen/{guest}/{}", end.name()), Joint::of(end)))
            .collect();
        for (path, joint) in &ends {
            let Some(joint) = joint else { continue };
            let others = ends.iter().filter_map(|(_, other)| other.as_ref());
            if others.filter(|other| other.phandle == Some(joint.peer)).all(|other| Some(other.peer) != joint.phandle) {
                let help = "the two nodes of a channel name each other by their labels";
                self.property(path, "xen,evtchn", "its other end does not lead back here", help);
            }
        }
    }

    /// Whether the machine runs already, with a guest called so.
    pub fn runs(&self, name: &str) -> bool {
        self.running.is_some_and(|running| running.iter().any(|guest| guest == name))
    }

    fn roles(&mut self, path: &str, node: &DeviceTreeNode) {
        for (role, compatible) in Role::ALL {
            let has = |child: &&DeviceTreeNode| is_compatible(child, compatible);
            let count = node.children().filter(has).count();
            if role == Role::Kernel && count == 0 {
                let help = format!(
                    "add `module@0 {{ compatible = \"{compatible}\", \"multiboot,module\"; mote,guest = \"hello\"; }};`"
                );
                self.node(path, "the guest has no kernel", help);
            } else if count > 1 {
                self.node(path, format!("{count} modules are {compatible}"), "keep one of them");
            }
        }
    }

    fn module(&mut self, path: &str, node: &DeviceTreeNode, memory: u64) -> Option<Module> {
        let role = Role::ALL.iter().find(|(_, name)| is_compatible(node, name));
        let Some(&(role, _)) = role.filter(|_| is_compatible(node, "multiboot,module")) else {
            let kinds = Role::ALL.map(|(_, name)| format!("\"{name}\"")).join(" or ");
            let help = format!("a module has compatible = {kinds}, with \"multiboot,module\" after it");
            self.node(path, "this is no module", help);
            return None;
        };
        self.names(path, node, property::MODULE);
        if node.property("bootargs").is_some() && strings(node, "bootargs").len() != 1 {
            self.property(path, "bootargs", "is not one text", "write bootargs = \"…\";");
        }
        let source = self.source(path, node)?;
        if let (Role::Kernel, Source::File(file)) = (role, &source)
            && let Err((what, help)) = kernel::check(file, memory)
        {
            self.property(path, "mote,file", what, help);
        }
        Some(Module { node: path.into(), role, source })
    }

    fn source(&mut self, path: &str, node: &DeviceTreeNode) -> Option<Source> {
        let (file, guest) = (node.property("mote,file"), node.property("mote,guest"));
        let name = match (file, guest) {
            (Some(_), None) => "mote,file",
            (None, Some(_)) => "mote,guest",
            (Some(_), Some(_)) => {
                let what = "both mote,file and mote,guest name the module's bytes";
                self.property(path, "mote,guest", what, "keep one of the two");
                return None;
            }
            (None, None) => {
                let help = "add mote,file = \"path\"; or mote,guest = \"name\";";
                self.node(path, "nothing says where the module's bytes come from", help);
                return None;
            }
        };
        let [text] = &strings(node, name)[..] else {
            self.property(path, name, "is not one text", format!("write {name} = \"…\";"));
            return None;
        };
        let found = match name {
            "mote,file" => Source::from_file(text, self.directory),
            _ => Source::from_guest(text, &self.guests),
        };
        found.map_err(|(what, help)| self.property(path, name, what, help)).ok()
    }

    fn total(&mut self, domains: &[Domain], machine: Memory) {
        let more = self.control.memory.saturating_sub(Control::default().memory);
        let given = domains.iter().fold(more, |sum, domain| sum.saturating_add(domain.memory));
        let free = machine.bytes().saturating_sub(RESERVED_MIB << 20);
        if given > free {
            let (given, free) = (given >> 20, free >> 20);
            self.node(
                "/chosen",
                format!("the guests together have {given} MiB, the machine has {free} MiB for them"),
                format!(
                    "give them less, or the machine more: --memory {}G",
                    (given + RESERVED_MIB).div_ceil(1024).max(1)
                ),
            );
        }
    }

    /// Reports every property of `node` that is not among `known`.
    pub fn names(&mut self, path: &str, node: &DeviceTreeNode, known: &[(&str, Support)]) {
        for property in node.properties() {
            let name = property.name();
            match known.iter().find(|(known, _)| *known == name) {
                Some((_, Support::Both)) => {}
                Some((_, Support::XenOnly)) => {
                    self.property(path, name, format!("Mote has no {name} yet"), "remove it");
                }
                None => {
                    let help = did_you_mean(name, known.iter().map(|(name, _)| *name));
                    self.property(path, name, format!("there is no property {name}"), help);
                }
            }
        }
    }

    /// Something is wrong with a node.
    pub fn node(&mut self, path: &str, what: impl Into<String>, help: impl Into<String>) {
        self.mistakes.push(Mistake::in_node(path, what, help));
    }

    /// Something is wrong with a property.
    pub fn property(&mut self, path: &str, name: &str, what: impl Into<String>, help: impl Into<String>) {
        let what = what.into();
        let what = if what.contains(name) { what } else { format!("{name}: {what}") };
        self.mistakes.push(Mistake::in_property(path, name, what, help));
    }
}

/// One end of an event channel.
struct Joint {
    phandle: Option<u32>,
    peer: u32,
}

impl Joint {
    fn of(node: &DeviceTreeNode) -> Option<Self> {
        let Ok([1..=MAX_PORT, peer]) = cells(node, "xen,evtchn")? else { return None };
        let phandle = cells(node, "phandle").and_then(Result::ok).map(|[phandle]| phandle);
        Some(Self { phandle, peer })
    }
}

/// The value of `name` as `N` cells, or its length in bytes if it has another; nothing if absent.
pub fn cells<const N: usize>(node: &DeviceTreeNode, name: &str) -> Option<Result<[u32; N], usize>> {
    let property = node.property(name)?;
    let value = property.value();
    let (chunks, rest) = value.as_chunks::<4>();
    let chunks = <&[[u8; 4]; N]>::try_from(chunks).ok().filter(|_| rest.is_empty());
    Some(chunks.map(|chunks| chunks.map(u32::from_be_bytes)).ok_or(value.len()))
}

/// The texts in the value of `name`; none if it is absent or no list of texts.
pub fn strings(node: &DeviceTreeNode, name: &str) -> Vec<String> {
    let Some(property) = node.property(name) else { return Vec::new() };
    let value = property.value().strip_suffix(&[0]);
    let text = value.and_then(|value| std::str::from_utf8(value).ok());
    text.map(|text| text.split('\0').map(String::from).collect()).unwrap_or_default()
}

/// Whether `text` is among the node's `compatible` ones.
pub fn is_compatible(node: &DeviceTreeNode, text: &str) -> bool {
    strings(node, "compatible").iter().any(|compatible| compatible == text)
}
